"""The array in a file of any format that is read, and how it is named."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from badge_jax.array_files import open_array
from badge_jax.errors import InputError
from badge_jax.files import check_file
from badge_jax.selection.stored import File, Stored
from badge_jax.selection.table_files import open_arrow, open_csv, open_parquet
from badge_jax.selection.tensor_files import open_hdf5, open_safetensors, open_torch, open_zarr


def open_stored(path: Path, name: str) -> Stored:
    """The array in a file; no more is read now than its shape and type need.

    Args:
        path: of the file, whose format is that of its suffix. Behind it may stand a colon and the name of an
            array, tensor or column in the file.
        name: its name in messages. Of several arrays, the one of this name is taken, without the dashes of an
            option, if ``path`` names none.

    Returns:
        `Stored`.

    Raises:
        InputError: if the file is missing or damaged, or holds no such array.
        EnvironmentFailure: if the library that reads the format is not installed.
    """
    path, key = split_name(path)
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        if suffix not in ("", ".npy", ".npz") and path.is_file() and not _is_numpys(path):
            known = ", ".join((".npy", ".npz", *_FORMATS))
            raise InputError(f"{name}: {path} is a {suffix} file; wanted {known}; numpy.save writes .npy files")
        return open_array(path, name, key)
    form = _FORMATS[suffix]
    if not form.is_folder:
        check_file(path, name, form.what)
    elif not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{name}: {path} {found}; wanted {form.what}, a folder")
    file = File(path, name, key, form.what)
    with file.errors_in_one_line():
        return form.open(file)


def split_name(path: Path) -> tuple[Path, str | None]:
    """The path of a file, and the name behind a colon of what is wanted in it.

    Args:
        path: such as ``data.parquet:embedding``. One that exists as it is has no name.

    Returns:
        Path and name; None if there is none.

    Example:
        >>> from pathlib import Path
        >>> from badge_jax.selection import split_name
        >>> path, name = split_name(Path("data.parquet:embedding"))
        >>> str(path), name
        ('data.parquet', 'embedding')
        >>> split_name(Path("data.parquet"))[1] is None
        True
    """
    text = str(path)
    if not path.exists():
        for place in (place for place, sign in enumerate(text) if sign == ":"):
            head = Path(text[:place])
            if head.suffix.lower() in (".npy", ".npz", *_FORMATS) or head.is_file():
                return head, text[place + 1 :]
    return path, None


def _is_numpys(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == np.lib.format.MAGIC_PREFIX or zipfile.is_zipfile(path)


class _Format(NamedTuple):
    """A format of files.

    Attributes:
        what: what a file of it is, with an article.
        open: opens one.
        is_folder: whether it is a folder.
    """

    what: str
    open: Callable[[File], Stored]
    is_folder: bool = False


_FORMATS = {
    ".parquet": _Format("a Parquet file", open_parquet),
    ".arrow": _Format("an Arrow file", open_arrow),
    ".feather": _Format("a Feather file", open_arrow),
    ".csv": _Format("a CSV file", open_csv),
    ".tsv": _Format("a CSV file", open_csv),
    ".pt": _Format("a file of torch.save", open_torch),
    ".pth": _Format("a file of torch.save", open_torch),
    ".safetensors": _Format("a safetensors file", open_safetensors),
    ".h5": _Format("an HDF5 file", open_hdf5),
    ".hdf5": _Format("an HDF5 file", open_hdf5),
    ".zarr": _Format("a zarr store", open_zarr, is_folder=True),
}
