"""The run directory: what it holds, and that a run killed anywhere ends as an undisturbed one would."""

import dataclasses
import errno
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeping import hearing_ctrl_c
from toy import make_toy, noisy, toy

from badge_jax import STRATEGIES, Strategy
from badge_jax.data import DATASETS, Source, load_dataset
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.runs import RunOptions, run
from badge_jax.runs.directory import (
    read_config,
    read_per_class,
    read_queried,
    read_rounds,
    write_queried,
    write_rounds,
)
from badge_jax.runs.environment import environment
from badge_jax.runs.options import from_config, resolve

TIMINGS = ("fit_seconds", "query_seconds", "compile_seconds", "check")  # and the checksum over them
FILES = [".lock", "config.json", "per_class.jsonl", "rounds.jsonl", "state.npz"]
OPTIONS = RunOptions("toy", "badge", batch_size=7, rounds=3, initial=10, seed=1, max_epochs=4)


def remembering() -> Strategy:
    """Picks by a counter that it keeps: a run that lost the strategy's state would pick otherwise."""

    def query(key, state, pool, k):
        score = (jnp.arange(len(pool.labels)) * 7 + state["calls"] * 13) % 58
        order = jnp.argsort(jnp.where(pool.available, score, 1000))[:k].astype(jnp.int32)
        return order, {"calls": state["calls"] + 1, "sum": state["sum"] + jnp.sum(pool.logits)}

    return Strategy(lambda n, rounds: {"calls": jnp.int32(0), "sum": jnp.float32(0)}, query)


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", toy(Source(make_toy), 1e-4))
    monkeypatch.setitem(STRATEGIES, "remembering", remembering)
    monkeypatch.setitem(STRATEGIES, "noisy", noisy)


@pytest.fixture(scope="module", autouse=True)
def _compile_once(tmp_path_factory):
    """The same small programs are compiled again for every resumed run; JAX can keep them."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    yield
    jax.config.update("jax_compilation_cache_dir", None)


def rounds_of(directory):
    """rounds.jsonl without its timings."""
    lines = [json.loads(line) for line in (directory / "rounds.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


def files_of(directory):
    return sorted(path.name for path in directory.iterdir())


def test_what_a_run_leaves(tmp_path):
    seen = []
    lines = run(OPTIONS, tmp_path / "a" / "run", seen.append)
    assert seen == lines
    assert files_of(tmp_path / "a" / "run") == FILES
    config = json.loads((tmp_path / "a" / "run" / "config.json").read_text())
    assert isinstance(config.pop("check"), int)
    assert config.pop("environment").keys() >= {"jax", "device", "python", "badge_jax"}
    assert config == {
        "format": 4, "dataset": "toy", "model": "mlp", "strategy": "badge", "batch_size": 7, "initial": 10,
        "rounds": 3, "seed": 1, "learning_rate": 1e-4, "minibatch_size": 8, "max_epochs": 4,
        "target_accuracy": 0.99, "clip": 0.1, "encoding": "onehot", "source": "generated",
        "precision": "float32", "diagnostics": False, "strategy_options": {"first": "uniform"},
        "model_options": {"hidden": 8}, "code": {}, "missing_classes": [], "rounds_at_start": None,
        "cold_start": "random", "cold_start_options": {},
    }  # fmt: skip
    assert [line["round"] for line in lines] == [0, 1, 2, 3]
    assert [line["num_labeled"] for line in lines] == [10, 17, 24, 31]
    assert [len(line["indices"]) for line in lines] == [10, 7, 7, 7]
    assert len({index for line in lines for index in line["indices"]}) == 31
    dataset, table = load_dataset("toy", seed=1), make_toy()
    for line in lines:  # the way back to the rows of the source
        ours, theirs = dataset.labels[line["indices"]], table.labels[line["source_rows"]]
        assert ours.tolist() == theirs.tolist()
    for line in lines:
        assert line["test_size"] == 7
        assert line["test_accuracy"] == line["num_test_correct"] / 7
        assert 0 <= line["test_macro_f1"] <= 1
        assert 1 <= line["epochs"] <= 4
        assert line["converged"] == (line["train_accuracy"] >= 0.99)
        assert line["fit_seconds"] > 0
        assert (line["query_seconds"] > 0) == (line["round"] > 0)


def test_initial_labels_are_shared_by_strategies_and_differ_by_seed(tmp_path):
    first = {}
    for strategy, seed in (("badge", 1), ("random", 1), ("random", 2)):
        options = dataclasses.replace(OPTIONS, strategy=strategy, seed=seed, rounds=0)
        (first[strategy, seed],) = run(options, tmp_path / f"{strategy}{seed}")
    assert first["badge", 1]["indices"] == first["random", 1]["indices"]
    assert first["badge", 1]["num_test_correct"] == first["random", 1]["num_test_correct"]
    assert first["random", 1]["indices"] != first["random", 2]["indices"]
    expected = np.random.default_rng([1, 1]).choice(57, 10, replace=False)
    assert first["badge", 1]["indices"] == expected.tolist()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    pixels = rng.integers(0, 100, (60, 8, 8, 3)).astype(np.uint8)
    pixels[labels == 1, :4] += 100
    np.savez(tmp_path / "own.npz", inputs=pixels, labels=labels)
    return tmp_path / "own.npz"


def test_diagnostics_sit_on_the_line_of_their_batch(tmp_path):
    """On half of the rows twice over: a batch of 40 from so few distinct ones has determinant 0."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 3, 30)
    np.savez(tmp_path / "twice.npz", inputs=np.tile(inputs, (2, 1)), labels=np.tile(labels, 2))
    options = RunOptions(
        str(tmp_path / "twice.npz"),
        "badge_kdpp",
        batch_size=5,
        rounds=1,
        initial=8,
        max_epochs=3,
        diagnostics=True,
    )
    line = run(options, tmp_path / "diverse")[1]
    assert line["gram_is_singular"] is False
    assert math.isfinite(line["gram_log_det"])
    assert line["mean_embedding_norm"] > 0
    first, second = run(dataclasses.replace(options, strategy="random", batch_size=40), tmp_path / "singular")
    assert (first["gram_log_det"], first["gram_is_singular"], first["mean_embedding_norm"]) == (
        None,
        False,
        None,
    )
    assert (second["gram_log_det"], second["gram_is_singular"]) == (None, True)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    for text in (tmp_path / "singular" / "rounds.jsonl").read_text().splitlines():
        json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_images_of_a_file_learned_and_gone_on_with(images, tmp_path, precision):
    options = RunOptions(
        str(images), "badge", batch_size=5, rounds=1, initial=20, max_epochs=3, precision=precision
    )
    longer = dataclasses.replace(options, rounds=2)
    run(options, tmp_path / "a")
    assert run(longer, tmp_path / "a")[-1]["num_labeled"] == 30
    run(longer, tmp_path / "b")
    assert rounds_of(tmp_path / "a") == rounds_of(tmp_path / "b")
    with np.load(images) as arrays:
        np.savez(images, inputs=arrays["inputs"], labels=1 - arrays["labels"])
    with pytest.raises(InputError, match="holds a run with data_crc32"):
        run(longer, tmp_path / "a")


@pytest.mark.parametrize(
    ("model", "message"),
    [("resnet18", r"resnet18 is for images .* shape \(12,\)"), ("vgg11", r"vgg11 is for images")],
)
def test_a_network_that_cannot_take_the_data_is_refused(tmp_path, model, message):
    with pytest.raises(InputError, match=f"--model {model} and --dataset toy: {message}"):
        run(dataclasses.replace(OPTIONS, model=model), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="unknown precision 'float16'; did you mean"):
        resolve(dataclasses.replace(OPTIONS, precision="float16"))


def test_a_run_of_the_former_format_is_not_extended(tmp_path):
    run(OPTIONS, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["format"], config["check"]
    path.write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"holds a run of badge_jax 0\.1, which this version can report and not"
    ):
        run(dataclasses.replace(OPTIONS, rounds=4), tmp_path / "run")


@pytest.mark.parametrize("strategy", ["badge", "remembering"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_write_and_resumed_is_as_undisturbed(tmp_path, monkeypatch, strategy, moment):
    check_killed_and_resumed(dataclasses.replace(OPTIONS, strategy=strategy), moment, tmp_path, monkeypatch)


@pytest.mark.parametrize("variant", ["reference", pytest.param("exp4p", marks=pytest.mark.slow)])
def test_the_bandit_and_diagnostics_survive_a_kill(tmp_path, monkeypatch, variant):
    options = dataclasses.replace(OPTIONS, strategy=f"albl(variant={variant})", diagnostics=True)
    check_killed_and_resumed(options, "after", tmp_path, monkeypatch)
    states = [read_queried(tmp_path / name) for name in ("whole", "run4")]
    assert len(states[0].strategy) == 7
    for ours, whole in zip(states[0].strategy, states[1].strategy, strict=True):
        np.testing.assert_array_equal(ours, whole)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_representation_survives_a_kill(tmp_path, monkeypatch, own_module, moment):
    """A user's strategy on the representation of the user's data, which also chose the first labels."""
    options = RunOptions(
        "mine:pictures", "mine:outermost", 7, 3, model="linear", initial=10, cold_start="noisy", max_epochs=2
    )
    check_killed_and_resumed(options, moment, tmp_path, monkeypatch)


def check_killed_and_resumed(options, moment, tmp_path, monkeypatch):
    run(options, tmp_path / "whole")
    replace, writes_until_death = os.replace, 0

    def dying_replace(source, target):
        nonlocal writes_until_death
        writes_until_death -= 1
        if writes_until_death == 0 and moment == "before":
            raise Killed
        replace(source, target)
        if writes_until_death == 0:
            raise Killed

    monkeypatch.setattr(os, "replace", dying_replace)
    for write in range(1, 14):  # config, first batch, round 0 by class and whole, then all three three times
        writes_until_death = write
        with pytest.raises(Killed):
            run(options, tmp_path / f"run{write}")
        writes_until_death = 0
        run(options, tmp_path / f"run{write}")
        assert rounds_of(tmp_path / f"run{write}") == rounds_of(tmp_path / "whole")
        assert read_per_class(tmp_path / f"run{write}") == read_per_class(tmp_path / "whole")
    writes_until_death = 14
    run(options, tmp_path / "run14")
    assert writes_until_death == 1, "a run makes thirteen writes"


def test_killed_before_its_first_batch_is_written_and_again_in_the_first_round(tmp_path, monkeypatch):
    """The second process must write what the first did not come to, or the strategy's state is lost."""
    options = dataclasses.replace(OPTIONS, strategy="remembering")
    run(options, tmp_path / "whole")
    replace, deadly = os.replace, ["state.npz", "rounds.jsonl", "no more"]

    def dying_replace(source, target):
        name = Path(target).name
        if name == "state.npz" == deadly[0]:
            deadly.pop(0)
            raise Killed
        replace(source, target)
        if name == "rounds.jsonl" == deadly[0]:
            deadly.pop(0)
            raise Killed

    monkeypatch.setattr(os, "replace", dying_replace)
    for _ in range(2):
        with pytest.raises(Killed):
            run(options, tmp_path / "run")
    run(options, tmp_path / "run")
    assert rounds_of(tmp_path / "run") == rounds_of(tmp_path / "whole")


def test_a_complete_run_is_not_run_again(tmp_path, monkeypatch):
    lines = run(OPTIONS, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("badge_jax.runs._run._remaining_rounds", None)
    assert run(OPTIONS, tmp_path) == lines
    assert run(dataclasses.replace(OPTIONS, rounds=1), tmp_path) == lines
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("strategy", ["badge", "remembering"])
def test_more_rounds_extend_a_run(tmp_path, strategy):
    options = dataclasses.replace(OPTIONS, strategy=strategy)
    run(options, tmp_path / "whole")
    for rounds in (0, 1, 3):
        run(dataclasses.replace(options, rounds=rounds), tmp_path / "grown")
    assert rounds_of(tmp_path / "grown") == rounds_of(tmp_path / "whole")
    assert json.loads((tmp_path / "grown" / "config.json").read_text())["rounds"] == 3


def test_another_configuration_is_refused_and_changes_nothing(tmp_path):
    run(dataclasses.replace(OPTIONS, rounds=0), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    others = {"strategy": "margin", "seed": 2, "batch_size": 8, "learning_rate": 0.1, "clip": 1.0}
    for name, value in others.items():
        with pytest.raises(InputError, match=rf"holds a run with .*{name} = .*; give another folder"):
            run(dataclasses.replace(OPTIONS, **{name: value}), tmp_path)
    with pytest.raises(InputError, match=r"strategy = 'badge', not 'badge\(first=norm\)'"):
        run(dataclasses.replace(OPTIONS, strategy="badge(first=norm)"), tmp_path)
    with pytest.raises(InputError, match=r"model = 'mlp', not 'mlp\(hidden=9\)'"):
        run(dataclasses.replace(OPTIONS, model="mlp(hidden=9)"), tmp_path)
    same = dataclasses.replace(OPTIONS, model="mlp(hidden=8)", strategy="badge(first=uniform)")
    run(dataclasses.replace(same, rounds=0), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", "[]", "config.json is damaged"),
        ("config.json", "{}", "lacks dataset"),
        ("config.json", "\xff\xfe", "config.json is damaged"),
        ("rounds.jsonl", "\xff\xfe", "rounds.jsonl is damaged"),
        ("rounds.jsonl", '{"round": 0', "rounds.jsonl is damaged"),
        ("rounds.jsonl", '{"round": 0, "num_labeled": 1, "test_accuracy": "x"}', "test_accuracy is 'x'"),
        ("rounds.jsonl", '{"round": 0, "num_labeled": 1, "test_accuracy": 0.5}', "lacks fit_seconds"),
        ("rounds.jsonl", '{"round": 1, "num_labeled": 1, "test_accuracy": 0.5}', "line 1 is not round 0"),
        ("state.npz", "PK", "state.npz is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    run(dataclasses.replace(OPTIONS, rounds=1), tmp_path)
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        run(OPTIONS, tmp_path)


def test_a_line_that_was_changed_is_refused(tmp_path):
    """Every digit of a line counts: an accuracy, a row."""
    run(dataclasses.replace(OPTIONS, rounds=1), tmp_path)
    whole = (tmp_path / "rounds.jsonl").read_text()
    for old, new in (('"num_labeled": 17', '"num_labeled": 18'), ('"epochs": 4', '"epochs": 3')):
        assert old in whole
        (tmp_path / "rounds.jsonl").write_text(whole.replace(old, new))
        with pytest.raises(
            InputError, match=r"rounds.jsonl is damaged: line \d: it does not have its checksum"
        ):
            run(OPTIONS, tmp_path)


def test_a_state_of_another_strategy_is_refused(tmp_path):
    options = dataclasses.replace(OPTIONS, strategy="remembering", rounds=1)
    run(options, tmp_path / "one")
    queried = read_queried(tmp_path / "one")
    write_queried(tmp_path / "one", queried._replace(strategy=[np.zeros(3), *queried.strategy[1:]]))
    with pytest.raises(InputError, match=r"state\.npz does not hold a state of this strategy"):
        run(dataclasses.replace(options, rounds=2), tmp_path / "one")


def test_a_lost_state_matters_to_a_strategy_with_a_state_alone(tmp_path):
    for strategy in ("badge", "remembering"):
        options = dataclasses.replace(OPTIONS, strategy=strategy)
        run(options, tmp_path / "whole" / strategy)
        run(dataclasses.replace(options, rounds=1), tmp_path / strategy)
        (tmp_path / strategy / "state.npz").unlink()
    run(OPTIONS, tmp_path / "badge")
    assert rounds_of(tmp_path / "badge") == rounds_of(tmp_path / "whole" / "badge")
    with pytest.raises(InputError, match="has lost the strategy's state"):
        run(options, tmp_path / "remembering")


def test_a_typed_key_in_a_state_survives(tmp_path):
    def query(key, state, pool, k):
        key, draw = jax.random.split(state)
        order = jnp.argsort(jnp.where(pool.available, jax.random.uniform(draw, pool.labels.shape), 2))
        return order[:k].astype(jnp.int32), key

    STRATEGIES["keyed"] = lambda: Strategy(lambda n, rounds: jax.random.key(7), query)
    try:
        options = dataclasses.replace(OPTIONS, strategy="keyed")
        run(options, tmp_path / "whole")
        for rounds in (1, 3):
            run(dataclasses.replace(options, rounds=rounds), tmp_path / "grown")
    finally:
        del STRATEGIES["keyed"]
    assert rounds_of(tmp_path / "grown") == rounds_of(tmp_path / "whole")


def test_a_run_is_repeated_from_its_config(tmp_path):
    options = dataclasses.replace(OPTIONS, strategy="badge(first=norm)", model="mlp(hidden=5)", clip=0.2)
    run(options, tmp_path / "first")
    config = json.loads((tmp_path / "first" / "config.json").read_text())
    again = from_config(config, tmp_path)
    assert resolve(again).options == resolve(options).options
    run(again, tmp_path / "second")
    assert rounds_of(tmp_path / "first") == rounds_of(tmp_path / "second")
    for name, value, message in (
        ("rounds", "3", "rounds is '3'"),
        ("seed", True, "seed is True"),
        ("clip", None, "clip is None"),
        ("format", 5, "is of format 5"),
    ):
        with pytest.raises(InputError, match=message):
            from_config({**config, name: value}, tmp_path)
    del config["clip"]
    with pytest.raises(InputError, match="clip is missing"):
        from_config(config, tmp_path)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([1, 2], "line 2: it has 2 indices and 7 source_rows"),
        ([-1, *range(6)], "line 2: indices or source_rows are not row numbers"),
        ([1.0, *range(6)], "line 2: indices or source_rows are not row numbers"),
        ([0, 0, 1, 2, 3, 4, 5], "line 2: a row in indices comes a second time"),
        (range(10**9, 10**9 + 7), "not batches of distinct rows of the pool"),
    ],
)
def test_rows_that_cannot_be_are_refused(tmp_path, indices, message):
    run(dataclasses.replace(OPTIONS, rounds=1), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    for line in lines:
        del line["check"]
    lines[1]["indices"] = [*indices]
    write_rounds(tmp_path, lines)
    with pytest.raises(InputError, match=message):
        run(OPTIONS, tmp_path)


def test_a_strategy_that_chooses_wrong_rows_is_refused(tmp_path):
    """Believed once, its rows would be in the results for good."""
    wrong = {
        "only 1 distinct rows in a batch of 7": lambda pool: jnp.full(7, jnp.argmax(pool.available)),
        "7 rows that are labeled already": lambda pool: jnp.argsort(pool.available)[:7],
        "row 1000 of a pool of 57": lambda pool: jnp.arange(994, 1001),
        "5 of 7 rows": lambda pool: jnp.argsort(~pool.available)[:7].at[2:4].set(-1),
    }
    for message, choose in wrong.items():

        def query(key, state, pool, k, choose=choose):
            return choose(pool).astype(jnp.int32), state

        STRATEGIES["wrong"] = lambda query=query: Strategy(lambda n, rounds: (), query)
        try:
            with pytest.raises(InputError, match=f"strategy wrong chose {message}; wanted distinct available"):
                run(dataclasses.replace(OPTIONS, strategy="wrong"), tmp_path / message)
        finally:
            del STRATEGIES["wrong"]
        assert len(rounds_of(tmp_path / message)) == 1


def test_a_diverged_network_is_named(tmp_path):
    with pytest.raises(EnvironmentFailure, match=r"after round 0 are not finite.*smaller --learning-rate"):
        run(dataclasses.replace(OPTIONS, learning_rate=1e38), tmp_path)


@pytest.mark.parametrize("strategy", ["random", "margin", "coreset"])
def test_a_diverged_network_is_named_by_strategies_that_do_not_look_at_it_too(tmp_path, strategy):
    options = dataclasses.replace(OPTIONS, strategy=strategy, learning_rate=1e38)
    with pytest.raises(EnvironmentFailure, match=r"after round 0 are not finite"):
        run(options, tmp_path)


def test_the_bandit_keeps_the_number_of_queries_it_was_started_for(tmp_path, monkeypatch):
    """Its horizon is part of its state, and of nothing else."""
    options = dataclasses.replace(OPTIONS, strategy="albl(variant=exp4p)")

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("badge_jax.runs._run.write_rounds", die)
        with pytest.raises(Killed):
            run(dataclasses.replace(options, rounds=2), tmp_path)
    run(options, tmp_path)
    assert "horizon" not in json.loads((tmp_path / "config.json").read_text())
    assert int(read_queried(tmp_path).strategy[-1]) == 2


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("threads", lambda number: number + 7, "rounding, has changed"),
        ("badge_jax", lambda version: version + "x", "numbers, has"),
    ],
)
def test_another_number_of_threads_or_version_is_warned_of(name, change, words, tmp_path, monkeypatch):
    run(dataclasses.replace(OPTIONS, rounds=1), tmp_path)
    before = read_config(tmp_path)["environment"][name]
    now = environment() | {name: change(before)}
    monkeypatch.setattr("badge_jax.runs._run.environment", lambda: now)
    with pytest.warns(UserWarning, match=f"{words}.* from {before} to {change(before)} since the run"):
        run(OPTIONS, tmp_path)


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    run(dataclasses.replace(OPTIONS, rounds=0), tmp_path)
    (tmp_path / ".rounds.jsonl.0123abcd.tmp").write_text("half")
    run(dataclasses.replace(OPTIONS, rounds=0), tmp_path)
    assert ".rounds.jsonl.0123abcd.tmp" not in files_of(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 8:  # the batch after the second round
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    run(OPTIONS, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run(OPTIONS, tmp_path / "run")
    assert not [name for name in files_of(tmp_path / "run") if name.endswith(".tmp")]
    assert rounds_of(tmp_path / "run") == rounds_of(tmp_path / "whole")[:2]
    run(OPTIONS, tmp_path / "run")
    assert rounds_of(tmp_path / "run") == rounds_of(tmp_path / "whole")


def test_a_second_process_stops(tmp_path):
    script = (
        "import fcntl, sys, time\n"
        f"lock = open({str(tmp_path / '.lock')!r}, 'a'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(EnvironmentFailure, match="in use by another process"):
            run(OPTIONS, tmp_path)
        assert files_of(tmp_path) == [".lock"]
        process.kill()
    run(dataclasses.replace(OPTIONS, rounds=0), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "kropd"}, "unknown dataset 'kropd'; did you mean kropt"),
        ({"strategy": "bagde"}, "unknown strategy 'bagde'; did you mean badge"),
        ({"model": "mlpp"}, "unknown model 'mlpp'; did you mean mlp"),
        ({"encoding": "one"}, "unknown encoding 'one'"),
        ({"source": "generatd"}, "did you mean generated"),
        (
            {"strategy": "badge(first=longest)"},
            "badge.first=longest.: first is 'longest'; wanted one of uniform",
        ),
        ({"strategy": "margin(first=norm)"}, "margin has no option 'first' .its options: none."),
        ({"strategy": "albl(variant=exp3)"}, "variant is 'exp3'; wanted one of reference, exp4p"),
        ({"strategy": "badge_kdpp(num_steps=-1)"}, "num_steps is -1; wanted a Python int, 0 or more"),
        ({"model": "mlp(dtype=float16)"}, "model mlp has no option 'dtype' .its options: hidden=8."),
        (
            {"model": "linear", "precision": "bfloat16"},
            "--precision bfloat16 does not apply to the model linear",
        ),
        ({"clip": -1.0}, "--clip is -1.0; it must be a positive number"),
        ({"target_accuracy": 1.5}, "--target-accuracy is 1.5; it must be above 0 and at most 1"),
        ({"minibatch_size": 0}, "--minibatch-size is 0; it must be at least 1"),
        (
            {"strategy": "badge_kdpp", "batch_size": 17, "rounds": 1},
            r"--strategy badge_kdpp with --batch-size 17: k = 17 rows cannot be independent.* = 16 at most",
        ),
        ({"batch_size": 0}, "--batch-size is 0; it must be at least 1"),
        ({"initial": -3}, "--initial is -3"),
        ({"rounds": -1}, "--rounds is -1; it must be at least 0"),
        ({"max_epochs": 0}, "--max-epochs is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**31}, "--seed is 2147483648; it must be below"),
        ({"max_epochs": 3_000_000_000}, "--max-epochs is 3000000000; it must be below"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan"),
        ({"batch_size": 50}, "need 160 labels; the pool of toy has 57"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(dataclasses.replace(OPTIONS, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_defaults_are_filled_in():
    options = resolve(RunOptions("kropt", "badge", 100, 2)).options
    assert options.learning_rate == 1e-4
    assert options.minibatch_size == 128
    assert options.source == "generated"
    longer = RunOptions("kropt", "badge( first='uniform' )", 100, 2, model="mlp(hidden=1024)")
    assert resolve(longer).options == options
    small = dataclasses.replace(longer, model="mlp(hidden=256)")
    assert resolve(small).options.model == "mlp(hidden=256)", "the maker's own default, not the data set's"


def kill_and_resume(tmp_path, num_rounds_at_death):
    """A real run in real processes, killed with signal 9 after so many rounds and then left to finish."""
    command = [
        sys.executable, "-m", "badge_jax", "run", "--dataset", "kropt", "--strategy", "badge",
        "--max-epochs", "3", "--batch-size", "60", "--rounds", "12", "--learning-rate", "1e-3", "--out",
    ]  # fmt: skip
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    written = tmp_path / "killed" / "rounds.jsonl"
    rng = np.random.default_rng(0)
    for num_rounds in num_rounds_at_death:
        with subprocess.Popen([*command, str(tmp_path / "killed")]) as process:
            while not written.exists() or len(written.read_text().splitlines()) < num_rounds:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    assert rounds_of(tmp_path / "killed") == rounds_of(tmp_path / "whole")
    assert len(rounds_of(tmp_path / "killed")) == 13


def test_kill_9(tmp_path):
    kill_and_resume(tmp_path, [2, 6])


def wait_for_a_write(directory, process):
    """Returns as soon as a file in the directory has changed, or the process has ended."""

    def look():
        try:
            with os.scandir(directory) as entries:  # closed also where a file is gone while we look
                return sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries)
        except FileNotFoundError:  # none yet, or gone while we looked
            return None

    before = look()
    while process.is_alive() and look() == before:
        time.sleep(0.0005)


@pytest.mark.slow
def test_kill_9_at_many_random_moments(tmp_path, monkeypatch):
    """Whatever a kill leaves is whole, and the same command again ends with the numbers of an undisturbed run.

    ``BADGE_JAX_KILLS`` says how many, ``BADGE_JAX_FUZZ_SEED`` from which seed. Half of them come at any moment,
    half just after a write. The processes are forked from one that has imported everything and computed
    nothing; JAX starts in each anew.
    """
    num_kills = int(os.environ.get("BADGE_JAX_KILLS", "200"))
    seed = int(os.environ.get("BADGE_JAX_FUZZ_SEED", "0"))
    rng = np.random.default_rng(seed)
    np.savez(tmp_path / "data.npz", inputs=rng.normal(size=(120, 4)), labels=np.arange(120) % 3)
    options = RunOptions(str(tmp_path / "data.npz"), "badge", 4, 8, "linear", initial=5, max_epochs=3)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["badge_jax.runs._run"])

    def start(name, out):
        strategy = ("badge", "albl")[name % 2]  # one that forgets, one that remembers
        process = server.Process(target=run, args=(dataclasses.replace(options, strategy=strategy), out))
        process.start()
        return process

    def finish(name, out):
        process, began = start(name, out), time.perf_counter()
        process.join()
        assert process.exitcode == 0
        return time.perf_counter() - began

    for name in (0, 1):
        finish(name, tmp_path / f"compiles{name}")
    usual = max(finish(name, tmp_path / f"whole{name}") for name in (0, 1))
    whole = [rounds_of(tmp_path / f"whole{name}") for name in (0, 1)]
    kills_at, name = [], 0  # rounds finished at each kill
    while len(kills_at) < num_kills:
        out = tmp_path / f"run{name}"
        process, began = start(name, out), time.perf_counter()
        process.join(rng.uniform(0, usual))
        if rng.random() < 0.5:
            wait_for_a_write(out, process)
            time.sleep(rng.uniform(0, 0.002))
        process.kill()
        process.join()
        if process.exitcode == 0:  # it was quicker
            assert rounds_of(out) == whole[name % 2], f"seed {seed}, after kill {len(kills_at)}"
            name += 1
            usual = (usual + time.perf_counter() - began) / 2  # the machine may be less busy now
            continue
        assert process.exitcode == -signal.SIGKILL
        left = read_rounds(out) if (out / "rounds.jsonl").exists() else []
        if (out / "config.json").exists():
            read_config(out), read_queried(out)
        numbers = [{k: v for k, v in line.items() if k not in TIMINGS} for line in left]
        assert numbers == whole[name % 2][: len(left)], f"seed {seed}, kill {len(kills_at)}"
        kills_at.append(len(left))
    finish(name, tmp_path / f"run{name}")
    assert rounds_of(tmp_path / f"run{name}") == whole[name % 2]
    print(f"seed {seed}: {len(kills_at)} kills in {name + 1} runs, after so many rounds: {Counter(kills_at)}")
    assert len(set(kills_at)) > 3, "all kills came at the same round"


def test_ctrl_c_in_the_middle_of_a_fit(tmp_path):
    command = [
        sys.executable, "-m", "badge_jax", "run", "--dataset", "kropt", "--strategy", "random",
        "--initial", "20000", "--batch-size", "60", "--rounds", "2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    with hearing_ctrl_c():
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with process:
        while not (tmp_path / "run" / "config.json").exists():
            time.sleep(0.05)
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        message = process.stderr.read()
    assert process.returncode == 130
    assert message.startswith("badge-jax: interrupted; ")
    assert message.count("\n") == 1
