"""Compiled programs, kept from one process to the next."""

import jax

from badge_jax.files import cache_folder


def keep_compiled_programs() -> None:
    """Has JAX keep compiled programs in the cache folder, if there can be one: a second process need not
    compile."""
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
