"""Pictures of rows whose ids are names of image files, embedded in a page."""

import base64
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from badge_jax.errors import InputError

AS_IT_IS = 16_000  # bytes of a file that is not made smaller
LARGEST = 200_000  # bytes of a file that cannot be made smaller
LARGEST_TOTAL = 20_000_000  # bytes of all files
_SIDE = 160  # pixels of what is made smaller: twice what the page shows, for fine screens
_LARGEST_TO_SHRINK = 100_000_000  # bytes
_MOST_PIXELS = 100_000_000
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")


class Picture(NamedTuple):
    """A picture, or why there is none.

    Attributes:
        source: ``data:`` URI; empty if there is no picture.
        note: why there is none; empty if there is one.
    """

    source: str
    note: str


def check_image_folder(folder: Path) -> None:
    """Raises InputError unless there is such a folder.

    Example:
        >>> from pathlib import Path
        >>> from badge_jax.selection import check_image_folder
        >>> check_image_folder(Path("nowhere"))
        Traceback (most recent call last):
        badge_jax.errors.InputError: --images nowhere is not a folder; wanted one that holds a file for each id
    """
    if not folder.is_dir():
        raise InputError(f"--images {folder} is not a folder; wanted one that holds a file for each id")


def remarks_on_pictures(found: Sequence[Picture], ids: Sequence[str]) -> list[str]:
    """A remark if pictures are missing.

    Args:
        found: what `pictures` returned.
        ids: those that it was given.

    Example:
        >>> from badge_jax.selection import Picture, remarks_on_pictures
        >>> remarks_on_pictures([Picture("", "no such file")], ["cat.png"])
        ["--images: 1 of 1 pictures are missing, the first 'cat.png': no such file"]
    """
    missing = [(id, picture.note) for id, picture in zip(ids, found, strict=True) if picture.note]
    if not missing:
        return []
    id, note = missing[0]
    return [f"--images: {len(missing)} of {len(found)} pictures are missing, the first {id[:40]!r}: {note}"]


def pictures(folder: Path, ids: Sequence[str]) -> list[Picture]:
    """Reads the pictures that ids name.

    Files of up to 16 kB stay as they are. Pillow, if it is installed, makes larger ones smaller. Without it
    they stay as they are up to 200 kB. A page takes 20 MB in all.

    Args:
        folder: that holds the files. No id leads out of it.
        ids: names of files in the folder, or in folders in it.

    Returns:
        One `Picture` for each id.

    Example:
        >>> from pathlib import Path
        >>> from badge_jax.selection import pictures
        >>> pictures(Path("no/such/folder"), ["cat.png", "../../secret.png"])
        [Picture(source='', note='no such file'), Picture(source='', note='not in the folder')]
    """
    found, total = [], 0
    for id in ids:
        picture = _picture(folder, id)
        if total + len(picture.source) > LARGEST_TOTAL:
            picture = Picture("", f"left out: a page takes {LARGEST_TOTAL / 1e6:.0f} MB of pictures")
        total += len(picture.source)
        found.append(picture)
    return found


def _picture(folder: Path, id: str) -> Picture:
    if Path(id).is_absolute() or ".." in Path(id).parts:
        return Picture("", "not in the folder")
    path = folder / id
    try:
        if not path.is_file():
            return Picture("", "is no file" if path.exists() else "no such file")
        size = path.stat().st_size
        if size > _LARGEST_TO_SHRINK:
            return Picture("", f"left out: {size / 1e6:,.1f} MB")
        content = path.read_bytes()
    except (OSError, ValueError):  # too long a name, one that no file can have, or no right to read it
        return Picture("", "cannot be read")
    kind = _kind_of(content)
    if kind and len(content) <= AS_IT_IS:
        return _embedded(content, kind)
    if smaller := _made_smaller(content):
        return smaller
    if not kind:
        return Picture("", "not an image that a browser shows")
    if len(content) > LARGEST:
        return Picture("", f"left out: {size / 1e6:,.1f} MB; Pillow would make it smaller")
    return _embedded(content, kind)


def _kind_of(content: bytes) -> str:
    """The media type by the first bytes, of what every browser shows; else empty."""
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    starts = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif"}
    return next((f"image/{kind}" for start, kind in starts.items() if content.startswith(start)), "")


def _embedded(content: bytes, kind: str) -> Picture:
    return Picture(f"data:{kind};base64,{base64.b64encode(content).decode()}", "")


def _made_smaller(content: bytes) -> Picture | None:
    """The image in a small size; None if Pillow is not installed."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return None
    out = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(content), formats=_FORMATS)
            if image.width * image.height > _MOST_PIXELS:
                raise Image.DecompressionBombError
            image.draft("RGB", (_SIDE, _SIDE))
            image = ImageOps.exif_transpose(image)  # as the camera was held
            if image.mode[0] in "IF":  # 16 bits a pixel and more, which a page does not show
                image = Image.fromarray(_in_eight_bits(np.asarray(image, np.float64)))
            has_alpha = image.has_transparency_data
            image = image.convert("RGBA" if has_alpha else "RGB")
            image.thumbnail((_SIDE, _SIDE))
            image.save(out, "PNG" if has_alpha else "JPEG")
    except Image.DecompressionBombError:
        return Picture("", "left out: too many pixels")
    except Exception:  # each format reports a damaged file in its own way
        return Picture("", "not an image that can be read")
    return _embedded(out.getvalue(), "image/png" if has_alpha else "image/jpeg")


def _in_eight_bits(values: np.ndarray) -> np.ndarray:
    """Brightness from black to white over the range of the values."""
    low, high = values.min(), values.max()
    return ((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
