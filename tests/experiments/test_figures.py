"""Every figure of the paper is either drawn or named as missing."""

import json
import sys

import numpy as np
import pytest

from badge_jax.errors import InputError
from experiments import figures


def write_runs(folder, dataset, model, batch_size):
    rng = np.random.default_rng(0)
    for strategy, gain in (("badge", 0.05), ("random", 0.0)):
        for seed in range(3):
            directory = folder / f"{dataset}-{model}-{batch_size}" / f"{strategy}-seed{seed}"
            directory.mkdir(parents=True)
            config = {"dataset": dataset, "model": model, "batch_size": batch_size, "strategy": strategy}
            (directory / "config.json").write_text(json.dumps({**config, "seed": seed}))
            lines = [
                {
                    "round": i,
                    "num_labeled": 100 + i * batch_size,
                    "test_accuracy": 0.3 + 0.1 * min(i, 4) + gain * (i > 0) + rng.normal() / 1000,
                }
                for i in range(7)
            ]
            (directory / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_numbered_figures(tmp_path, monkeypatch, capsys):
    for dataset, model, batch_size in (
        ("letter", "mlp", 100),
        ("letter", "mlp", 10_000),
        ("svhn", "vgg11", 100),
    ):
        write_runs(tmp_path / "runs", dataset, model, batch_size)
    monkeypatch.setattr(
        sys, "argv", ["figures", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    )
    figures.main()
    drawn = {int(path.stem[-2:]) for path in (tmp_path / "out").glob("figure_??.png")}
    assert drawn == {3, 4, 5, 6, 10, 13, 17, 20, 21, 22, 23}
    assert {int(path.stem[-2:]) for path in (tmp_path / "out").glob("figure_??.pdf")} == drawn
    printed = capsys.readouterr().out
    for number in set(range(3, 24)) - drawn:
        assert f"figure {number}: no runs to draw it from" in printed
    assert (tmp_path / "out" / "report.html").exists()
    lines = (tmp_path / "out" / "curves.csv").read_text().splitlines()
    assert lines[0].startswith("dataset,model,batch_size,strategy,seed,learning_rate,num_labeled,test_accuracy")
    assert len(lines) == 1 + 3 * 2 * 3 * 7

    # the same from the file alone, and from half of it and the folders of the other
    from_file = [
        "figures",
        "--runs",
        "--curves",
        str(tmp_path / "out" / "curves.csv"),
        "--out",
        str(tmp_path / "again"),
    ]
    monkeypatch.setattr(sys, "argv", from_file)
    figures.main()
    for name in ("curves.csv", "comparison.csv", "figure_04.png"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    assert not (tmp_path / "again" / "report.html").exists()
    # a run of the folders takes the place of the same run in the file, and must have its options
    config = tmp_path / "runs" / "letter-mlp-100" / "badge-seed0" / "config.json"
    monkeypatch.setattr(sys, "argv", [*from_file[:2], str(config.parent), *from_file[2:]])
    figures.main()
    assert (tmp_path / "again" / "curves.csv").read_bytes() == (tmp_path / "out" / "curves.csv").read_bytes()
    config.write_text(json.dumps({**json.loads(config.read_text()), "learning_rate": 0.5}))
    with pytest.raises(InputError, match="differ in learning_rate"):
        figures.main()


def test_nothing_to_draw(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["figures", "--runs", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(InputError, match="no run with a finished round"):
        figures.main()
