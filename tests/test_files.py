import errno
import os
import stat

import pytest

from badge_jax.errors import InputError
from badge_jax.files import cache_folder, file_to_write, write_whole


def test_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file.txt"
    write_whole(path, b"old")

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_behind_a_link_is_written(tmp_path):
    (tmp_path / "link").symlink_to("file.txt")
    (tmp_path / "further").symlink_to("link")
    assert file_to_write(tmp_path / "further") == tmp_path.resolve() / "file.txt"


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    for name in ("self", "one"):
        with pytest.raises(InputError, match=f"{name} is a link that leads back to itself"):
            file_to_write(tmp_path / name)
    with pytest.raises(InputError, match="is not a folder"):
        file_to_write(tmp_path / "one" / "file.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "self", "two"]


def test_an_empty_variable_is_no_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("BADGE_JAX_CACHE", "")
    assert cache_folder() == tmp_path / "badge_jax"
