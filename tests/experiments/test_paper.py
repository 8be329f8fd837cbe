"""The paper's grid: what it holds, and what the script's options take of it."""

import pytest

from badge_jax.runs import folder_of
from experiments import paper


def runs_of(*args):
    return paper.grid(paper.parse(["list", *map(str, args)]))


def test_the_grid_is_the_papers():
    runs = runs_of()
    assert len({(run.dataset, run.model, run.batch_size) for run in runs}) == 33
    assert {run.strategy for run in runs} == set(paper.STRATEGIES)
    assert len(runs) == len(set(runs)) == 33 * 7 * 5
    assert len({folder_of(run) for run in runs}) == len(runs)
    assert [run.seed for run in runs] == [seed for seed in range(5) for _ in range(33 * 7)], "seed 0 first"
    assert {run.initial for run in runs} == {100}


@pytest.mark.parametrize(
    ("dataset", "model", "batch_size", "rounds"),
    [
        ("mnist", "mlp", 100, 499),
        ("cifar10", "vgg11", 10_000, 4),
        ("svhn", "resnet18", 1000, 49),
        ("letter", "mlp", 1000, 17),  # 18,000 rows in the pool
        ("kropt", "mlp", 10_000, 2),  # 25,250
        ("pokerhand", "mlp", 1000, 49),
        ("random_rbf", "mlp", 100, 499),
    ],
)
def test_runs_end_at_50_000_labels_or_with_the_pool(dataset, model, batch_size, rounds):
    runs = runs_of("--only", f"dataset={dataset},model={model},batch_size={batch_size}")
    assert len(runs) == 7 * 5
    assert {run.rounds for run in runs} == {rounds}


def test_the_papers_learning_rates():
    rates = {run.dataset: run.learning_rate for run in runs_of("--only", "strategy=badge,seed=0")}
    tables = dict.fromkeys(("letter", "kropt", "pokerhand", "random_rbf"), 1e-4)
    assert rates == tables | dict.fromkeys(("mnist", "svhn", "cifar10"), 1e-3)
    assert {run.learning_rate for run in runs_of("--learning-rate", "0.5")} == {0.5}


def test_only_takes_what_fits_one_of_them():
    runs = runs_of("--only", "dataset=letter,batch_size=1000", "--only", "seed=3,strategy=badge,model=vgg11")
    assert len(runs) == 35 + 6
    for run in runs:
        is_first = (run.dataset, run.batch_size) == ("letter", 1000)
        assert is_first or (run.seed, run.strategy, run.model) == (3, "badge", "vgg11")


def test_max_labels_cuts_the_curves_short():
    only = ("--only", "dataset=letter", "--max-labels")
    assert {run.batch_size: run.rounds for run in runs_of(*only, 10_100)} == {100: 100, 1000: 10, 10_000: 1}
    assert {run.batch_size: run.rounds for run in runs_of(*only, 8150)} == {100: 80, 1000: 8}
    assert {run.batch_size: run.rounds for run in runs_of(*only, 200)} == {100: 1}
    assert runs_of("--max-labels", 10**9) == runs_of(), "never longer than the paper's"


def test_list_has_a_line_for_each_run(capsys):
    assert paper.main(["list", "--only", "dataset=kropt,batch_size=1000,seed=1", "--max-labels", "8150"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"kropt-mlp-1000/{strategy}-seed1  8 rounds" for strategy in paper.STRATEGIES
    ]
    assert printed.err == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "data=letter"], "wanted key=value"),
        (["--only", "dataset"], "wanted key=value"),
        (["--only", "dataset=letter,"], "wanted key=value"),
        (["--shard", "8/8"], "wanted I/N"),
        (["--shard", "a/8"], "wanted I/N"),
        (["--shard", "3"], "wanted I/N"),
        (["--max-labels", "many"], "invalid int value"),
    ],
)
def test_options_that_cannot_be_read(args, message, capsys):
    with pytest.raises(SystemExit) as caught:
        paper.main(["list", *args])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "dataset=lettr"], "no run of the grid has"),
        (["--only", "batch_size=100,strategy=badge(first=norm)"], "no run of the grid has"),
        (["--only", "dataset=letter,batch_size=10000", "--max-labels", "5000"], "no run of the grid has"),
        (["--max-labels", "199"], "--max-labels is 199; it must be at least 200"),
        (["--max-labels", "0"], "--max-labels is 0; it must be at least 200"),
        (["--learning-rate", "0"], "--learning-rate is 0.0; it must be a positive number"),
    ],
)
def test_options_that_leave_nothing_to_run(args, message, tmp_path, capsys):
    assert paper.main(["run", "--runs", str(tmp_path / "runs"), *args]) == 2
    problem = capsys.readouterr().err
    assert problem.startswith("paper: ")
    assert message in problem
    assert problem.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_run_gives_the_runs_to_the_sweep(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(paper.cli, "sweep_with_bar", lambda *args: asked.append(args), raising=False)
    only = ["--only", "dataset=kropt,seed=2"]
    assert paper.main(["run", "--runs", str(tmp_path), "--workers", "3", "--shard", "1/4", *only]) == 0
    assert asked == [(runs_of(*only), tmp_path, 3, (1, 4))]


def test_status_of_a_folder_without_runs(tmp_path, capsys):
    assert paper.main(["status", "--runs", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"paper: {tmp_path} holds no runs")
