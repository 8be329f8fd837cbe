"""Text on a page of one file: shown as it is, and nothing but text."""

from hypothesis import given, settings
from hypothesis import strategies as st
from pages import Reader

from badge_jax import html
from badge_jax.html import Html

ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from("<>&\"'/=\u202e\ud800\0\n ;#x"))


@settings(deadline=None)
@given(ANY_TEXT)
def test_any_text_is_shown_and_is_nothing_else(words):
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    parts = [html.paragraph(words), html.table(words, [words], [[words]]), html.bullets([words])]
    whole = html.page(words, [*parts, html.heading(words)])
    page = Reader(whole)
    assert page.tables == {shown: [[shown], [shown]]}
    assert [x["aria-label"] for x in page.all("div")] == [shown]
    assert page.shown.count(shown) >= 8
    assert [tag for tag, _ in page.elements][8:] == [
        *(
            "style",
            "body",
            "main",
            "h1",
            "p",
            "div",
            "table",
            "caption",
            "span",
            "thead",
            "tr",
            "th",
            "tbody",
            "tr",
            "th",
        ),
        *("ul", "li", "h2"),
    ]
    whole.encode("utf-8")


def test_html_stays_as_it_is():
    assert html.text(Html("<b>&amp;</b>")) == "<b>&amp;</b>"
    assert html.text(html.text("<")) == "&lt;"
    assert html.text(html.text("<") + "<") == "&amp;lt;&lt;", "a sum is plain text again"
