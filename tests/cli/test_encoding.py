"""Commands whose output has signs that the terminal's encoding lacks."""

import io
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from badge_jax.cli import main
from badge_jax.runs.directory import write_config, write_rounds
from badge_jax.runs.options import resolve, to_config


def printed_in(encoding, monkeypatch, args):
    """What a command prints to streams that stop at what they cannot encode."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    try:
        code = main(args)
    except SystemExit as stop:  # --help
        code = stop.code
    for stream in streams:
        stream.flush()
    return code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("args", [["datasets"], ["strategies"], ["run", "--help"], ["sweep", "--help"]])
def test_lists_and_help(args, encoding, monkeypatch):
    code, output, errors = printed_in(encoding, monkeypatch, args)
    assert (code, errors) == (0, "")
    assert output.count("\n") > 10


def finish(options, directory):
    """In place of `run`."""
    write_config(directory, to_config(resolve(options)))
    rounds = [{"round": 0, "num_labeled": options.initial, "test_accuracy": 0.5}]
    write_rounds(directory, rounds)
    return rounds


def test_names_of_the_user(tmp_path, monkeypatch):
    """Of a data set and of folders: in what a sweep says, in a status, in a report, in an error."""
    runs, data = tmp_path / "ü", tmp_path / "dönüş.npz"
    np.savez(data, inputs=np.eye(40), labels=np.arange(40) % 2)
    monkeypatch.setattr("badge_jax.runs._sweep.run", finish)
    sweep = ["sweep", "--dataset", str(data), "--strategy", "random", "--model", "linear"]
    sweep += ["--batch-size", "5", "--initial", "5", "--rounds", "0"]
    code, output, _ = printed_in("ascii", monkeypatch, [*sweep, "--out", str(runs)])
    jax.config.update("jax_compilation_cache_dir", None)
    assert (code, r"d\xf6n\xfc\u015f" in output) == (0, True)
    code, output, _ = printed_in("ascii", monkeypatch, ["status", str(runs)])
    assert (code, r"d\xf6n\xfc\u015f.npz, linear, batches of 5" in output) == (0, True)
    code, output, _ = printed_in("ascii", monkeypatch, ["report", str(runs), "--out", str(tmp_path / "ö")])
    assert (code, r"\xf6/report.html" in output) == (0, True)
    code, _, errors = printed_in("ascii", monkeypatch, ["status", str(tmp_path / "ß")])
    assert (code, r"\xdf is not a folder" in errors) == (2, True)
    (next(runs.rglob("rounds.jsonl"))).write_text("{")
    code, _, errors = printed_in("ascii", monkeypatch, ["report", str(runs), "--out", str(tmp_path / "none")])
    assert (code, errors.count("\n"), r"rounds.jsonl is damaged" in errors) == (2, 1, True)


def test_the_whole_program():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "badge_jax", "datasets"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"28 \xd7 28" in done.stdout
