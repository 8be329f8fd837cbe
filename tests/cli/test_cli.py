import json
import os
import subprocess
import sys

import numpy as np
import pytest

import badge_jax
from badge_jax.cli import main
from badge_jax.cli.progress import Progress

RUN = [
    "run",
    "--dataset",
    "kropt",
    "--strategy",
    "margin",
    "--batch-size",
    "20",
    "--rounds",
    "1",
    "--max-epochs",
    "2",
]


def command(*args, **environment):
    return subprocess.run(
        [sys.executable, "-m", "badge_jax", *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def one_line(text):
    assert text.startswith("badge-jax: "), text
    assert text.count("\n") == 1, text
    return text


def test_run_and_report(tmp_path, capsys):
    run = tmp_path / "run"
    for rounds, state in (
        (0, "1 rounds written; 100 labels, accuracy"),
        (1, "1 rounds written; 120 labels, accuracy"),
        (1, "complete already; 120 labels, accuracy"),
        (0, "complete already; it holds 1 rounds, 0 were asked for; 100 labels, accuracy"),
    ):
        assert main([*RUN[:8], str(rounds), *RUN[9:], "--out", str(run)]) == 0
        printed, error = capsys.readouterr()
        assert printed.startswith(f"{run}: {state}")
        assert printed.count("\n") == 1
        assert error == "", "no progress within a minute when not on a terminal"
    assert len((run / "rounds.jsonl").read_text().splitlines()) == 2
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert "kropt, mlp, batches of 20" in printed
    assert str(tmp_path / "report" / "learning_curves_kropt_mlp_20.png") in printed
    assert (tmp_path / "report" / "summary.csv").exists()


def test_options_reach_the_configuration(tmp_path):
    options = [
        "--seed",
        "4",
        "--initial",
        "30",
        "--learning-rate",
        "0.01",
        "--encoding",
        "codes",
        "--model",
        "mlp",
        "--diagnostics",
    ]
    assert main([*RUN[:-4], "--rounds", "0", "--max-epochs", "1", *options, "--out", str(tmp_path)]) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["seed"], config["initial"], config["learning_rate"], config["encoding"]) == (
        4,
        30,
        0.01,
        "codes",
    )
    assert config["diagnostics"] is True


def test_progress_is_a_line_a_minute_where_there_is_no_terminal(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr("badge_jax.cli.progress.time.monotonic", lambda: now)
    with Progress("loading") as progress:
        for now in (101.0, 159.0, 161.0, 162.0, 222.0):
            progress.show("rounds", int(now), 1000, "12 labels")
    lines = ["rounds 161 of 1,000, 1 min, 12 labels", "rounds 222 of 1,000, 2 min, 12 labels"]
    assert capsys.readouterr() == ("", "".join(f"badge-jax: {line}\n" for line in lines))


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"badge_jax {badge_jax.__version__}\n"


def test_datasets(capsys):
    assert main(["datasets", "fetch", "kropt"]) == 0
    assert "kropt: 28,056 rows" in capsys.readouterr().out
    assert main(["datasets"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("kropt"))
    assert line.split()[:7] == ["kropt", "generated", "28,056", "6", "columns", "18", "yes"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([*RUN[:2], "kropd", *RUN[3:]], "did you mean kropt"),
        ([*RUN[:4], "bage", *RUN[5:]], "did you mean badge"),
        ([*RUN, "--model", "mpl"], "did you mean mlp"),
        ([*RUN[:6], "30000", *RUN[7:]], "need 30100 labels; the pool of kropt has 25250"),
        ([*RUN[:6], "-5", *RUN[7:]], "--batch-size is -5; it must be at least 1"),
        (["datasets", "fetch", "kropd"], "did you mean kropt"),
        (["datasets", "fetch"], "wants a name"),
        (["datasets", "list", "kropt"], "takes no kropt"),
        (["datasets", "fetch", "kropt", "--source", "opnml"], "did you mean openml"),
        (["datasets", "fetch", "own.npz"], "is your own file or function"),
        ([*RUN, "--seed", "0", "--seed=1"], "--seed is given 2 times; give it once"),
        (
            ["select", "--k", "3", "--labeled", "--logits", "z.npy"],
            "--labeled names no file; wanted one or more",
        ),
        ([*RUN[:4], "margin(alpha=1)", *RUN[5:]], "strategy margin has no option 'alpha' (its options: none)"),
        ([*RUN[:4], "nowhere:make", *RUN[5:]], "there is no module nowhere in the current folder"),
        ([*RUN[:2], "own.npz", *RUN[3:]], "own.npz does not exist"),
        ([*RUN[:2], "openml:letter", *RUN[3:]], "wanted a number, as in openml:6"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(tmp_path, capsys, args, message):
    out = ["--out", str(tmp_path / "out")] if args[0] == "run" else []
    assert main([*args, *out]) == 2
    assert message in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_report_without_runs_is_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "is not a folder" in one_line(capsys.readouterr().err)


def test_report_leaves_out_what_it_cannot_read(tmp_path, capsys):
    config = {"dataset": "d", "model": "m", "batch_size": 10, "strategy": "badge", "seed": 0}
    for name, accuracy in (("good", 0.5), ("bad", -1)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text(json.dumps(config))
        line = {"round": 0, "num_labeled": 5, "test_accuracy": accuracy}
        (tmp_path / "runs" / name / "rounds.jsonl").write_text(json.dumps(line))
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    bad = f"{tmp_path / 'runs' / 'bad' / 'rounds.jsonl'} is damaged: line 1: test_accuracy is -1"
    assert one_line(capsys.readouterr().err).startswith(f"badge-jax: warning: left out: {bad}")
    assert main(["report", str(tmp_path / "runs" / "bad"), "--out", str(tmp_path / "none")]) == 2
    assert bad in one_line(capsys.readouterr().err)
    assert not (tmp_path / "none").exists()


def test_an_out_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*RUN, "--out", str(tmp_path / "file" / "run")]) == 1
    assert "Not a directory" in one_line(capsys.readouterr().err)
    assert main([*RUN, "--out", str(tmp_path / "file")]) == 2
    assert "is a file; give a folder" in one_line(capsys.readouterr().err)


def test_usage_errors_exit_with_2():
    for args in (["run", "--dataset", "kropt"], ["fly"], []):
        done = command(*args)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr + done.stdout


def test_no_device_is_one_line(tmp_path):
    done = command(*RUN, "--out", tmp_path / "run", JAX_PLATFORMS="cuda")
    assert done.returncode == 1
    assert "JAX finds no device" in one_line(done.stderr)
    assert not (tmp_path / "run").exists()


def test_no_device_is_one_line_of_a_sweep_too(tmp_path):
    """Where the workers' devices are counted; nothing is written."""
    words = ["sweep", *RUN[1:], "--workers", 2, "--out", tmp_path / "runs"]
    done = command(*[word for word in words if word != "--seed"], JAX_PLATFORMS="nonsense")
    assert done.returncode == 1
    assert "JAX finds no device" in one_line(done.stderr)
    assert not (tmp_path / "runs").exists()


def test_no_device_is_one_line_of_select_too(tmp_path):
    np.save(tmp_path / "logits.npy", np.zeros((9, 3), np.float32))
    args = ("--k", 2, "--strategy", "margin", "--logits", tmp_path / "logits.npy", "--out", tmp_path / "o.csv")
    done = command("select", *args, JAX_PLATFORMS="nonsense")
    assert done.returncode == 1
    assert "JAX finds no device" in one_line(done.stderr)
    assert not (tmp_path / "o.csv").exists()


def test_a_name_with_a_line_end_is_one_line(tmp_path, capsys):
    words = ["select", "--k=2", "--strategy=margin", f"--logits={tmp_path}/a\nb.npy", f"--out={tmp_path}/o.csv"]
    assert main(words) == 2
    assert "a b.npy does not exist" in one_line(capsys.readouterr().err)


def test_double_precision_by_default_changes_no_dtype(tmp_path):
    for strategy in ("badge", "coreset", "entropy"):
        args = [*RUN, "--out", tmp_path / strategy]
        args[args.index("margin")] = strategy
        done = command(*args, JAX_ENABLE_X64="1")
        assert done.returncode == 0, done.stderr


def test_help_and_module_entry():
    done = command("run", "--help")
    assert done.returncode == 0
    assert "--batch-size" in done.stdout
