"""What a browser would make of a page."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img"}


class Reader(HTMLParser):
    """What a page holds, and what a browser would fetch or run. Checks that every element is closed.

    Attributes:
        elements: (tag, attributes) in order.
        fetched: addresses that are fetched: none, or ``data:`` URIs.
        links: addresses that a reader can follow.
        shown: its text.
        tables: caption → rows of cells' texts, the header first.
    """

    def __init__(self, text):
        super().__init__()
        self.elements, self.fetched, self.links, self.tables = [], [], [], {}
        self.style, self.shown, self._open = "", "", []
        self._rows, self._caption = [], ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len({*names}) == len(names), f"{tag} has an attribute twice"
        assert not any(name.startswith("on") or name == "style" for name in names), f"{tag} has {names}"
        given = dict(attributes)
        self.elements.append((tag, given))
        self.links += [given["href"]] if tag == "a" else []
        self.fetched += [value for name, value in attributes if name in ("src", "srcset", "data", "xlink:href")]
        self.fetched += [given["href"]] if tag != "a" and "href" in given else []
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        assert tag in ("path", "rect"), "only in SVG does a slash close"
        self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "table":
            assert self._caption not in self.tables
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        if self._open[-1:] == ["style"]:
            self.style += data
            return
        self.shown += data
        if "caption" in self._open:
            self._caption += data
        elif "td" in self._open or "th" in self._open:
            self._rows[-1][-1] += data

    def all(self, tag):
        """The attributes of the elements of a kind."""
        return [given for kind, given in self.elements if kind == tag]

    def colours(self):
        """Name → #rrggbb of the light theme, and of the dark one."""
        dark = "".join(re.findall(r"prefers-color-scheme: dark\) {(.*?)}\s*}", self.style, re.DOTALL))
        light = re.sub(r"prefers-color-scheme: dark\) {.*?}\s*}", "", self.style, flags=re.DOTALL)
        return [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", part)) for part in (light, dark)]


def contrast(one, other):
    """WCAG 2's contrast of two colours #rrggbb."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
