"""A web page in one file: text, tables and pictures; nothing is loaded from elsewhere."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; --page: #ffffff; --text: #222222; --quiet: #595959; --line: #d0d0d0;
  --link: #0b57d0; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --page: #16181c; --text: #e4e4e4; --quiet: #b0b0b0; --line: #43474d;
    --link: #8ab4f8; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.3rem; margin-top: 2.5rem; }
h3 { font-size: 1.05rem; } a { color: var(--link); }
table { border-collapse: collapse; font-size: 0.85rem; margin: 0.8rem 0; overflow-wrap: normal; }
table { font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); padding-bottom: 0.3rem; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(calc(100vw - 3rem), 62rem); }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; } th:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: normal; vertical-align: inherit; }
@media screen { .wide th:first-child { position: sticky; left: 0; background: var(--page); } }
.wide { overflow-x: auto; } img { max-width: 100%; max-height: 34rem; background: #ffffff; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0.5rem 0; min-width: 0; } figcaption { font-size: 0.85rem; color: var(--quiet); }
.plots img { display: block; width: 100%; max-width: 34rem; max-height: none; }
@media screen and (prefers-color-scheme: dark) { .plots img { filter: invert(0.91) hue-rotate(180deg); } }
nav ul { columns: 18rem; padding-left: 1.2rem; }
@media print {
  body { font-size: 10pt; max-width: none; margin: 0; } .wide { overflow: visible; }
  table { font-size: 8pt; } tr, figure { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
"""


class Html(str):
    """Text that is HTML already, so that it is not escaped again."""

    __slots__ = ()


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """The whole page. What is in it may load nothing and run nothing, whatever the parts hold.

    Args:
        title: Text, shown as the first heading too.
        parts: HTML, in order.
        style: More CSS.

    Returns:
        A complete HTML document.
    """
    style = _STYLE + style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
    lines = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}form-action \'none\'">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">',
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>",
        f"<h1>{text(title)}</h1>",
        *parts,
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(lines)


def text(value: object) -> Html:
    """What ``str`` gives of a value, as HTML that shows just that, in an element or in a quoted attribute.

    Characters that cannot be seen, or that would move those around them, are shown as escapes, such as
    ``\\u202e``. `Html` stays as it is.
    """
    if isinstance(value, Html):
        return value
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return Html(escape("".join(shown)))


def heading(words: str, level: int = 2, name: str = "") -> Html:
    """A heading of plain text; level 1 is the page's title. A link to ``#name`` leads to it."""
    target = f' id="{text(name)}"' if name else ""
    return Html(f"<h{level}{target}>{text(words)}</h{level}>")


def contents(entries: Iterable[tuple[str, str]]) -> Html:
    """A list of links to headings of the page: (words, name of the heading)."""
    items = (f'<li><a href="#{text(name)}">{text(words)}</a></li>' for words, name in entries)
    return Html('<nav aria-label="contents"><ul>' + "".join(items) + "</ul></nav>")


def paragraph(words: str) -> Html:
    """A paragraph of plain text."""
    return Html(f"<p>{text(words)}</p>")


def bullets(items: Iterable[str]) -> Html:
    """A list of plain texts."""
    return Html("<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>")


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table of plain texts, or of `Html`.

    Args:
        caption: What it shows.
        header: Names of the columns.
        rows: Cells, written as ``str`` writes them. The first names its row.

    Returns:
        HTML that scrolls sideways if it is wider than the page, with the keyboard too.
    """
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    lines = (
        f'<tr><th scope="row">{text(first)}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    name = text(caption)
    return Html(
        f'<div class="wide" role="region" aria-label="{name}" tabindex="0"><table>'
        f"<caption><span>{name}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def plots(pictures: Iterable[tuple[bytes, str]]) -> Html:
    """Diagrams beside one another where there is room, each with its caption. Dark where the page is.

    Args:
        pictures: A PNG file's content, and its caption, which also describes it to those who cannot see it.

    Returns:
        HTML that contains the pictures.
    """
    figures = (
        f'<figure><div class="wide" role="region" aria-label="{text(caption)}" tabindex="0">'
        f'<img alt="{text(caption)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
        for png, caption in pictures
    )
    return Html('<div class="plots">' + "\n".join(figures) + "</div>")
