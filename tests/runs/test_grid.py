"""Grids of runs: TOML files and lists of values, and the folder of each run."""

import dataclasses

import numpy as np
import pytest

from badge_jax.errors import InputError
from badge_jax.runs import RunOptions, folder_of, make_runs, parse_seeds, read_grids
from badge_jax.runs.options import resolve
from experiments import paper

GRID = {"dataset": "kropt", "model": "linear", "strategy": "margin", "batch_size": 100, "rounds": 2}


def runs_of(**changes):
    """The runs of `GRID` with changes; a key with None is left out."""
    return make_runs([{key: value for key, value in {**GRID, **changes}.items() if value is not None}])


def error_of(function, *args):
    """The message, which is one line."""
    with pytest.raises(InputError) as caught:
        function(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_file_without_tables_is_one_grid(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('dataset = ["kropt", "letter"]\nbatch_size = 100  # labels\nlearning_rate = 1e-2\n')
    assert read_grids(path) == [{"dataset": ["kropt", "letter"], "batch_size": 100, "learning_rate": 0.01}]


def test_keys_at_the_top_hold_for_every_table(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        'seeds = "0-4"\nrounds = 9\n'
        '[[grid]]\ndataset = "kropt"\n'
        '[[grid]]\ndataset = "letter"\nrounds = 3\nstrategy = ["badge(first=norm)", "own:make(alpha=0.3)"]\n'
    )
    assert read_grids(path) == [
        {"seeds": "0-4", "rounds": 9, "dataset": "kropt"},
        {
            "seeds": "0-4",
            "rounds": 3,
            "dataset": "letter",
            "strategy": ["badge(first=norm)", "own:make(alpha=0.3)"],
        },
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'datasets = "kropt"', "unknown key 'datasets' (known: seed, dataset, model, "),
        (b'[[grid]]\nout = "x"', "unknown key 'out'"),
        (b'[grid]\ndataset = "kropt"', "grid is no list of tables; wanted [[grid]]"),
        (b"grid = [1, 2]", "grid is no list of tables; wanted [[grid]]"),
        (b"dataset = kropt", "cannot be read ("),
        (b'dataset = "\xff"', "cannot be read ("),
        (b'dataset = "a"\ndataset = "b"', "cannot be read ("),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / "sweep.toml"
    path.write_bytes(content)
    problem = error_of(read_grids, path)
    assert problem.startswith(str(path))
    assert message in problem


def test_no_file(tmp_path):
    path = tmp_path / "sweep.toml"
    assert error_of(read_grids, path) == f"{path} does not exist; wanted a TOML file"
    assert "cannot be read" in error_of(read_grids, tmp_path)


def test_the_first_seed_of_everything_comes_first():
    grid = {**GRID, "dataset": ["kropt", "letter"], "strategy": ["badge", "random"], "batch_size": [100, 50]}
    runs = make_runs([{**grid, "seeds": [4, 2]}, {**grid, "dataset": "pokerhand", "seeds": "3"}])
    order = [(run.seed, run.dataset, run.batch_size, run.strategy) for run in runs]
    within = [
        (dataset, size, strategy)
        for dataset in ("kropt", "letter")
        for size in (100, 50)
        for strategy in ("badge", "random")
    ]
    poker = [("pokerhand", size, strategy) for size in (100, 50) for strategy in ("badge", "random")]
    assert order == [
        *((2, *rest) for rest in within),
        *((3, *rest) for rest in poker),
        *((4, *rest) for rest in within),
    ]


def test_a_run_of_two_grids_is_there_once():
    runs = make_runs(
        [
            {**GRID, "strategy": ["badge", "badge( first=uniform )", "margin"]},
            {**GRID, "strategy": ["margin()", "random"], "learning_rate": 1e-4, "seed": 0},
        ]
    )
    assert [run.strategy for run in runs] == ["badge", "margin", "random"]


def test_every_default_is_filled_in():
    (run,) = runs_of(model=None)
    assert run == resolve(RunOptions("kropt", "margin", 100, 2, model="mlp", seed=0)).options
    assert run.learning_rate == 1e-4
    assert run.source == "generated"


def test_options_of_a_run_reach_it():
    more = {"initial": 50, "learning_rate": 0.5, "max_epochs": 3, "encoding": "codes", "diagnostics": True}
    (run,) = runs_of(**more, minibatch_size=7, target_accuracy=0.5, clip=1.0, precision="bfloat16", model="mlp")
    assert {name: getattr(run, name) for name in more} == more
    assert (run.minibatch_size, run.target_accuracy, run.clip, run.precision) == (7, 0.5, 1.0, "bfloat16")


@pytest.mark.parametrize(
    ("seeds", "numbers"),
    [
        ("3", [3]), ("0-4", [0, 1, 2, 3, 4]), ("0-4,7", [0, 1, 2, 3, 4, 7]), (" 1 , 5 - 6 ", [1, 5, 6]),
        ("7,0-1", [7, 0, 1]), ("3-3", [3]), ("007", [7]),
    ],
)  # fmt: skip
def test_seeds_as_text(seeds, numbers):
    assert parse_seeds(seeds) == numbers
    assert [run.seed for run in runs_of(seeds=seeds)] == sorted(numbers)


@pytest.mark.parametrize("text", ["", "a", "0-", "-3", "4-0", "1,,2", "1;2", "1.5", "٣", "9999999999", "0-1-2"])
def test_text_that_is_no_seeds(text):
    assert error_of(parse_seeds, text) == (
        f"seeds are {text!r}; wanted numbers and ranges such as 0-4 or 0,3,7-9"
    )


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ({"seeds": [5, 3]}, [3, 5]), ({"seeds": 4}, [4]), ({"seed": 2}, [2]), ({"seed": [2, 9]}, [2, 9]),
        ({"seeds": range(3)}, [0, 1, 2]), ({}, [0]), ({"seeds": "1,1,1"}, [1]),
    ],
)  # fmt: skip
def test_seeds_as_numbers(given, numbers):
    assert [run.seed for run in runs_of(**given)] == numbers


def test_max_labels_says_how_far():
    assert [run.rounds for run in runs_of(rounds=None, max_labels=499)] == [3]
    assert [run.rounds for run in runs_of(rounds=None, max_labels=500)] == [4]
    assert [run.rounds for run in runs_of(rounds=None, max_labels=500, initial=300)] == [2]
    sizes = runs_of(rounds=None, max_labels=1100, batch_size=[100, 1000])
    assert {run.batch_size: run.rounds for run in sizes} == {100: 10, 1000: 1}


def test_max_labels_never_exceeds_the_pool():
    assert [run.rounds for run in runs_of(rounds=None, max_labels=50_000, batch_size=10_000)] == [2]  # 25,250


def test_the_smaller_of_rounds_and_max_labels_holds():
    assert [run.rounds for run in runs_of(rounds=2, max_labels=1000)] == [2]
    assert [run.rounds for run in runs_of(rounds=20, max_labels=1000)] == [9]


def test_the_pool_of_a_file_is_counted(tmp_path):
    """250 rows, a tenth of them for the test set."""
    rng = np.random.default_rng(0)
    path = str(tmp_path / "own.npz")
    np.savez(path, inputs=rng.normal(size=(250, 3)), labels=rng.integers(0, 2, 250))
    assert [run.rounds for run in runs_of(dataset=path, rounds=None, max_labels=9999, initial=25)] == [2]
    assert f"the pool of {path} has 225" in error_of(lambda: runs_of(dataset=path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": None}, "the grid has no dataset; wanted at least one"),
        ({"strategy": None}, "the grid has no strategy"),
        ({"batch_size": None}, "the grid has no batch_size"),
        ({"strategy": []}, "the grid has no strategy"),
        ({"model": []}, "the grid has no model"),
        ({"seeds": []}, "the grid has no seed"),
        ({"rounds": None}, "the grid has neither rounds nor max_labels; wanted one of them"),
        ({"seed": 1, "seeds": "0-4"}, "both seed and seeds are given"),
        ({"learning_rate": [1e-3, 1e-2]}, "learning_rate is [0.001, 0.01]; wanted one value (only seed, "),
        ({"initial": [100]}, "initial is [100]; wanted one value"),
        ({"rounds": [1, 2]}, "rounds is [1, 2]"),
        ({"rounds": "two", "max_labels": 400}, "rounds is 'two'"),
        ({"rounds": 2.5, "max_labels": 400}, "rounds is 2.5"),
        ({"rounds": -1, "max_labels": 400}, "rounds is -1"),
        ({"rounds": True}, "rounds is True"),
        ({"rounds": None, "max_labels": [400, 500]}, "max_labels is [400, 500]; wanted a whole number"),
        ({"rounds": None, "max_labels": "400"}, "max_labels is '400'; wanted a whole number"),
        ({"rounds": None, "max_labels": True}, "max_labels is True; wanted a whole number"),
        ({"rounds": None, "max_labels": 199}, "max_labels 199 leaves kropt (a pool of 25250) no room for 100 "),
        ({"rounds": 5, "max_labels": 199}, "max_labels 199 leaves kropt"),
        ({"rounds": 252}, "need 25300 labels; the pool of kropt has 25250"),
        ({"strategy": ["margin", "bagde"]}, "unknown strategy 'bagde'; did you mean badge?"),
        ({"strategy": "badge(frist=norm)"}, "strategy badge has no option 'frist'"),
        ({"strategy": "badge(first=longest)"}, "badge(first=longest)"),
        ({"strategy": 5}, "strategy is 5; wanted text"),
        ({"dataset": [["kropt"]]}, "dataset is ['kropt']; wanted text"),
        ({"dataset": "kropd"}, "unknown dataset 'kropd'; did you mean kropt?"),
        ({"model": "mpl"}, "unknown model 'mpl'; did you mean mlp?"),
        ({"batch_size": [100, "all"]}, "batch-size is 'all'; it must be a whole number"),
        ({"batch_size": 0}, "batch-size is 0; it must be at least 1"),
        ({"seeds": [0, -1]}, "seed is -1"),
        ({"seeds": ["0-4"]}, "seed is '0-4'; it must be a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused(changes, message):
    assert message in error_of(lambda: runs_of(**changes))


def options(**changes):
    return dataclasses.replace(RunOptions("kropt", "badge", 100, 2, model="linear", seed=3), **changes)


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({}, "kropt-linear-100/badge-seed3"),
        ({"strategy": "badge(first=norm)"}, "kropt-linear-100/badge_first=norm-seed3"),
        ({"strategy": "own.mod:make(a=0.3, b='x y')"}, "kropt-linear-100/own.mod_make_a=0.3,_b=_x_y-seed3"),
        ({"model": "mlp(hidden=8)"}, "kropt-mlp_hidden=8_-100/badge-seed3"),
        ({"dataset": "openml:184"}, "openml_184-linear-100/badge-seed3"),
        ({"dataset": "../data/own.npz"}, "data_own.npz-linear-100/badge-seed3"),
        ({"dataset": "/home/me/own.npz"}, "home_me_own.npz-linear-100/badge-seed3"),
    ],
)  # fmt: skip
def test_the_folder_of_a_run(changes, folder):
    assert folder_of(options(**changes)).as_posix() == folder


def test_folders_have_two_parts_that_any_file_system_takes():
    """Also for what would climb out of the folder, hide itself, or be too long."""
    names = [
        "..",
        "/",
        "../../etc/passwd",
        "." * 9,
        "x" * 400,
        "é" * 200,
        "字" * 100,
        "a\nb",
        "~",
        "a:b",
        "\\",
        "_",
    ]
    for name in names:
        folder = folder_of(options(dataset=f"{name}.npz", strategy=f"own:make(a={name!r})"))
        assert len(folder.parts) == 2
        for part in folder.parts:
            assert 0 < len(part.encode()) <= 255
            assert not part.startswith((".", "~"))
            assert not set(part) & set("/\\:*?\"<>|\n '()")


def test_long_names_that_differ_at_their_end_have_folders_of_their_own():
    folders = {folder_of(options(strategy=f"own:make(a='{'x' * 300}{end}')")) for end in "abc"}
    assert len(folders) == 3


def test_the_papers_grid_has_a_folder_for_each_run():
    """Also where upper and lower case are one."""
    runs = paper.grid(paper.parse(["list"]))
    assert len({str(folder_of(run)).casefold() for run in runs}) == len(runs) == 33 * 7 * 5
