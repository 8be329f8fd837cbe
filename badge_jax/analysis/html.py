"""A web page in one file: text, tables and pictures; nothing is loaded from elsewhere."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; } h3 { font-size: 1.05rem; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 0.8rem 0; }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; } img { max-width: 100%; max-height: 34rem; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page.

    Args:
        title: Text, shown as the first heading too.
        parts: HTML, in order.

    Returns:
        A complete HTML document.
    """
    lines = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<h1>{escape(title)}</h1>",
        *parts,
        "</body>\n</html>\n",
    ]
    return "\n".join(lines)


def heading(text: str, level: int = 2) -> str:
    """A heading of plain text; level 1 is the page's title."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def bullets(items: Iterable[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of plain texts.

    Args:
        header: Names of the columns.
        rows: Cells, written as ``str`` writes them.

    Returns:
        HTML that scrolls sideways if it is wider than the page.
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(path: Path, description: str) -> str:
    """A PNG file, embedded in the page, with a description for readers who cannot see it."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{escape(description)}" src="data:image/png;base64,{data}"></p>'
