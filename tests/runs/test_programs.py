"""Which runs share their compiled programs: those that differ in nothing but their seed."""

import dataclasses

import pytest
from toy import make_toy, toy

from badge_jax.data import DATASETS, Source, load_dataset
from badge_jax.runs import RunOptions
from badge_jax.runs.options import resolve, to_config
from badge_jax.runs.programs import make_learner

OPTIONS = RunOptions("toy", "margin", batch_size=5, rounds=2, model="linear", initial=6, max_epochs=2)


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", toy(Source(make_toy, 64), 1e-3))


def learner_of(options=OPTIONS, **more):
    """What `run` makes."""
    resolved = resolve(options)
    dataset = load_dataset("toy", seed=options.seed)
    return make_learner(resolved, {**to_config(resolved), **more}, dataset)


def test_another_seed_shares_the_programs():
    assert learner_of() is learner_of(dataclasses.replace(OPTIONS, seed=1))


CHANGES = {
    "strategy": "random", "model": "mlp", "batch_size": 4, "rounds": 3, "initial": 7, "learning_rate": 1e-2,
    "max_epochs": 3, "clip": 0.5, "target_accuracy": 0.5, "minibatch_size": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_other_option_makes_new_ones(name):
    assert learner_of() is not learner_of(dataclasses.replace(OPTIONS, **{name: CHANGES[name]}))


def test_jax_s_settings_and_the_user_s_files_make_new_ones():
    first = learner_of(environment={"enable_x64": False})
    assert learner_of(environment={"enable_x64": True}) is not first
    first = learner_of(code={"strategy": {"file": "mine.py", "crc32": 1}})
    assert learner_of(code={"strategy": {"file": "mine.py", "crc32": 2}}) is not first


def test_a_maker_of_the_same_name_makes_new_ones(monkeypatch):
    from badge_jax.strategies import STRATEGIES

    first = learner_of()
    monkeypatch.setitem(STRATEGIES, "margin", lambda: STRATEGIES["random"]())
    assert learner_of() is not first
