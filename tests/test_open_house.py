"""A user's own strategy, network and data, from a file outside the package, through every command."""

import ast
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import badge_jax
from badge_jax import STRATEGIES, RunOptions, load_rounds, report, run, select
from badge_jax.cli import main
from badge_jax.data import load_dataset
from badge_jax.names import checksum

PACKAGE = Path(badge_jax.__file__).parent
RUN = ["run", "--dataset", "mine:blobs(n=60)", "--model", "mine:network(width=3)", "--strategy", "mine:in_turn"]
RUN += ["--batch-size", "5", "--initial", "10", "--max-epochs", "2"]


@pytest.fixture(autouse=True)
def _no_compiled_programs_left():
    yield
    jax.config.update("jax_compilation_cache_dir", None)


def numbers(directory):
    lines = [json.loads(line) for line in (directory / "rounds.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("fit_seconds", "query_seconds", "compile_seconds", "check")}
        for line in lines
    ]


def test_run_resume_and_repeat(own_module, tmp_path):
    """Strategy (with a state), network and data are the user's; the file behind them is recorded."""
    for rounds, out in (("3", "whole"), ("1", "grown"), ("3", "grown")):
        assert main([*RUN, "--rounds", rounds, "--out", str(tmp_path / out)]) == 0
    assert numbers(tmp_path / "grown") == numbers(tmp_path / "whole")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert config["dataset"] == "mine:blobs(n=60)"
    assert config["model_options"] == {"width": 3}
    recorded = {"file": "mine.py", "crc32": checksum(own_module)}
    assert config["code"] == {"dataset": recorded, "model": recorded, "strategy": recorded}
    again = ["run", "--config", str(tmp_path / "whole" / "config.json"), "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert numbers(tmp_path / "again") == numbers(tmp_path / "whole")


def test_an_extended_run_is_repeated_as_it_came_about(tmp_path):
    """EXP4.P depends on the number of rounds that it is started for."""
    grid = ["run", "--dataset", "kropt", "--model", "linear", "--strategy", "albl(variant=exp4p)"]
    grid += ["--batch-size", "5", "--max-epochs", "1", "--seed", "2"]
    for rounds in ("1", "4"):
        assert main([*grid, "--rounds", rounds, "--out", str(tmp_path / "run")]) == 0
    config = tmp_path / "run" / "config.json"
    assert main(["run", "--config", str(config), "--out", str(tmp_path / "again")]) == 0
    assert numbers(tmp_path / "again") == numbers(tmp_path / "run")
    assert json.loads(config.read_text())["rounds_at_start"] == 1
    with np.load(tmp_path / "again" / "state.npz") as state:
        assert int(state["strategy_6"]) == 1, "the horizon is that of the first start"


def test_a_changed_file_warns_and_changed_data_are_refused(own_module, tmp_path, capsys):
    assert main([*RUN, "--rounds", "1", "--out", str(tmp_path / "run")]) == 0
    own_module.write_text(own_module.read_text() + "\n# a comment\n")
    del sys.modules["mine"]
    assert main([*RUN, "--rounds", "2", "--out", str(tmp_path / "run")]) == 0
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert "badge-jax: warning: mine.py has changed since the run in" in warning
    repeat = ["run", "--config", str(tmp_path / "run"), "--out", str(tmp_path / "again")]
    assert main(repeat) == 0
    assert "warning: mine.py has changed since the run to repeat was made" in capsys.readouterr().err
    own_module.write_text(own_module.read_text().replace("default_rng(0)", "default_rng(1)"))
    del sys.modules["mine"]
    assert main([*RUN, "--rounds", "2", "--out", str(tmp_path / "run")]) == 2
    assert "holds a run with data_crc32" in capsys.readouterr().err
    assert main([*repeat[:-1], str(tmp_path / "third")]) == 2
    assert "have changed since the run to repeat was made" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()


def test_sweep_status_and_report(own_module, tmp_path, capsys):
    grid = ["--dataset", "mine:blobs", "--model", "linear", "--strategy", "mine:doubt(alpha=0.5)", "random"]
    options = [
        *grid,
        "--batch-size",
        "5",
        "--initial",
        "10",
        "--seeds",
        "0-1",
        "--rounds",
        "2",
        "--max-epochs",
        "2",
    ]
    assert main(["sweep", *options, "--out", str(tmp_path / "runs")]) == 0
    assert main(["status", str(tmp_path / "runs")]) == 0
    assert "4 runs: 4 done, 0 running, 0 failed, 0 missing" in capsys.readouterr().out
    result = report(tmp_path / "runs", tmp_path / "report")
    assert result.num_runs == 4
    assert "mine:doubt(alpha=0.5)" in result.table
    page = result.page.read_text("utf-8")
    assert "mine:doubt(alpha=0.5)" in page
    rounds = load_rounds(tmp_path / "runs")
    assert len(rounds) == 12
    assert {line["strategy"] for line in rounds} == {"mine:doubt(alpha=0.5)", "random"}
    source = np.arange(90) % 3  # the labels in the user's own order
    for line in rounds:  # the way back to the user's own rows
        pool_labels = load_dataset("mine:blobs", seed=line["seed"]).labels
        assert source[line["source_rows"]].tolist() == pool_labels[line["indices"]].tolist()
        assert line["source_rows"] != line["indices"]


def test_select_from_python_and_from_files(own_module, tmp_path, capsys):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 3)).astype(np.float32)
    np.save(tmp_path / "logits.npy", logits)
    expected = np.argsort(np.exp(0.3 * logits.astype(float)).sum(1), kind="stable")[:7]
    assert select(7, logits=logits, strategy="mine:doubt").tolist() == expected.tolist()
    out = tmp_path / "picks.csv"
    command = ["select", "--k", "7", "--logits", str(tmp_path / "logits.npy"), "--strategy", "mine:doubt"]
    assert main([*command, "--out", str(out)]) == 0
    assert [int(line.split(",")[1]) for line in out.read_text().splitlines()[1:]] == expected.tolist()
    command[-1] = "mine:in_turn"
    assert main([*command, "--out", str(out)]) == 2
    assert "strategy mine:in_turn learns from batch to batch" in capsys.readouterr().err


def test_an_own_networks_defaults_are_its_own(own_module, tmp_path):
    """The data set's number of hidden units is for the package's perceptron."""
    own_module.write_text(own_module.read_text().replace("width", "hidden"))
    options = RunOptions("kropt", "random", 5, 0, model="mine:network", max_epochs=1)
    run(options, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model"], config["model_options"]) == ("mine:network", {"hidden": 4})


def test_from_python(own_module, tmp_path):
    options = RunOptions("mine:blobs", "mine:doubt", 5, 1, model="mine:network", initial=10, max_epochs=2)
    assert [line["num_labeled"] for line in run(options, tmp_path / "run")] == [10, 15]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--strategy", "mine:doubts"), "unknown name in mine 'doubts'; did you mean doubt?"),
        (
            ("--strategy", "mine:doubt(beta=1)"),
            "mine:doubt has no option 'beta' (its options: alpha=0.3)",
        ),
        (("--strategy", "mine:blobs"), "strategy mine:blobs gave a dict; wanted a Strategy"),
        (("--strategy", "mine:broken"), "strategy mine:broken: RuntimeError: no luck (mine.py, line "),
        (
            ("--strategy", "mine:breaks"),
            "--strategy mine:breaks with --batch-size 5: KeyError: 'lost' (mine.py, line ",
        ),
        (("--model", "mine:in_turn"), "model mine:in_turn: TypeError"),
        (
            ("--model", "mine:network(width=a)"),
            "--model mine:network(width=a) and --dataset mine:blobs(n=60)",
        ),
        (("--dataset", "mine:blobs(n=2)"), "the pool of mine:blobs(n=2) has 1"),
        (("--dataset", "mine:in_turn"), "--dataset mine:in_turn gave a Strategy; wanted a dict"),
        (("--dataset", "mine:blobs(n=abc)"), "--dataset mine:blobs(n=abc) failed (TypeError"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(own_module, tmp_path, capsys, change, message):
    args = [*RUN, "--rounds", "1", "--out", str(tmp_path / "out")]
    args[args.index(change[0]) + 1] = change[1]
    assert main(args) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", ["selection", "runs", "campaign", "analysis", "cli"])
def test_no_strategy_is_named_above_the_registry(folder):
    """A new strategy is one file and one line of the registry: nothing else may decide by its name."""
    of_options = {"task.py": {"badge"}, "_select.py": {"badge"}, "select.py": {"badge"}}
    of_options |= {"explain.py": {"margin"}}  # a column
    of_options |= {"options.py": {"badge", "kmeans"}} if folder == "campaign" else {}
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        defaults = of_options.get(path.name, set())
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in set(STRATEGIES) - defaults, f"{path}, line {node.lineno}: {node.value}"
