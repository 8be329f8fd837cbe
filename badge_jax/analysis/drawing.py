"""What all figures share. matplotlib is imported when the first figure is made."""

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from badge_jax.errors import missing_extra
from badge_jax.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTER = 0.085  # inches, the mean width of a letter at 10 points
FORMATS = (".png", ".pdf")


def require_matplotlib() -> None:
    """Raises EnvironmentFailure if matplotlib cannot be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise missing_extra(f"pictures need matplotlib ({error})", "plots") from None


def make_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def render(figure: "Figure", suffix: str) -> bytes:
    """The content of the figure's file, of a kind that `FORMATS` names; without a date, so that it repeats."""
    picture = io.BytesIO()
    kind = suffix[1:]
    metadata = {"CreationDate": None} if kind == "pdf" else None
    figure.savefig(picture, dpi=200, format=kind, bbox_inches="tight", pad_inches=0.08, metadata=metadata)
    return picture.getvalue()


def save(figure: "Figure", stem: Path) -> tuple[Path, Path]:
    """Writes the figure as PNG and as PDF."""
    png, pdf = (stem.with_name(stem.name + suffix) for suffix in FORMATS)
    for path in (png, pdf):
        write_whole(path, render(figure, path.suffix))
    return png, pdf


def literal(text: str) -> str:
    """The text as it is. Without the backslashes, matplotlib reads what is between two ``$`` as mathematics;
    and it cannot draw a lone surrogate, which stands for a byte of a file's name that is no text."""
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def title_of(text: str) -> str:
    """The text in lines as long as a diagram is wide."""
    return literal("\n".join(textwrap.wrap(text, 50)))


def make_plain(axes: "Axes") -> None:
    """A light grid, and no frame above and to the right."""
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
