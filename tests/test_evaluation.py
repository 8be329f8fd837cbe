import numpy as np
import pytest

from badge_jax.evaluation import Run, Setting, batch_diversity, mean_curves


def make_run(strategy, seed, accuracies, **changes):
    config = {"dataset": "d", "model": "m", "batch_size": 10, "strategy": strategy, "seed": seed, **changes}
    rounds = [
        {"round": i, "num_labeled": 5 + 10 * i, "test_accuracy": accuracy}
        for i, accuracy in enumerate(accuracies)
    ]
    return Run(config, rounds)


def test_means_and_deviations_by_labels():
    curves = mean_curves(
        [
            make_run("b", 0, [0.2, 0.5]),
            make_run("b", 1, [0.4, 0.9]),
            make_run("b", 2, [0.6]),
            make_run("a", 0, [0.1]),
        ]
    )
    assert list(curves) == [Setting("d", "m", 10, "a"), Setting("d", "m", 10, "b")]
    first, second = curves[Setting("d", "m", 10, "b")]
    assert (first.num_labeled, first.runs) == (5, 3)
    assert first.mean == pytest.approx(0.4)
    assert first.std == pytest.approx(np.sqrt(0.08 / 3))
    assert first.standard_error == pytest.approx(np.sqrt(0.08 / 9))
    assert (second.num_labeled, second.runs, second.mean) == (15, 2, pytest.approx(0.7))


def test_settings_are_kept_apart():
    runs = [
        make_run("a", 0, [0.1]),
        make_run("a", 0, [0.3], batch_size=20),
        make_run("a", 0, [0.5], model="n"),
    ]
    assert [points[0].mean for points in mean_curves(runs).values()] == [0.1, 0.3, 0.5]


def test_other_quantities_begin_with_the_first_query_and_have_gaps():
    run = make_run("a", 0, [0.1, 0.2, 0.3])
    for line, log_det in zip(run.rounds, (None, 4.0, None), strict=True):
        line |= {"gram_log_det": log_det, "query_seconds": 2.0}
    (points,) = mean_curves([run, run], "gram_log_det").values()
    assert [point.num_labeled for point in points] == [15, 25]
    assert points[0].mean == 4.0
    assert np.isnan(points[1].mean)
    (points,) = mean_curves([run], "query_seconds").values()
    assert [point.mean for point in points] == [2.0, 2.0]


def outer_products(k, c=3, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(k, c)).astype(np.float32), rng.normal(size=(k, d)).astype(np.float32)


def test_diversity_is_that_of_the_dense_embeddings():
    left, right = outer_products(6)
    dense = (left[:, :, None].astype(float) * right[:, None, :]).reshape(6, -1)
    found = batch_diversity(left, right)
    assert found.log_det == pytest.approx(np.linalg.slogdet(dense @ dense.T)[1], rel=1e-10)
    assert found.mean_norm == pytest.approx(np.linalg.norm(dense, axis=1).mean())


def test_diversity_of_tiny_embeddings_does_not_underflow():
    left, right = outer_products(10, c=4, d=8)
    small = batch_diversity(left * np.float32(1e-15), right * np.float32(1e-15))
    assert small.log_det == pytest.approx(batch_diversity(left, right).log_det - 10 * 60 * np.log(10), rel=1e-5)


@pytest.mark.parametrize("kind", ["copy", "multiple", "zero", "rounding", "rank"])
def test_dependent_embeddings_have_log_det_minus_infinity(kind):
    left, right = outer_products(13 if kind == "rank" else 6)
    if kind in ("copy", "multiple", "rounding"):
        left[4], right[4] = left[1] * (3 if kind == "multiple" else 1), right[1]
    if kind == "rounding":
        right[4] = np.nextafter(right[4], np.float32(9))
    if kind == "zero":
        right[2] = 0
    found = batch_diversity(left, right)
    assert found.log_det == -np.inf
    assert found.mean_norm > 0


def test_nearly_dependent_embeddings_have_a_determinant():
    left, right = outer_products(6)
    left[4], right[4] = left[1], right[1] + np.float32(1e-4)
    assert np.isfinite(batch_diversity(left, right).log_det)
