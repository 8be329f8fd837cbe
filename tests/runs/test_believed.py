"""What must not be believed: files of another run, lines without their checksum, states of odd kinds lost."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import STRATEGIES, RunOptions, Strategy, run
from badge_jax.errors import InputError
from badge_jax.runs import read_rounds

OPTIONS = RunOptions("kropt", "random", 5, 1, model="linear", initial=10, max_epochs=1)


@pytest.fixture
def two_runs(tmp_path):
    run(OPTIONS, tmp_path / "a")
    run(dataclasses.replace(OPTIONS, seed=1), tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def test_the_rounds_of_another_seed_are_refused(two_runs):
    ours, theirs = two_runs
    shutil.copy(theirs / "rounds.jsonl", ours)
    with pytest.raises(InputError, match="does not have its checksum"):
        read_rounds(ours)
    with pytest.raises(InputError, match="does not have its checksum"):
        run(dataclasses.replace(OPTIONS, rounds=2), ours)


def test_the_state_of_another_seed_is_refused(two_runs):
    ours, theirs = two_runs
    shutil.copy(theirs / "state.npz", ours)
    with pytest.raises(InputError, match=r"state\.npz is damaged \(of another run\)"):
        run(dataclasses.replace(OPTIONS, rounds=2), ours)


def test_a_moved_run_is_its_own(two_runs, tmp_path):
    shutil.move(two_runs[0], tmp_path / "elsewhere")
    assert len(run(dataclasses.replace(OPTIONS, rounds=2), tmp_path / "elsewhere")) == 3


def test_lost_rounds_are_one_line(two_runs):
    (two_runs[0] / "rounds.jsonl").unlink()
    with pytest.raises(InputError, match=r"it has lost its rounds\.jsonl"):
        run(OPTIONS, two_runs[0])


STATES = {
    "a Python number": lambda n, rounds: 0,
    "NumPy float64": lambda n, rounds: np.zeros(3),
    "bfloat16": lambda n, rounds: jnp.zeros(2, jnp.bfloat16),
    "as long as the run": lambda n, rounds: jnp.zeros(rounds),
}


@pytest.mark.parametrize("kind", STATES)
def test_states_of_every_kind_are_restored(kind, tmp_path, monkeypatch):
    def query(key, state, pool, k):
        return jnp.argsort(~pool.available, stable=True)[:k].astype(jnp.int32), state + 1

    monkeypatch.setitem(STRATEGIES, "stateful", lambda: Strategy(STATES[kind], query))
    options = dataclasses.replace(OPTIONS, strategy="stateful", rounds=1)
    run(options, tmp_path / "run")
    lines = run(dataclasses.replace(options, rounds=3), tmp_path / "run")
    assert [line["num_labeled"] for line in lines] == [10, 15, 20, 25]


def test_a_state_that_grows_is_one_line(tmp_path, monkeypatch):
    def query(key, state, pool, k):
        return jnp.arange(k, dtype=jnp.int32), jnp.concatenate([state, jnp.ones(1)])

    monkeypatch.setitem(STRATEGIES, "growing", lambda: Strategy(lambda n, rounds: jnp.zeros(1), query))
    with pytest.raises(InputError, match=r"its state changes shape from .* to .*; wanted one shape"):
        run(dataclasses.replace(OPTIONS, strategy="growing"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rounds", None),
        ("rounds", "3"),
        ("seed", True),
        ("learning_rate", "x"),
        ("rounds_at_start", "x"),
    ],
)
def test_a_damaged_configuration_is_one_line(two_runs, name, value):
    path = two_runs[0] / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(InputError):
        run(OPTIONS, two_runs[0])
