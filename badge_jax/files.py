"""Files written whole and then renamed, and where the cache lives."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` so that a reader, or a crash at any moment, sees all of it or none.

    Raises OSError, and leaves no temporary file, when the disk is full or the folder cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def cache_folder() -> Path:
    """``$BADGE_JAX_CACHE``, else ``badge_jax`` in the user's cache folder."""
    if "BADGE_JAX_CACHE" in os.environ:
        return Path(os.environ["BADGE_JAX_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "badge_jax"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
