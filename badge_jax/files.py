"""Files written whole and then renamed, and where the cache lives."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from badge_jax.errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees all of it or none.

    Args:
        path: of the file.
        content: its bytes.

    Raises:
        OSError: naming ``path``, when the disk is full or the folder cannot be written. No temporary file is
            left.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def check_writable(path: Path) -> None:
    """Checks that a file can be written, before the work that makes its content.

    Raises:
        InputError: if ``path`` cannot be written, or exists and is not a regular file.
    """
    try:
        if path.exists() and not path.is_file():
            found = "is a folder" if path.is_dir() else "is not a regular file"
            raise InputError(f"{path} {found}; wanted the name of a file")
        if not path.parent.is_dir():
            raise InputError(f"{path.parent} is not a folder; wanted one that exists, to write {path.name} to")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); wanted a writable file") from None


def cache_folder() -> Path:
    """``$BADGE_JAX_CACHE``, else ``badge_jax`` in the user's cache folder."""
    if "BADGE_JAX_CACHE" in os.environ:
        return Path(os.environ["BADGE_JAX_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "badge_jax"
