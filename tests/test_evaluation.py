import numpy as np
import pytest

from badge_jax.evaluation import Run, Setting, mean_curves


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
