"""Files written whole and then renamed, locked folders, files checked before use, and where the cache lives."""

import contextlib
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from badge_jax.errors import DirectoryInUse, InputError


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


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Locks a folder, and removes what a process that was killed while it wrote has left there.

    Args:
        folder: one that exists.
        name: its name in messages.

    Raises:
        DirectoryInUse: if another process has it locked.
    """
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUse(
                f"{name} is in use by another process; wait for it or give another folder"
            ) from None
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        yield


def file_to_write(path: Path) -> Path:
    """The file that ``path`` is to be written to, checked before the work that makes its content.

    Returns:
        The file behind a link, so that the link itself is not replaced; else ``path``, made absolute.

    Raises:
        InputError: if it cannot be written, or exists and is not a regular file.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.is_symlink():  # all other links have been followed
            raise InputError(f"{path} is a link that leads back to itself; wanted the name of a file")
        if target.exists() and not target.is_file():
            found = "is a folder" if target.is_dir() else "is not a regular file"
            raise InputError(f"{path} {found}; wanted the name of a file")
        if not target.parent.is_dir():
            raise InputError(
                f"{target.parent} is not a folder; wanted one that exists, to write {target.name} to"
            )
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); wanted a writable file") from None
    return target


def check_file(path: Path, name: str, wanted: str) -> None:
    """Checks that a file can be read from start to end: a pipe might never answer.

    Args:
        path: of the file.
        name: its name in messages.
        wanted: what should be there, for messages.

    Raises:
        InputError: unless ``path`` is a regular file.
    """
    if not path.is_file():
        is_there = "is a folder" if path.is_dir() else "is not a regular file"
        found = is_there if path.exists() else "does not exist"
        raise InputError(f"{name}: {path} {found}; wanted {wanted}")


def cache_folder() -> Path:
    """``$BADGE_JAX_CACHE`` if it is set and not empty, else ``badge_jax`` in the user's cache folder."""
    if own := os.environ.get("BADGE_JAX_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "badge_jax"
