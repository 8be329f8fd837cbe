"""The script of the published embeddings, on a small pool."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax.errors import InputError
from experiments import embeddings


def toy_data(rows_a_class=60, d=4, spread=2.0):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), rows_a_class)
    inputs = (spread * rng.normal(size=(10, d))[labels] + 0.5 * rng.normal(size=(len(labels), d))).astype(
        np.float32
    )
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


@pytest.mark.extras
@pytest.mark.parametrize("num_labels", [10, 400])
def test_probe_is_that_of_scikit_learn(num_labels, shared_data):
    linear_model = pytest.importorskip("sklearn.linear_model", reason="wants scikit-learn (group peers)")
    data = embeddings.load(shared_data / "mnist_vae")
    rows = np.concatenate([np.flatnonzero(data.labels == label)[: num_labels // 10] for label in range(10)])
    inputs, labels = data.inputs[rows], data.labels[rows]
    head = embeddings.fit_probe(inputs, labels, jnp.ones(num_labels, bool))
    theirs = linear_model.LogisticRegression(C=1, max_iter=5000, tol=1e-8).fit(inputs, labels)
    np.testing.assert_allclose(head.kernel.T, theirs.coef_, atol=2e-3)
    found = float(embeddings.accuracy_of(head, data.test_inputs, data.test_labels))
    assert found == pytest.approx(theirs.score(data.test_inputs, data.test_labels), abs=5e-4)


def write_folder(folder, **changed):
    folder.mkdir()
    data = toy_data()
    arrays = dict(
        zip(
            ("embeddings_betatcvae_train", "labels_train", "embeddings_betatcvae_test", "labels_test"),
            map(np.array, data),
            strict=True,
        )
    )
    for name, array in {**arrays, **changed}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def test_folder_is_read_and_standardized(tmp_path):
    data = embeddings.load(write_folder(tmp_path / "good"))
    np.testing.assert_allclose(data.inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.inputs.std(axis=0), 1, atol=1e-5)
    assert np.array_equal(data.labels, toy_data().labels)


def test_wrong_files_are_named(tmp_path):
    halves = np.arange(600) % 2
    for name, changed, message in [
        (
            "nan",
            {"embeddings_betatcvae_test": np.full((600, 4), np.nan, np.float32)},
            "values that are not finite",
        ),
        ("two", {"labels_train": halves, "labels_test": halves}, r"of 2 classes; wanted \[n, d\] of 10"),
    ]:
        with pytest.raises(InputError, match=message):
            embeddings.load(write_folder(tmp_path / name, **changed))
    labels = write_folder(tmp_path / "short") / "labels_train.npy"
    labels.write_bytes(labels.read_bytes()[:900])
    with pytest.raises(InputError, match=r"labels_train.npy is cut off"):
        embeddings.load(labels.parent)
    labels.unlink()
    with pytest.raises(InputError, match=r"labels_train.npy does not exist; wanted a .npy file"):
        embeddings.load(labels.parent)
    (tmp_path / "curves.jsonl").write_text('{"strategy": "badge"')
    with pytest.raises(InputError, match="is damaged"):
        embeddings.read_curves(tmp_path / "curves.jsonl")


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
    data, path = toy_data(spread=1.5), tmp_path / "curves.jsonl"
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

    def areas(*pair):
        return [np.mean(line["accuracy"]) for line in lines if (line["strategy"], line["cold_start"]) == pair]

    of_badge, of_random = areas("badge", "kmeans"), areas("random", "random")
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
