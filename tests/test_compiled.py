"""Compiled programs kept on disk: damaged files, disks that fail, and two writers at once."""

import os
import resource
import shutil
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from badge_jax.compiled import keep_compiled_programs

DAMAGE = {
    "nothing": lambda content: b"",
    "a few bytes": lambda content: content[:10],
    "half": lambda content: content[: len(content) // 2],
    "the last byte missing": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "zeros from the middle": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "more than was written": lambda content: content + content,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where this test's programs are kept."""
    monkeypatch.setenv("BADGE_JAX_CACHE", str(tmp_path))
    keep_compiled_programs()
    yield tmp_path / "compiled"
    monkeypatch.undo()
    keep_compiled_programs()  # where the other tests keep theirs


@pytest.fixture
def events():
    """What JAX reports of its cache, as it happens."""
    from jax._src import monitoring

    seen = []

    def listen(event, **kwargs):
        seen.append(event.rpartition("/")[2])

    jax.monitoring.register_event_listener(listen)
    yield seen
    monitoring.unregister_event_listener(listen)


def is_loaded(events) -> bool:
    """Compiles one and the same program, as a new process would, and says whether it came from the disk."""

    def program(x):
        return 3 * x + 1

    x = np.arange(4, dtype=np.float32)
    events.clear()
    np.testing.assert_array_equal(jax.jit(program)(x), [1, 4, 7, 10])
    assert "compile_requests_use_cache" in events
    return "cache_hits" in events


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_program_is_compiled_again_and_replaced(folder, events, damage):
    assert not is_loaded(events)
    assert is_loaded(events)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    file.write_bytes(DAMAGE[damage](content))
    assert not is_loaded(events)  # a warning of JAX's would be an error here
    assert is_loaded(events)


def test_full_disk_costs_a_compilation_and_leaves_no_file(folder, events):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        assert not is_loaded(events)
        assert not is_loaded(events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []
    assert not is_loaded(events)
    assert is_loaded(events)


@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_folder_that_is_gone_costs_a_compilation(folder, events, instead):
    shutil.rmtree(folder)
    if instead == "a file":
        folder.touch()
    assert not is_loaded(events)
    assert not is_loaded(events)


def test_cache_that_cannot_be_made_leaves_jax_as_it_was(folder, events, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BADGE_JAX_CACHE", str(tmp_path / "file"))
    keep_compiled_programs()
    assert not is_loaded(events)
    assert is_loaded(events)  # in the folder that JAX had before


def test_user_without_a_home_needs_no_cache(monkeypatch):
    def without_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("badge_jax.compiled.cache_folder", without_home)
    keep_compiled_programs()


def test_two_writers_at_once_leave_one_whole_program(folder):
    from jax._src import compilation_cache

    store = compilation_cache._cache
    programs = [bytes([number]) * 2_000_000 for number in (1, 2)]
    found = []

    def write(program):
        for _ in range(15):
            store.put("same", program)

    writers = [threading.Thread(target=write, args=(program,)) for program in programs]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found.append(store.get("same"))
    for writer in writers:
        writer.join()
    found.append(store.get("same"))
    assert set(found) - {None} <= set(programs)
    assert None not in found[found.index(found[-1]) :]  # once there is one, there is always one
    assert [file.name for file in folder.iterdir()] == ["same.program"]


@pytest.mark.slow
def test_command_says_nothing_of_damaged_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("BADGE_JAX_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name, width in (("features", 8), ("logits", 3)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(300, width)).astype(np.float32))
    command = [sys.executable, "-m", "badge_jax", "select", "--k", "5", "--features", "features.npy"]
    command += ["--logits", "logits.npy", "--out", "picks.csv", "--force"]
    picks = []
    for _ in range(3):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        picks.append((tmp_path / "picks.csv").read_bytes())
        programs = list((tmp_path / "cache" / "compiled").iterdir())
        assert programs
        for number, file in enumerate(programs):
            content = file.read_bytes()
            file.write_bytes(list(DAMAGE.values())[number % len(DAMAGE)](content))
    assert len(set(picks)) == 1


def test_programs_unused_for_longest_go_when_the_folder_is_full(folder, monkeypatch):
    from jax._src import compilation_cache

    store = compilation_cache._cache
    for age, name in enumerate("dcba"):
        store.put(name, bytes(1000))
        os.utime(folder / f"{name}.program", (1e9 - age, 1e9 - age))
    assert store.get("a") == bytes(1000)  # the oldest, but used now
    monkeypatch.setattr("badge_jax.compiled._MOST_BYTES", 3500)
    store.put("e", bytes(1000))
    assert {file.stem for file in folder.iterdir()} == {"a", "d", "e"}


def test_nothing_is_kept_where_jax_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("BADGE_JAX_CACHE", str(tmp_path))
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        keep_compiled_programs()
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert list(tmp_path.iterdir()) == []
