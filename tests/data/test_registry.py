"""What every registered data set must keep, and the cache under it."""

import dataclasses
import logging

import numpy as np
import pytest

from badge_jax.data import DATASETS, fetch_table, load_dataset, on_this_machine
from badge_jax.data.splits import MAX_POOL
from badge_jax.errors import InputError
from badge_jax.files import cache_folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BADGE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("encoding", ["onehot", "codes"])
@pytest.mark.parametrize("name", sorted(DATASETS))
def test_loads_as_announced(name, encoding):
    info, data = DATASETS[name], load_dataset(name, seed=3, encoding=encoding)
    assert len(data.labels) == min(MAX_POOL, 9 * info.num_rows // 10)
    assert len(data.test_labels) == info.num_rows - 9 * info.num_rows // 10
    assert len(data.classes) == info.num_classes
    assert data.inputs.dtype == data.test_inputs.dtype == np.float32
    assert data.labels.dtype == data.test_labels.dtype == np.int32
    assert np.isfinite(data.inputs).all()
    assert set(data.labels) == set(range(info.num_classes)), "no class is missing"
    again, other = (
        load_dataset(name, seed=3, encoding=encoding),
        load_dataset(name, seed=4, encoding=encoding),
    )
    np.testing.assert_array_equal(again.inputs, data.inputs)
    assert (other.labels != data.labels).any()


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_is_kept_in_the_cache(name, cache, monkeypatch):
    assert not on_this_machine(name)
    first = fetch_table(name)
    assert on_this_machine(name)

    def not_again():
        raise AssertionError("made again in spite of the cache")

    info = DATASETS[name]
    blocked = dataclasses.replace(info, sources=dict.fromkeys(info.sources, not_again))
    monkeypatch.setitem(DATASETS, name, blocked)
    second = fetch_table(name)
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.numbers, second.numbers)
    assert first.categories == second.categories
    assert first.classes == second.classes


@pytest.mark.parametrize("damage", ["truncated", "flipped", "header", "empty", "text", "short"])
def test_a_damaged_cache_file_is_made_again_with_one_line(cache, caplog, damage):
    whole = fetch_table("kropt")
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    if damage == "flipped":
        content[2000] ^= 255
    if damage == "header":
        content[content.index(b"NUMPY") + 10] ^= 255
    if damage == "empty":
        content = b""
    if damage == "text":
        content = b"not an archive"
    if damage == "short":
        with np.load(path) as arrays:
            np.savez(path, **{name: a[:10] if a.ndim else a for name, a in arrays.items()})
        content = path.read_bytes()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = fetch_table("kropt")
    (record,) = caplog.records
    assert "is damaged" in record.getMessage()
    assert "\n" not in record.getMessage()
    np.testing.assert_array_equal(again.codes, whole.codes)
    caplog.clear()
    fetch_table("kropt")
    assert not caplog.records, "the file was not mended"


def test_a_cache_that_cannot_be_written_costs_one_line(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BADGE_JAX_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        assert len(fetch_table("kropt").labels) == 28_056
    (record,) = caplog.records
    assert "cannot keep" in record.getMessage()


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("BADGE_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "badge_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "badge_jax"


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown dataset 'kropd'; did you mean kropt"):
        load_dataset("kropd", seed=0)
    with pytest.raises(InputError, match="unknown encoding 'one-hot'; did you mean onehot"):
        load_dataset("kropt", seed=0, encoding="one-hot")
    with pytest.raises(InputError, match="unknown source of kropt 'openm'"):
        load_dataset("kropt", seed=0, source="openm")
