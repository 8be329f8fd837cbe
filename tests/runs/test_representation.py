"""Runs whose strategy or whose first labels depend on a representation: what is chosen, shared, and refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import make_toy, noisy, toy

from badge_jax import STRATEGIES, Pool, RunOptions, Strategy, load_rounds, run
from badge_jax.analysis import read_runs
from badge_jax.cli import main
from badge_jax.data import DATASETS, Source, load_dataset
from badge_jax.errors import InputError
from badge_jax.runs import _run, make_runs, read_config
from badge_jax.runs.directory import (
    read_per_class,
    read_queried,
    read_rounds,
    write_config,
    write_per_class,
    write_queried,
    write_rounds,
)
from badge_jax.runs.place import Place

OPTIONS = RunOptions(
    "toy", "random", 5, rounds=1, model="linear", seed=1, initial=8, cold_start="kmeans", max_epochs=2
)
OWN = RunOptions("mine:pictures", "mine:outermost", 5, 2, model="linear", initial=10, max_epochs=2)
NONE = "needs a representation, and {} has none; wanted inputs [n, d], or an array representation [n, d] beside"


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", toy(Source(make_toy, 64), 1e-3))
    monkeypatch.setitem(STRATEGIES, "kmeans", noisy)
    yield
    jax.config.update("jax_compilation_cache_dir", None)  # commands turn it on for the whole process


def changed(options, **changes):
    return dataclasses.replace(options, **changes)


def first_of(folder, **changes):
    (line,) = run(changed(OPTIONS, rounds=0, **changes), folder)
    return line["indices"]


def error_of(function, *args):
    """The message, which is one line."""
    with pytest.raises(InputError) as caught:
        function(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_the_first_labels_are_the_choice_of_the_strategy_with_nothing_labeled(tmp_path):
    lines = run(OPTIONS, tmp_path)
    inputs = load_dataset("toy", seed=1).inputs
    n, key = len(inputs), jax.random.fold_in(jax.random.key(1), 2**32 - 1)
    every = jnp.ones(n, bool)
    pool = Pool(None, None, jnp.full(n, -1), ~every, every, representation=jnp.asarray(inputs))
    expected, _ = noisy(embedding="representation").query(key, (), pool, 8)
    assert lines[0]["indices"] == expected.tolist()
    assert (lines[0]["num_labeled"], lines[1]["num_labeled"]) == (8, 13)
    assert lines[0]["query_seconds"] > 0
    config = read_config(tmp_path)
    assert config["cold_start"] == "kmeans"
    assert config["cold_start_options"] == {"embedding": "representation", "noise": 1.0}


def test_strategies_of_a_seed_share_the_first_labels(tmp_path):
    first = first_of(tmp_path / "random")
    assert first_of(tmp_path / "again") == first
    assert first_of(tmp_path / "margin", strategy="margin", batch_size=3) == first
    assert first_of(tmp_path / "other seed", seed=2) != first
    assert first_of(tmp_path / "less noise", cold_start="kmeans(noise=0.5)") != first
    drawn = np.random.default_rng([1, 1]).choice(57, 8, replace=False).tolist()
    assert first_of(tmp_path / "as ever", cold_start="random") == drawn != first


def test_an_own_strategy_may_start_a_run(own_module, tmp_path):
    """Also one that remembers its batches, and needs no representation."""
    first = first_of(tmp_path / "one", cold_start="mine:outermost(power=1)")
    lengths = load_dataset("toy", seed=1).inputs.sum(axis=1)  # of one-hot columns: all equal
    assert first == np.argsort(-lengths, kind="stable")[:8].tolist()
    config = read_config(tmp_path / "one")
    assert config["cold_start_options"] == {"power": 1}
    assert config["code"]["cold_start"]["file"] == "mine.py"
    assert first_of(tmp_path / "two", cold_start="mine:in_turn") == list(range(8))


def test_a_strategy_on_the_representation_runs(own_module, tmp_path):
    """Each batch is the longest rows of those left; the representation is another array than the inputs."""
    lines = run(OWN, tmp_path)
    data = load_dataset("mine:pictures", seed=0)
    lengths, labeled = (data.representation**2).sum(axis=1), lines[0]["indices"]
    for line in lines[1:]:
        left = np.setdiff1d(np.arange(len(lengths)), labeled)
        assert line["indices"] == left[np.argsort(-lengths[left], kind="stable")][:5].tolist()
        labeled = labeled + line["indices"]
    vectors = run(changed(OWN, dataset="mine:blobs", rounds=1), tmp_path / "vectors")
    lengths = (load_dataset("mine:blobs", seed=0).inputs ** 2).sum(axis=1)
    lengths[vectors[0]["indices"]] = 0
    assert vectors[1]["indices"] == np.argsort(-lengths, kind="stable")[:5].tolist()


def test_another_representation_is_other_data(own_module, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"inputs": rng.normal(size=(60, 3)), "labels": np.arange(60) % 2}
    options = changed(OWN, dataset=str(tmp_path / "own.npz"), rounds=0)
    np.savez(tmp_path / "own.npz", **arrays, representation=rng.normal(size=(60, 4)))
    run(options, tmp_path / "run")
    np.savez(tmp_path / "own.npz", **arrays, representation=rng.normal(size=(60, 4)))
    with pytest.raises(InputError, match="holds a run with data_crc32"):
        run(options, tmp_path / "run")


def test_a_run_that_does_not_need_it_compiles_the_same_programs(own_module):
    """With a representation beside the inputs or without; and what needs it takes it as an argument."""
    options = changed(OWN, strategy="margin")
    with_one, without = (
        _run._prepare(changed(options, dataset=name), Place()).learner
        for name in ("mine:pictures", "mine:pictures(width=0)")
    )
    assert with_one.representation is without.representation is None
    assert with_one.cold_start is without.cold_start is None
    texts = [program_of(learner) for learner in (with_one, without)]
    assert texts[0] == texts[1]
    needing = _run._prepare(OWN, Place()).learner
    assert needing.representation.shape == (81, 5)
    assert "tensor<81x5xf32>" in program_of(needing).partition("->")[0]


def program_of(learner):
    """What ``ask`` compiles."""
    key, state = jax.random.key(0), jax.eval_shape(learner.start)
    variables = jax.eval_shape(learner.fit, key, state, learner.inputs).variables
    given = [] if learner.representation is None else [learner.representation]
    return learner.ask.lower(key, state, variables, learner.inputs, *given).as_text()


def without_cold_start(folder):
    """Turns a run into one of before there was the option."""
    config, rounds, queried = read_config(folder), read_rounds(folder), read_queried(folder)
    by_class = read_per_class(folder)
    write_config(folder, {k: v for k, v in config.items() if not k.startswith("cold_start")})
    write_rounds(folder, rounds)
    write_per_class(folder, by_class)
    write_queried(folder, queried)


def test_a_run_of_before_goes_on_and_is_reported_and_repeated(tmp_path):
    """It began at random; so it is no run with another start."""
    options = changed(OPTIONS, cold_start="random")
    run(changed(options, rounds=2), tmp_path / "whole")
    run(options, tmp_path / "runs" / "old")
    without_cold_start(tmp_path / "runs" / "old")
    run(changed(options, rounds=2), tmp_path / "runs" / "old")
    assert "cold_start" not in read_config(tmp_path / "runs" / "old")
    rounds = [[line["indices"] for line in read_rounds(tmp_path / p)] for p in ("whole", "runs/old")]
    assert rounds[0] == rounds[1]
    message = error_of(run, changed(options, cold_start="kmeans"), tmp_path / "runs" / "old")
    assert "holds a run with cold_start = 'random', not 'kmeans'" in message
    run(changed(options, seed=2), tmp_path / "runs" / "new")
    assert len(read_runs(tmp_path / "runs")) == 2
    assert main(["run", "--config", str(tmp_path / "runs" / "old"), "--out", str(tmp_path / "again")]) == 0
    assert read_config(tmp_path / "again")["cold_start"] == "random"
    run(changed(options, seed=3, cold_start="kmeans"), tmp_path / "runs" / "other")
    message = error_of(read_runs, [tmp_path / "runs" / name for name in ("old", "other")])
    assert "but have cold_start = 'kmeans' and 'random'; report them separately" in message


def test_a_run_is_repeated_with_its_cold_start(tmp_path, monkeypatch, capsys):
    run(OPTIONS, tmp_path / "run")
    again = ["run", "--config", str(tmp_path / "run"), "--out"]
    assert main([*again, str(tmp_path / "again")]) == 0
    rows = [[line["indices"] for line in read_rounds(tmp_path / name)] for name in ("run", "again")]
    assert rows[0] == rows[1]

    def another_default(*, embedding="features", noise=2.0):
        return noisy(embedding=embedding, noise=noise)

    monkeypatch.setitem(STRATEGIES, "kmeans", another_default)
    assert main([*again, str(tmp_path / "third")]) == 2
    message = capsys.readouterr().err
    assert "cold_start_options are now {'embedding': 'representation', 'noise': 2.0}" in message
    assert "holds a run with cold_start_options = " in error_of(run, OPTIONS, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cold_start": "kmean"}, "unknown cold start 'kmean'; did you mean kmeans?"),
        ({"cold_start": "kmeans(niose=2)"}, "cold start kmeans has no option 'niose'"),
        (
            {"cold_start": "margin"},
            "--cold-start margin needs pool.logits, and before the first labels there is",
        ),
        ({"cold_start": "kmeans(embedding=features)"}, "needs pool.features, and before the first labels"),
        ({"cold_start": 5}, "--cold-start is 5; it must be text"),
        ({"cold_start": "kmeans", "dataset": "images"}, "--cold-start kmeans " + NONE.format("images")),
        (
            {"cold_start": "random", "strategy": "kmeans(embedding=representation)", "dataset": "images"},
            "--strategy kmeans(embedding=representation) " + NONE.format("images"),
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, changes, message, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if changes.get("dataset") == "images":
        message, changes = message.replace("images", "images.npz", 1), {**changes, "dataset": "images.npz"}
        np.savez("images.npz", inputs=np.zeros((60, 4, 4), np.uint8), labels=np.arange(60) % 2)
    options = changed(OPTIONS, **changes)
    assert message in error_of(run, options, tmp_path / "run")
    grid = {k: v for k, v in vars(options).items() if v is not None}
    assert message in error_of(make_runs, [grid])
    assert not (tmp_path / "run").exists()


def test_known_images_are_refused_without_loading_them():
    grid = {"dataset": "mnist", "strategy": "random", "batch_size": 10, "rounds": 1}
    message = error_of(make_runs, [{**grid, "cold_start": "kmeans"}])
    assert "--cold-start kmeans " + NONE.format("mnist") in message
    assert len(make_runs([grid])) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros(8, np.int32), "cold start wrong chose only 1 distinct rows in a batch of 8; wanted distinct"),
        (np.arange(-2, 6, dtype=np.int32), "cold start wrong chose 6 of 8 rows"),
        (np.arange(50, 58, dtype=np.int32), "cold start wrong chose row 57 of a pool of 57"),
        (np.arange(3, dtype=np.int32), "--cold-start wrong with --initial 8 gives int32[3]; wanted int32[8]"),
        (np.ones((3, 3)), "--cold-start wrong with --initial 8: no such pool"),
    ],
)
def test_wrong_answers_of_a_cold_start_are_refused(tmp_path, monkeypatch, rows, message):
    def query(key, state, pool, k):
        if rows.ndim == 2:
            raise ValueError("no such pool")
        return jnp.asarray(rows), state

    monkeypatch.setitem(STRATEGIES, "wrong", lambda: Strategy(lambda n, rounds: (), query, needs=()))
    assert message in error_of(run, changed(OPTIONS, cold_start="wrong"), tmp_path / "run")
    assert not (tmp_path / "run" / "rounds.jsonl").exists()


def test_a_sweep_from_a_file_shares_starts_and_is_reported(own_module, tmp_path, capsys):
    (tmp_path / "grid.toml").write_text(
        'dataset = "mine:pictures"\nstrategy = ["mine:outermost", "random"]\nbatch_size = 5\nrounds = 1\n'
        'initial = 10\ncold_start = "kmeans(noise=0.5)"\nmodel = "linear"\nmax_epochs = 2\n'
    )
    words = ["sweep", str(tmp_path / "grid.toml"), "--seeds", "0-1"]
    assert main([*words, "--out", str(tmp_path / "runs")]) == 0
    rounds = load_rounds(tmp_path / "runs")
    assert len(rounds) == 8
    assert {line["cold_start"] for line in rounds} == {"kmeans(noise=0.5)"}
    first = {(line["strategy"], line["seed"]): line["indices"] for line in rounds if line["round"] == 0}
    for seed in (0, 1):
        assert first["mine:outermost", seed] == first["random", seed]
    assert first["random", 0] != first["random", 1]
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    assert "cold_start kmeans(noise=0.5)" in (tmp_path / "report" / "report.html").read_text("utf-8")
    capsys.readouterr()
    assert main([*words, "--cold-start", "random", "--out", str(tmp_path / "runs")]) == 2
    assert "holds a run with cold_start = 'kmeans(noise=0.5)', not 'random'" in capsys.readouterr().err
    assert main([*words, "--dataset", "mine:pictures(width=0)", "--out", str(tmp_path / "none")]) == 2
    assert "--strategy mine:outermost " + NONE.format("mine:pictures(width=0)") in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_command_line_has_the_option(tmp_path):
    words = ["run", "--dataset", "toy", "--strategy", "random", "--batch-size", "5", "--rounds", "0"]
    words += ["--model", "linear", "--initial", "8", "--seed", "1", "--max-epochs", "2"]
    assert main([*words, "--cold-start", "kmeans", "--out", str(tmp_path / "run")]) == 0
    line = json.loads((tmp_path / "run" / "rounds.jsonl").read_text())
    assert line["indices"] == first_of(tmp_path / "python")
