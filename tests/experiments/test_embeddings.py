"""The script of the published embeddings, on a small pool."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import embeddings


def toy_data(rows_a_class=60, d=4):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), rows_a_class)
    inputs = (2 * rng.normal(size=(10, d))[labels] + 0.5 * rng.normal(size=(len(labels), d))).astype(np.float32)
    return embeddings.Data(*map(jnp.asarray, (inputs, labels, inputs, labels)))


@pytest.mark.parametrize("num_counted", [30, 500])
def test_probe_is_at_the_minimum(num_counted):
    """The gradient in float64, from the definition: pᵀ(x − hits) summed over the rows, plus the kernel."""
    data = toy_data()
    order = np.random.default_rng(1).permutation(600)
    counted = jnp.arange(600) < num_counted
    kernel, bias = embeddings.fit_probe(data.inputs[order], data.labels[order], counted)
    x = np.asarray(data.inputs, np.float64)[order][:num_counted]
    logits = x @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    errors = p / p.sum(axis=1, keepdims=True) - np.eye(10)[np.asarray(data.labels)[order][:num_counted]]
    assert np.abs(errors.sum(axis=0)).max() < 1e-3
    assert np.abs(x.T @ errors + np.asarray(kernel)).max() < 1e-3


def test_drawn_pool_holds_rows_with_their_labels(monkeypatch):
    monkeypatch.setattr(embeddings, "ROWS_A_CLASS", 20)
    data = toy_data()
    pools = [embeddings.drawn(data, seed) for seed in (0, 1)]
    assert not np.array_equal(pools[0].inputs, pools[1].inputs)
    known = {
        tuple(row): label for row, label in zip(np.asarray(data.inputs), np.asarray(data.labels), strict=True)
    }
    for pool in pools:
        assert np.bincount(pool.labels).tolist() == [20] * 10
        assert [known[tuple(row)] for row in np.asarray(pool.inputs)] == pool.labels.tolist()


@pytest.mark.slow
def test_curves_and_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "GROUPS", {"a few": ("random", "badge", "maxherding(num_targets=100)")})
    monkeypatch.setattr(embeddings, "COLD_STARTS", ("random", "kmeans"))
    monkeypatch.setattr(embeddings, "AFTER_COLD_STARTS", ("random", "badge"))
    data, path = toy_data(), tmp_path / "curves.jsonl"
    embeddings.run(data, path, num_seeds=1)
    once = path.read_text()
    embeddings.run(data, path, num_seeds=2)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.read_text().startswith(once)
    assert len(lines) == len({(line["strategy"], line["cold_start"], line["seed"]) for line in lines}) == 10
    assert all(line["accuracy"][-1] > 0.8 > line["accuracy"][0] for line in lines)

    files = embeddings.write_figures(embeddings.read_curves(path), tmp_path / "out")
    assert all(file.stat().st_size > 0 for file in files)
    with (tmp_path / "out" / "summary.csv").open() as file:
        rows = {(row["strategy"], row["cold_start"]): row for row in csv.DictReader(file)}
    assert set(rows) == {(line["strategy"], line["cold_start"]) for line in lines}
    of_badge = [
        np.mean(line["accuracy"])
        for line in lines
        if (line["strategy"], line["cold_start"]) == ("badge", "kmeans")
    ]
    of_random = [
        np.mean(line["accuracy"])
        for line in lines
        if (line["strategy"], line["cold_start"]) == ("random", "random")
    ]
    above = np.subtract(of_badge, of_random)
    found = rows["badge", "kmeans"]
    assert float(found["area"]) == pytest.approx(np.mean(of_badge), abs=1e-4)
    assert float(found["area_above_random"]) == pytest.approx(above.mean(), abs=1e-4)
    assert float(found["standard_error"]) == pytest.approx(abs(above[0] - above[1]) / 2, abs=1e-4)


@pytest.mark.slow
def test_labels_ten_rows_a_round_and_none_twice():
    data = toy_data()
    curve = embeddings.make_curve(embeddings.STRATEGIES["margin"](), embeddings.STRATEGIES["typiclust"]())
    accuracies, rows = jax.jit(curve)(jax.random.key(0), data)
    assert accuracies.shape == (30,)
    assert len(set(rows.tolist())) == 300
    for i, accuracy in enumerate(accuracies):
        chosen = rows[: 10 * (i + 1)]
        head = embeddings.fit_probe(data.inputs[chosen], data.labels[chosen], jnp.ones(len(chosen), bool))
        assert accuracy == pytest.approx(
            float(embeddings.accuracy_of(head, data.inputs, data.labels)), abs=0.004
        )
