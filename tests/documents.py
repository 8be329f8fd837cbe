"""The pages of the repository and the blocks of code in them.

A block without a mark is run by a test: Python as it stands, commands by a shell, pages from top to bottom. A
comment on the line above a block marks it: ``<!-- needs: WHAT -->`` says what it lacks to be run by a test, and
``<!-- file: NAME -->`` that it is a file, which the page's commands read. A first line ``# needs WHAT`` does as
well. A block of ``text`` is no command. Tutorials have a test of their own.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
TUTORIALS = sorted(f"docs/tutorials/{path.name}" for path in (ROOT / "docs" / "tutorials").glob("*.md"))
REFERENCE = sorted(f"docs/reference/{path.name}" for path in (ROOT / "docs" / "reference").glob("*.md"))
RESULTS = sorted(f"experiments/results/{path.name}" for path in (ROOT / "experiments" / "results").glob("*.md"))
OTHER_PAGES = ["CHANGELOG.md", "benchmarks/README.md", *RESULTS, *REFERENCE, *TUTORIALS]
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A block of code.

    Attributes:
        line: its number in the page.
        language: what stands behind the fence; "" for commands.
        mark: what the comment above it says, such as "needs: a GPU"; "" without one.
        text: what is in it.
    """

    page: str
    line: int
    language: str
    mark: str
    text: str

    @property
    def needs(self) -> str:
        """What the block needs that a test has not; "" for one that is run."""
        first = self.text.partition("\n")[0]
        said = first.removeprefix("# ") if first.startswith("# needs") else self.mark
        return said.removeprefix("needs").removeprefix(":").strip() if said.startswith("needs") else ""

    @property
    def file(self) -> str:
        """The name of the file that the block is."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else ""

    def commands(self) -> list[list[str]]:
        """The words of each line, continued lines joined, without comments and the sign for the background."""
        lines = [shlex.split(line, comments=True) for line in self.text.replace("\\\n", " ").splitlines()]
        return [[word for word in line if word != "&"] for line in lines if line]


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks_of(page: str) -> list[Block]:
    """Every block of a page, in order."""
    text = text_of(page)
    return [
        Block(
            page, text.count("\n", 0, found.start()) + 1, found["language"], found["mark"] or "", found["text"]
        )
        for found in FENCE.finditer(text)
    ]


def python_blocks(page: str) -> list[str]:
    """The Python of a page that tests run."""
    return [block.text for block in blocks_of(page) if block.language == "python" and not block.needs]
