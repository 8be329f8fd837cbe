"""What every registered data set must keep, and the cache under it."""

import dataclasses
import gzip
import json
import logging

import numpy as np
import pytest

from badge_jax.data import DATASETS, dataset_info, fetch, load_dataset, on_this_machine, poker, where_kept
from badge_jax.data.table import Table
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.files import cache_folder
from badge_jax.paper import MAX_POOL

OFFLINE = [
    pytest.param(
        (name, source), marks=[pytest.mark.extras] * (source != "generated"), id=f"{name} from {source}"
    )
    for name, info in sorted(DATASETS.items())
    for source in info.sources
]
NOT_AT_HAND = {("svhn", "tfds"), ("random_rbf", "openml")}  # tested on small files of the same format


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BADGE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=OFFLINE)
def named(request):
    if request.param in NOT_AT_HAND:
        pytest.skip("its files are not kept beside the repository")
    if request.param[1] != "generated":
        request.getfixturevalue("downloads")
    return request.param


def test_loads_as_announced_and_is_kept(named, cache, monkeypatch):
    name, source = named
    info = DATASETS[name]
    num_rows = info.sources[source].num_rows
    assert not on_this_machine(name, source)
    data = load_dataset(name, seed=3, source=source)
    assert on_this_machine(name, source)
    num_pool = num_rows if info.num_test else min(MAX_POOL, 9 * num_rows // 10)
    num_test = info.num_test or num_rows - 9 * num_rows // 10
    assert (len(data.labels), len(data.test_labels)) == (num_pool, num_test)
    assert len(data.inputs) == num_pool
    assert len(data.test_inputs) == num_test
    assert len(data.classes) == info.num_classes
    assert data.inputs.dtype == data.test_inputs.dtype == (np.uint8 if info.channels else np.float32)
    assert data.labels.dtype == data.test_labels.dtype == np.int32
    assert len(data.missing_classes) == info.num_classes - len(set(data.labels.tolist()))
    if info.channels:
        assert data.inputs.shape[1:] == info.shape
        scaled = data.inputs[:2000] / 255
        np.testing.assert_allclose(scaled.mean((0, 1, 2)), info.channels.mean, atol=0.02)
        np.testing.assert_allclose(scaled.std((0, 1, 2)), info.channels.sd, atol=0.02)
    else:
        assert np.isfinite(data.inputs).all()
    assert data.representation is (None if info.channels else data.inputs)

    def not_again():
        raise AssertionError("made again in spite of the cache")

    sources = {source: info.sources[source]._replace(make=not_again)}
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(info, sources=sources))
    again, other = (load_dataset(name, seed=seed, source=source) for seed in (3, 4))
    np.testing.assert_array_equal(again.inputs, data.inputs)
    np.testing.assert_array_equal(again.test_labels, data.test_labels)
    assert (other.labels != data.labels).any() == (info.num_test == 0)
    assert (again.classes, again.missing_classes, again.channels) == (
        data.classes,
        data.missing_classes,
        data.channels,
    )
    source_labels = fetch(name, source).labels
    np.testing.assert_array_equal(source_labels[data.source_rows], data.labels)
    kept = fetch(name, source)
    assert isinstance(kept.labels, np.memmap)
    if isinstance(kept, Table):
        assert load_dataset(name, seed=3, source=source, encoding="codes").inputs.shape[1:] == info.shape


# loaded in the test above, once for this file


@pytest.mark.extras
def test_the_rules_of_poker_label_every_real_row(downloads):
    table = fetch("pokerhand")
    np.testing.assert_array_equal(poker.classify(table.codes, table.numbers), table.labels)
    counts = [415_526, 350_426, 39_432, 17_541, 3_225, 1_657, 1_186, 195, 11, 2]
    assert np.bincount(table.labels).tolist() == counts


@pytest.mark.extras
def test_mnist_is_the_original(downloads, shared_data):
    """The same images and labels as in the four original files, though TFDS has an order of its own."""
    data = fetch("mnist")
    for images, labels, split in (
        (data.inputs, data.labels, "train"),
        (data.test_inputs, data.test_labels, "t10k"),
    ):
        original = read_idx(shared_data / "mnist" / f"{split}-images-idx3-ubyte.gz")
        original_labels = read_idx(shared_data / "mnist" / f"{split}-labels-idx1-ubyte.gz")
        ours = sorted((row.tobytes(), int(label)) for row, label in zip(images, labels, strict=True))
        theirs = sorted((r.tobytes(), int(y)) for r, y in zip(original, original_labels, strict=True))
        assert ours == theirs


def read_idx(path):
    content = gzip.decompress(path.read_bytes())
    dims = content[3]
    shape = np.frombuffer(content, ">i4", dims, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dims).reshape(shape)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "header", "empty", "lost", "index"])
def test_a_damaged_cache_is_made_again_with_one_line(cache, caplog, damage):
    whole = fetch("kropt")
    path = where_kept("kropt") / ("index.json" if damage == "index" else "codes.npy")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    if damage == "flipped":
        content[2000] ^= 255
    if damage == "header":
        content[10] ^= 255
    if damage == "empty":
        content = b""
    if damage == "index":
        content = b'{"kind": "table"'
    path.write_bytes(content)
    if damage == "lost":
        path.unlink()
    with caplog.at_level(logging.WARNING):
        again = fetch("kropt")
    (record,) = caplog.records
    assert "is damaged" in record.getMessage()
    assert "\n" not in record.getMessage()
    np.testing.assert_array_equal(again.codes, whole.codes)
    caplog.clear()
    fetch("kropt")
    assert not caplog.records, "the folder was not mended"


def test_a_cache_that_cannot_be_written_costs_one_line(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BADGE_JAX_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        assert len(fetch("kropt").labels) == 28_056
    (record,) = caplog.records
    assert "cannot keep" in record.getMessage()


def test_a_killed_process_leaves_nothing_that_counts_as_kept(cache):
    fetch("kropt")
    index = where_kept("kropt") / "index.json"
    assert set(json.loads(index.read_text())["checksums"]) == {"codes", "labels"}
    index.unlink()  # it is written last
    assert not on_this_machine("kropt")


def test_a_source_with_rows_missing_is_refused_and_not_kept(cache, monkeypatch):
    info = DATASETS["kropt"]
    short = fetch("kropt")._replace(labels=np.zeros(5, np.int32))
    source = info.sources["generated"]._replace(make=lambda: short)
    monkeypatch.setitem(DATASETS, "short", dataclasses.replace(info, sources={"generated": source}))
    with pytest.raises(EnvironmentFailure, match="has 5 rows where 28,056 belong"):
        fetch("short")
    assert not on_this_machine("short")


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
    for name in ("openml:", "openml:letter", "openml:-6", "openml:0"):
        with pytest.raises(InputError, match="wanted a number, as in openml:6"):
            dataset_info(name)
