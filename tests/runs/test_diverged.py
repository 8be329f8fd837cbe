"""A network that has diverged is no result: neither its accuracy nor a batch that it chose is recorded."""

import numpy as np
import pytest

from badge_jax.data import DATASETS, DatasetInfo, Source
from badge_jax.data.table import Arrays
from badge_jax.errors import EnvironmentFailure
from badge_jax.paper import Recipe
from badge_jax.runs import RunOptions, run
from badge_jax.runs.directory import read_queried

TOO_LARGE = 2e38  # one step of this size leaves finite weights, and the sum of two of them overflows


def make_outlier() -> Arrays:
    """Ones, and one row of the pool so large that ordinary weights overflow there."""
    inputs, labels = np.ones((40, 3), np.float32), (np.arange(40) % 3).astype(np.int32)
    outlier = np.where(np.arange(40) == 7, np.float32(3e38), np.float32(1))
    return Arrays(inputs * outlier[:, None], labels, ("x", "y", "z"), inputs[:9], labels[:9])


@pytest.fixture(autouse=True)
def _outlier(monkeypatch):
    info = DatasetInfo("one large row", {"generated": Source(make_outlier)}, (3,), 3, recipe=Recipe(8, 1e-4, 8))
    monkeypatch.setitem(DATASETS, "outlier", info)


def options_for(strategy, rounds, learning_rate):
    return RunOptions(
        "outlier",
        strategy,
        batch_size=4,
        rounds=rounds,
        model="linear",
        initial=6,
        max_epochs=1,
        learning_rate=learning_rate,
    )


@pytest.mark.parametrize(("strategy", "rounds"), [("random", 2), ("coreset", 0)])
def test_finite_weights_with_infinite_outputs_are_named(tmp_path, strategy, rounds):
    with pytest.raises(
        EnvironmentFailure, match=r"outputs after round 0 are not finite.*smaller --learning-rate"
    ):
        run(options_for(strategy, rounds, TOO_LARGE), tmp_path)
    assert not (tmp_path / "rounds.jsonl").exists()
    assert read_queried(tmp_path).round == 0


def test_one_row_of_the_pool_is_enough(tmp_path):
    """The test rows do not show it; the strategy reads all rows of the pool."""
    with pytest.raises(EnvironmentFailure, match=r"outputs after round 0 are not finite"):
        run(options_for("margin", 1, 10.0), tmp_path)
    assert len((tmp_path / "rounds.jsonl").read_text().splitlines()) == 1
    assert read_queried(tmp_path).round == 0


def test_random_reads_no_outputs_of_the_pool(tmp_path):
    assert len(run(options_for("random", 1, 10.0), tmp_path)) == 2
