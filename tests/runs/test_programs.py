"""Which runs of a worker share their compiled programs: those that differ in nothing but their seed."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest
from toy import make_toy, noisy, toy

from badge_jax.data import DATASETS, Source
from badge_jax.runs import RunOptions, _run, read_rounds, run
from badge_jax.runs.place import Place
from badge_jax.runs.programs import keeping_programs
from badge_jax.strategies import STRATEGIES
from badge_jax.strategies.base import Strategy

OPTIONS = RunOptions("toy", "margin", batch_size=5, rounds=2, model="linear", initial=6, max_epochs=2)
CHANGES = {
    "strategy": "random", "model": "mlp", "batch_size": 4, "rounds": 3, "initial": 7, "learning_rate": 1e-2,
    "max_epochs": 3, "clip": 0.5, "target_accuracy": 0.5, "minibatch_size": 4, "encoding": "codes",
    "diagnostics": True, "rounds_at_start": 1, "precision": "bfloat16", "cold_start": "noisy",
}  # fmt: skip
MLP, ALBL = dataclasses.replace(OPTIONS, model="mlp"), dataclasses.replace(OPTIONS, strategy="albl")
BASES = {"precision": MLP, "rounds_at_start": ALBL}  # where the option has a meaning


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", toy(Source(make_toy, 64), 1e-3))
    monkeypatch.setitem(STRATEGIES, "noisy", noisy)


def learner_of(options):
    return _run._prepare(options, Place()).learner


def test_another_seed_shares_the_programs_of_a_worker():
    other = dataclasses.replace(OPTIONS, seed=1)
    with keeping_programs():
        assert learner_of(OPTIONS) is learner_of(other)
    assert learner_of(OPTIONS) is not learner_of(other)  # a run by itself makes its own


def test_every_option_has_a_case():
    fields = {field.name for field in dataclasses.fields(RunOptions)}
    assert fields == {*CHANGES, "seed", "dataset", "source"}


@pytest.mark.parametrize("name", CHANGES)
def test_every_other_option_makes_new_ones(name):
    base = BASES.get(name, OPTIONS)
    with keeping_programs():
        assert learner_of(base) is not learner_of(dataclasses.replace(base, **{name: CHANGES[name]}))


def test_jax_s_settings_and_another_maker_make_new_ones(monkeypatch):
    with keeping_programs():
        first = learner_of(OPTIONS)
        with jax.default_matmul_precision("highest"):
            second = learner_of(OPTIONS)
        assert second is not first
        monkeypatch.setitem(STRATEGIES, "margin", lambda: STRATEGIES["random"]())
        assert learner_of(OPTIONS) is not second


def test_a_run_by_itself_sees_what_changed_behind_its_strategy(tmp_path, monkeypatch):
    sign = [1]

    def in_turn():
        def query(key, state, pool, k):
            ranks = jnp.where(pool.available, sign[0] * jnp.arange(len(pool.available)), 1000)
            return jnp.argsort(ranks)[:k].astype(jnp.int32), state

        return Strategy(lambda n, num_rounds: (), query)

    monkeypatch.setitem(STRATEGIES, "in_turn", in_turn)
    options = dataclasses.replace(OPTIONS, strategy="in_turn")
    first = run(options, tmp_path / "up")[1]["indices"]
    sign[0] = -1
    second = run(options, tmp_path / "down")[1]["indices"]
    assert first == sorted(first)
    assert second == sorted(second, reverse=True)


def test_a_strategy_may_make_its_state_of_the_number_of_rounds(tmp_path, monkeypatch):
    """Also when the run is extended: the number stays that of the start."""

    def counting():
        def query(key, state, pool, k):
            ranks = jnp.where(pool.available, jnp.arange(len(pool.available)), 1000)
            return jnp.argsort(ranks)[:k].astype(jnp.int32), state + 1

        return Strategy(lambda n, num_rounds: jnp.zeros(num_rounds) / num_rounds, query)

    monkeypatch.setitem(STRATEGIES, "counting", counting)
    options = dataclasses.replace(OPTIONS, strategy="counting")
    run(options, tmp_path)
    run(dataclasses.replace(options, rounds=3), tmp_path)
    assert len(read_rounds(tmp_path)) == 4
    assert json.loads((tmp_path / "config.json").read_text())["rounds_at_start"] == 2
