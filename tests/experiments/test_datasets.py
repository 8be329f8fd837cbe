"""The data sets of the experiments."""

import types

import numpy as np

from experiments import datasets


def test_rare_classes(monkeypatch):
    labels = np.repeat(np.arange(10), 600)
    images = np.arange(6000, dtype=np.uint16).view(np.uint8).reshape(6000, 1, 2, 1)  # a row tells which it is
    data = types.SimpleNamespace(inputs=images, labels=labels, test_inputs=images[::7], test_labels=labels[::7])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, seed: data)
    rare, all_alike = datasets.mnist(rows=2000, ratio=50), datasets.mnist(rows=2000)
    kept = np.array([round(600 * 50 ** (-c / 9)) for c in range(10)])
    counts = np.bincount(rare["labels"], minlength=10)
    assert len(rare["inputs"]) == min(2000, kept.sum())
    np.testing.assert_allclose(counts / counts.sum(), kept / kept.sum(), atol=0.02)
    assert np.bincount(all_alike["labels"]).min() > 150
    assert len(rare["test_inputs"]) == len(images[::7])
    for part in (rare, all_alike):
        pixels = np.round(part["inputs"] * 255).astype(int)
        rows = pixels[:, 0] + 256 * pixels[:, 1]
        np.testing.assert_array_equal(labels[rows], part["labels"])
        assert len(np.unique(rows)) == len(rows)


def _table(monkeypatch):
    rng = np.random.default_rng(0)
    columns = rng.normal([3, -50, 0.1], [2, 100, 0], size=(300, 3)).astype(np.float32)
    labels = rng.integers(0, 4, 200)
    data = types.SimpleNamespace(
        inputs=columns[:200], labels=labels, test_inputs=columns[200:], test_labels=rng.integers(0, 4, 100)
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name, seed: data)
    return data


def test_a_table_is_rows_of_the_data_set_with_their_labels(monkeypatch):
    data = _table(monkeypatch)
    drawn = datasets.table("letter", rows=50)
    where = [np.flatnonzero((data.inputs == row).all(axis=1)).item() for row in drawn["inputs"]]
    assert len(set(where)) == 50
    np.testing.assert_array_equal(drawn["labels"], data.labels[where])
    np.testing.assert_array_equal(drawn["test_inputs"], data.test_inputs)


def test_a_standardized_table_uses_the_drawn_rows_alone(monkeypatch):
    data = _table(monkeypatch)
    raw, drawn = datasets.table("letter", rows=50), datasets.table("letter", rows=50, standardized=True)
    inputs = raw["inputs"].astype(np.float64)
    expected = (data.test_inputs[:, :2] - inputs[:, :2].mean(0)) / inputs[:, :2].std(0)
    np.testing.assert_allclose(drawn["test_inputs"][:, :2], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(drawn["inputs"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(drawn["inputs"].std(0), [1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(drawn["inputs"][:, 2], 0, atol=1e-6)  # the column of one value
    np.testing.assert_array_equal(drawn["labels"], raw["labels"])
