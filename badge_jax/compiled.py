"""Compiled programs, kept from one process to the next in files that are written whole and checked."""

import contextlib
import hashlib
import os
from pathlib import Path

import jax

from badge_jax.files import cache_folder, write_whole

_CHECK_SIZE = hashlib.sha256().digest_size
_MOST_BYTES = 2**29  # 512 MiB of programs; those of a run take about 1 MiB


def keep_compiled_programs() -> None:
    """Has JAX keep compiled programs in the cache folder, if there can be one: a second process need not
    compile.

    The folder is ``compiled`` in `cache_folder`, of 512 MiB at most. ``JAX_ENABLE_COMPILATION_CACHE=false`` in
    the environment keeps nothing.
    """
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return
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
    that cannot be read or written costs a compilation, and the command that compiles hears nothing of it. When
    the files outgrow ``_MOST_BYTES``, those that were not used for longest go.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder

    def get(self, key: str) -> bytes | None:
        try:
            content = self._file(key).read_bytes()
        except OSError:
            return None
        check, program = content[:_CHECK_SIZE], content[_CHECK_SIZE:]
        if check != hashlib.sha256(program).digest():
            return None
        with contextlib.suppress(OSError):
            os.utime(self._file(key))  # used just now
        return program

    def put(self, key: str, value: bytes) -> None:
        with contextlib.suppress(OSError):
            write_whole(self._file(key), hashlib.sha256(value).digest() + value)
            self._trim()

    def _trim(self) -> None:
        found = []
        for file in os.scandir(self._path):
            with contextlib.suppress(OSError):  # another process has just removed it
                found.append((file.stat(), file.path))
        total = sum(stat.st_size for stat, _ in found)
        for stat, path in sorted(found, key=lambda pair: pair[0].st_mtime):
            if total <= _MOST_BYTES:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= stat.st_size

    def _file(self, key: str) -> Path:
        return self._path / f"{key}.program"
