"""The scripts of figures 1, 2 and 24 to 31, on small runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments import repeats

ROOT = Path(repeats.__file__).resolve().parents[1]


def script(name, *args):
    command = [sys.executable, "-m", f"experiments.{name}", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.slow
def test_figures_from_shared_runs(tmp_path):
    options = [
        "--dataset",
        "kropt",
        "--batch-size",
        30,
        "--rounds",
        2,
        "--seeds",
        0,
        3,
        "--learning-rate",
        1e-2,
    ]
    options += ["--runs", tmp_path / "runs", "--out", tmp_path / "out"]
    done = script("kmeans_and_kdpp", *options)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "kropt-mlp-30").iterdir())) == 4
    done = script("diversity", *options)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "kropt-mlp-30").iterdir())) == 10
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "diversity_kropt_mlp_30.pdf", "diversity_kropt_mlp_30.png",
        "kmeans_and_kdpp_kropt_mlp_30.pdf", "kmeans_and_kdpp_kropt_mlp_30.png",
    ]  # fmt: skip


def test_wrong_input_is_reported_in_one_line(tmp_path):
    done = script("diversity", "--dataset", "kropd", "--runs", tmp_path / "runs", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("experiment: unknown dataset 'kropd'; did you mean kropt?")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
