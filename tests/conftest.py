import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from own_code import MODULE

from badge_jax.compiled import keep_compiled_programs

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
if jax.default_backend() != "cpu":
    jax.config.update("jax_default_matmul_precision", "highest")  # oracles are exact; the default is tf32

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(request, tmp_path_factory):
    """Keeps the user's cache out of the tests, and the tests out of it.

    Compiling is most of the suite's time. So programs stay in pytest's own cache: all workers share them, and
    the next run has them. ``pytest --cache-clear`` compiles them anew.
    """
    cache = tmp_path_factory.mktemp("cache")
    (cache / "compiled").symlink_to(request.config.cache.mkdir("compiled"))
    os.environ["BADGE_JAX_CACHE"] = str(cache)
    keep_compiled_programs()


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Drops the programs of a module: thousands exhaust the memory maps of a process, and it crashes."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The raw data kept beside the repository for development."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs MNIST, CIFAR-10 and OpenML 6, 155, 184: see docs/data.md")
    return SHARED_DATA


@pytest.fixture(scope="session")
def downloads(request, tmp_path_factory):
    """The download folders of TFDS and openml-python, tfds/ and openml/: those in $BADGE_JAX_TEST_DOWNLOADS, or
    filled from the raw data. No network is needed for either."""
    for package in ("tensorflow_datasets", "openml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package} (extra data)")
    if "BADGE_JAX_TEST_DOWNLOADS" in os.environ:
        folder = Path(os.environ["BADGE_JAX_TEST_DOWNLOADS"])
    else:
        seed = request.getfixturevalue("shared_data").parent / "tools" / "seed_caches.py"
        folder = tmp_path_factory.mktemp("downloads")
        done = subprocess.run([sys.executable, seed, folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    import openml

    os.environ["TFDS_DATA_DIR"] = str(folder / "tfds")
    openml.config.set_root_cache_directory(str(folder / "openml"))
    return folder


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """The current folder is one with a user's module, mine.py."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.py").write_text(MODULE)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    yield folder / "mine.py"
    sys.modules.pop("mine", None)
    sys.path[:] = [path for path in sys.path if path != str(folder)]


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
