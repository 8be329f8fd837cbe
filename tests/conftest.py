import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keeps the user's cache out of the tests, and the tests out of it."""
    os.environ["BADGE_JAX_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The raw data kept beside the repository for development."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the raw data sets kept beside the repository for development")
    return SHARED_DATA


@pytest.fixture(scope="session")
def downloads(shared_data, tmp_path_factory):
    """The download folders of TFDS and openml-python, filled from the raw data: no network is needed."""
    for package in ("tensorflow_datasets", "openml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package} (extra data)")
    folder = tmp_path_factory.mktemp("downloads")
    seed = shared_data.parent / "tools" / "seed_caches.py"
    done = subprocess.run([sys.executable, seed, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    import openml

    os.environ["TFDS_DATA_DIR"] = str(folder / "tfds")
    openml.config.set_root_cache_directory(str(folder / "openml"))
    return folder


@pytest.fixture
def compilations():
    """A list that grows by one with every XLA compilation."""
    from jax._src import monitoring

    seen = []

    def listen(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    monitoring.unregister_event_duration_listener(listen)
