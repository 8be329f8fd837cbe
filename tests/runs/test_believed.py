"""What must not be believed: files of another run, what was changed since, states of odd kinds lost."""

import dataclasses
import json
import shutil
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import STRATEGIES, RunOptions, Strategy, load_rounds, run
from badge_jax.analysis import report
from badge_jax.cli import main
from badge_jax.errors import InputError
from badge_jax.runs import read_config, read_per_class, read_rounds
from badge_jax.runs.directory import read_queried, write_config, write_queried, write_rounds
from badge_jax.runs.environment import environment

OPTIONS = RunOptions("kropt", "random", 5, 1, model="linear", initial=10, max_epochs=1)


@pytest.fixture(scope="module", autouse=True)
def _compile_once(tmp_path_factory):
    """The same small programs are compiled again for every run; JAX can keep them."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    yield
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture
def two_runs(tmp_path):
    run(OPTIONS, tmp_path / "a")
    run(dataclasses.replace(OPTIONS, seed=1), tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that no test changes."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(OPTIONS, folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def other_values(value):
    """Other values of the same type, so that only a checksum can tell."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1]
    if isinstance(value, str):
        return [value + "x"]
    if isinstance(value, dict):
        return [{**value, name: other} for name, part in value.items() for other in other_values(part)]
    return [[1]] if isinstance(value, list) else [0]


def test_every_value_of_a_configuration_counts(finished, tmp_path):
    """Each is changed to another of its type, or taken away."""
    written = json.loads((finished / "config.json").read_text())
    changed = [{**written, name: other} for name, value in written.items() for other in other_values(value)]
    changed += [{name: value for name, value in written.items() if name != lost} for lost in written]
    assert len(changed) > 50
    folder = shutil.copytree(finished, tmp_path / "run")
    for config in changed:
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"config\.json is (damaged|not a run's)"):
            read_config(folder)
        with pytest.raises(InputError, match=r"config\.json is (damaged|not a run's)"):
            load_rounds(folder)
    with pytest.raises(
        InputError, match=r"config\.json is damaged, or was edited: it does not have its checksum"
    ):
        run(OPTIONS, folder)
    shutil.copy(finished / "config.json", folder)
    assert load_rounds(folder)[0]["test_accuracy"] == load_rounds(finished)[0]["test_accuracy"]


def test_every_value_of_a_line_counts_for_a_report_too(finished, copy):
    lines = [json.loads(line) for line in (finished / "rounds.jsonl").read_text().splitlines()]
    changed = [{**lines[1], name: other} for name, value in lines[1].items() for other in other_values(value)]
    changed += [{name: value for name, value in lines[1].items() if name != lost} for lost in lines[1]]
    for line in changed:
        (copy / "rounds.jsonl").write_text(json.dumps(lines[0]) + "\n" + json.dumps(line))
        with pytest.raises(InputError, match=r"rounds\.jsonl is .*damaged: line 2"):
            load_rounds(copy)


def test_every_value_of_a_state_counts(copy):
    with np.load(copy / "state.npz") as file:
        written = dict(file)
    for name, array in written.items():
        other = np.asarray("x") if array.dtype.kind == "U" else array + np.ones_like(array)
        changed = {**written, name: other if array.size else np.ones(2)}
        np.savez(copy / "state.npz", **changed)
        with pytest.raises(InputError, match=r"state\.npz is damaged"):
            read_queried(copy)
    np.savez(copy / "state.npz", **{name: array for name, array in written.items() if name != "check"})
    with pytest.raises(InputError, match=r"state\.npz is damaged \(it does not have its checksum\)"):
        run(dataclasses.replace(OPTIONS, rounds=2), copy)


def test_the_environment_of_later_rounds_is_recorded(copy, monkeypatch):
    """Once for each change, and the rounds from before are believed all the same."""
    here = environment()
    assert "resumed" not in read_config(copy)
    monkeypatch.setattr("badge_jax.runs._run.environment", lambda: here | {"threads": 7})
    with pytest.warns(UserWarning, match=f"the number of threads, .* has changed from {here['threads']} to 7"):
        run(dataclasses.replace(OPTIONS, rounds=2), copy)
    seven = {"round": 2, "environment": here | {"threads": 7}}
    assert read_config(copy)["resumed"] == [seven]
    run(dataclasses.replace(OPTIONS, rounds=3), copy)
    assert read_config(copy)["resumed"] == [seven]
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=f"has changed from 7 to {here['threads']}"):
        run(dataclasses.replace(OPTIONS, rounds=4), copy)
    config = read_config(copy)
    assert config["resumed"] == [seven, {"round": 4, "environment": here}]
    assert config["environment"] == here, "that of the first rounds"
    assert len(read_rounds(copy)) == len(read_per_class(copy)) == 5
    page = report(copy, copy.parent / "report").page.read_text()
    assert f"; from round 2 on threads 7; from round 4 on threads {here['threads']}" in page
    write_config(copy, config | {"resumed": [3]})
    with pytest.raises(InputError, match=r"config.json is not a run's, or damaged: in resumed, it lacks round"):
        read_config(copy)


def test_every_value_by_class_counts(finished, copy):
    lines = [json.loads(line) for line in (finished / "per_class.jsonl").read_text().splitlines()]
    changed = [{**lines[1], name: other} for name, value in lines[1].items() for other in other_values(value)]
    changed += [{name: value for name, value in lines[1].items() if name != lost} for lost in lines[1]]
    for line in changed:
        (copy / "per_class.jsonl").write_text(json.dumps(lines[0]) + "\n" + json.dumps(line))
        with pytest.raises(InputError, match=r"per_class\.jsonl is damaged: line 2"):
            read_per_class(copy)
    with pytest.raises(InputError, match=r"per_class\.jsonl is damaged: line 2"):
        run(dataclasses.replace(OPTIONS, rounds=2), copy)
    assert len(load_rounds(copy)) == 2  # which reads rounds.jsonl alone


@pytest.mark.parametrize("kept", [0, 1])
def test_lost_rounds_by_class_are_one_line(finished, copy, kept):
    path = copy / "per_class.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    if kept == 0:
        path.unlink()
    with pytest.raises(InputError, match=rf"its per_class\.jsonl has {kept} rounds, and rounds\.jsonl 2"):
        run(dataclasses.replace(OPTIONS, rounds=2), copy)


def test_a_line_of_a_run_with_another_option_is_refused(finished, copy, tmp_path):
    """Its data set, model, strategy, batch size and seed are the same."""
    run(dataclasses.replace(OPTIONS, learning_rate=1e-2), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "rounds.jsonl", copy)
    with pytest.raises(InputError, match="line 1: it does not have its checksum"):
        read_rounds(copy)


METRICS = ("test_balanced_accuracy", "test_macro_f1", "test_log_loss", "test_calibration_error")


def without_metrics(line):
    return {name: value for name, value in line.items() if name not in METRICS}


def in_format_3(folder):
    """Turns a run into one of before there were metrics besides the accuracy."""
    lines, queried = [without_metrics(line) for line in read_rounds(folder)], read_queried(folder)
    write_config(folder, {**read_config(folder), "format": 3})
    write_rounds(folder, lines)
    write_queried(folder, queried)
    (folder / "per_class.jsonl").unlink()


def in_format_2(folder):
    """Turns a run into one of badge_jax 0.2: lines know five options, the rest has no checksum."""
    later = ("check", "cold_start", "cold_start_options")
    config = {k: v for k, v in json.loads((folder / "config.json").read_text()).items() if k not in later}
    (folder / "config.json").write_text(json.dumps({**config, "format": 2}))
    (folder / "per_class.jsonl").unlink()
    five = json.dumps([config[name] for name in ("dataset", "model", "strategy", "batch_size", "seed")])
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    lines = [without_metrics(line) for line in lines]
    for line in lines:
        del line["check"]
        line["check"] = zlib.crc32((json.dumps(line) + five).encode())
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with np.load(folder / "state.npz") as file:
        arrays = {name: array for name, array in file.items() if name != "check"}
    np.savez(folder / "state.npz", **{**arrays, "run": five})


@pytest.mark.parametrize(("number", "in_format"), [(2, in_format_2), (3, in_format_3)])
def test_a_run_of_a_former_format_is_reported_and_extended(finished, copy, number, in_format):
    in_format(copy)
    assert [line["num_labeled"] for line in load_rounds(copy)] == [10, 15]
    assert read_rounds(copy) == [without_metrics(line) for line in read_rounds(finished)]
    run(dataclasses.replace(OPTIONS, rounds=2), copy)
    assert (read_config(copy)["format"], read_config(copy)["rounds"]) == (number, 2)
    assert len(load_rounds(copy)) == 3
    assert not any("test_log_loss" in line for line in load_rounds(copy))
    assert read_per_class(copy) == []
    assert not (copy / "per_class.jsonl").exists()
    for old, new in (('"num_labeled": 15', '"num_labeled": 16'), ('"check"', '"chek"')):
        text = (copy / "rounds.jsonl").read_text()
        (copy / "rounds.jsonl").write_text(text.replace(old, new))
        with pytest.raises(InputError, match="does not have its checksum"):
            load_rounds(copy)
        (copy / "rounds.jsonl").write_text(text)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("indices", np.zeros((5, 1), np.int32), "no batch of rows"),
        ("indices", np.float32(3), "no batch of rows"),
        ("query_seconds", np.nan, "no measurements of a batch"),
        ("diversity", np.zeros(3), "no measurements of a batch"),
        ("strategy_0", np.zeros(3), "does not hold a state of this strategy"),
        ("num_leaves", 7, "KeyError"),
    ],
)
def test_a_state_without_a_checksum_must_fit(copy, name, value, message):
    in_format_2(copy)
    with np.load(copy / "state.npz") as file:
        arrays = {**file, "num_leaves": 1} if name == "strategy_0" else dict(file)
    np.savez(copy / "state.npz", **{**arrays, name: value})
    with pytest.raises(InputError, match=message):
        run(dataclasses.replace(OPTIONS, rounds=2), copy)


def test_a_configuration_edited_by_hand_is_repeated_with_a_warning(copy, tmp_path, capsys):
    """It is an order for a new run, and says nothing of a result."""
    path = copy / "config.json"
    path.write_text(path.read_text().replace('"rounds": 1', '"rounds": 0').replace('"seed": 0', '"seed": 3'))
    assert main(["run", "--config", str(path), "--out", str(tmp_path / "new")]) == 0
    message = capsys.readouterr().err
    assert message.startswith(f"badge-jax: warning: {path} was edited, or damaged, since it was written")
    assert message.count("\n") == 1
    assert (read_config(tmp_path / "new")["seed"], len(load_rounds(tmp_path / "new"))) == (3, 1)
    assert (
        main(["run", "--config", str(tmp_path / "new"), "--seed", "4", "--out", str(tmp_path / "newer")]) == 0
    )
    assert capsys.readouterr().err == ""
    path.write_text("[" * 100_000)
    assert main(["run", "--config", str(path), "--out", str(tmp_path / "none")]) == 2
    assert "cannot be read (nested more than 20 levels deep)" in capsys.readouterr().err


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
