"""Compiled programs, kept from one process to the next in files that are written whole and checked."""

import contextlib
import hashlib
from pathlib import Path

import jax

from badge_jax.files import cache_folder, write_whole

_CHECK_SIZE = hashlib.sha256().digest_size


def keep_compiled_programs() -> None:
    """Has JAX keep compiled programs in the cache folder, if there can be one: a second process need not
    compile."""
    try:
        folder = cache_folder() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter for a user without a home
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # XLA would keep files of its own there, and on a GPU fail to compile where it cannot write them
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    with contextlib.suppress(ImportError, AttributeError):  # a JAX that has moved this keeps its own store
        from jax._src import compilation_cache  # no public function takes a store

        compilation_cache.reset_cache()
        compilation_cache._cache = _CheckedFiles(folder)  # type: ignore[assignment]


class _CheckedFiles:
    """A folder of programs, as JAX's ``CacheInterface``; each file is a checksum, then the program.

    JAX's own store writes in place and never replaces a file. One that a full disk or a kill left in pieces
    costs every later process a warning and a compilation. Here it counts as missing, and is replaced. A disk
    that cannot be read or written costs a compilation, and the command that compiles hears nothing of it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder

    def get(self, key: str) -> bytes | None:
        try:
            content = self._file(key).read_bytes()
        except OSError:
            return None
        check, program = content[:_CHECK_SIZE], content[_CHECK_SIZE:]
        return program if check == hashlib.sha256(program).digest() else None

    def put(self, key: str, value: bytes) -> None:
        with contextlib.suppress(OSError):
            write_whole(self._file(key), hashlib.sha256(value).digest() + value)

    def _file(self, key: str) -> Path:
        return self._path / f"{key}.program"
