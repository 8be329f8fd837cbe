"""Which runs are read, which are repeats of one another, and what a round holds."""

import io
import json
from pathlib import Path

import pytest

from badge_jax.analysis import Run, find_runs, load_rounds, read_runs, rounds_csv
from badge_jax.errors import InputError
from badge_jax.runs.directory import read_config, read_rounds, write_config, write_rounds


def write_run(directory, strategy="badge", seed=0, num_rounds=2, rows=False, **options):
    """A run of format 0.1, or with ``format=2`` and ``rows=True`` one of today."""
    directory.mkdir(parents=True)
    config = {"dataset": "d", "model": "m", "batch_size": 10, "strategy": strategy, "seed": seed, **options}
    lines = [
        {"round": i, "num_labeled": 5 + 10 * i, "test_accuracy": 0.5, "indices": [i]} for i in range(num_rounds)
    ]
    if rows:
        lines = [{**line, "source_rows": [100 + line["round"]]} for line in lines]
    if "format" in options:
        write_config(directory, config)
        write_rounds(directory, lines)
    else:
        (directory / "config.json").write_text(json.dumps(config))
        if lines:  # a run that has only started has no such file
            (directory / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


@pytest.fixture
def runs(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs" / f"badge{seed}", "badge", seed)
        write_run(tmp_path / "runs" / "deep" / f"random{seed}", "random", seed)
    write_run(tmp_path / "runs" / "started", "margin", num_rounds=0)
    return tmp_path / "runs"


def change(directory, **options):
    """Writes the run anew with these options, as if it had been made with them."""
    config, rounds = read_config(directory), read_rounds(directory)
    write_config(directory, {**config, **options})
    write_rounds(directory, rounds)


def test_a_run_found_twice_counts_once(runs):
    assert len(read_runs([runs, runs / "badge0"])) == 4
    assert len(load_rounds([runs, runs / "badge0"])) == 8


def test_links_are_followed_once(runs, tmp_path):
    (runs / "deep" / "round").symlink_to(runs)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "one").symlink_to(runs / "badge0")
    (tmp_path / "links" / "some").symlink_to(runs / "deep")
    assert len(read_runs(runs)) == 4
    assert len(read_runs(tmp_path / "links" / "one")) == 1
    assert len(read_runs([tmp_path / "links", runs])) == 4


@pytest.mark.parametrize("read", [read_runs, load_rounds])
def test_a_path_or_several(runs, read):
    expected = read([runs])
    assert read(runs) == read(str(runs)) == read((str(runs),)) == expected
    assert read({runs / "badge0": 0, runs / "badge1": 1}) == read(
        path for path in (runs / "badge0", runs / "badge1")
    )


@pytest.mark.parametrize("read", [read_runs, load_rounds])
def test_nothing_to_read(runs, read):
    with pytest.raises(
        InputError, match=r"no run with a finished round in .*started; `badge-jax run` makes one"
    ):
        read(runs / "started")
    with pytest.raises(InputError, match="missing is not a folder"):
        read([runs, runs / "missing"])
    with pytest.raises(InputError, match=r"no run with a finished round in an empty list of folders"):
        read([])


def test_one_seed_in_two_directories_is_refused(runs):
    write_run(runs / "again")
    with pytest.raises(InputError, match=r"badge0 and .*again are both d/m/10/badge with seed 0"):
        read_runs(runs)


def test_runs_with_other_options_are_not_repeats(runs):
    write_run(runs / "badge7", seed=7, learning_rate=1e-2)
    change(runs / "badge0", learning_rate=1e-4)
    with pytest.raises(InputError, match=r"have learning_rate = 0\.01 and 0\.0001; report them separately"):
        read_runs(runs)


def test_strategies_under_other_protocols_are_not_compared(runs):
    for name, initial in (("badge0", 5), ("badge1", 5), ("deep/random0", 7)):
        change(runs / name, initial=initial)
    with pytest.raises(InputError, match="are both d/m/10 but have initial = 7 and 5"):
        read_runs(runs)


def test_an_option_that_the_first_run_does_not_record_is_still_compared(runs):
    change(runs / "badge1", minibatch_size=64)
    change(runs / "deep" / "random0", minibatch_size=32)
    with pytest.raises(InputError, match=r"random0 and .*badge1 are both .* minibatch_size = 32 and 64"):
        read_runs(runs)


def test_runs_of_the_former_format_have_known_values(runs):
    """What 0.1 did not record was the same in every run of it."""
    change(runs / "badge1", format=2, clip=0.2, target_accuracy=0.99)
    with pytest.raises(InputError, match=r"but have clip = .* and .*; report them separately"):
        read_runs(runs)


def test_formats_are_compared_in_what_both_record(runs):
    change(
        runs / "badge0", format=2, clip=0.1, minibatch_size=64, target_accuracy=0.99, model_options={"a": [1]}
    )
    change(runs / "badge1", format=3, code={"mine.py": "0badcafe"})
    assert len(read_runs(runs)) == 4


@pytest.mark.parametrize(
    ("option", "ours", "theirs"),
    [
        ("diagnostics", True, False),
        ("rounds", 5, 7),
        ("environment", {"jax": "0.10"}, {"jax": "0.12"}),
        ("missing_classes", [], [3]),
    ],
)
def test_what_may_differ(runs, option, ours, theirs):
    change(runs / "badge0", **{option: ours})
    change(runs / "badge1", **{option: theirs})
    assert len(read_runs(runs)) == 4


@pytest.mark.parametrize(
    ("option", "ours", "theirs"),
    [("strategy_options", {"alpha": 0.3}, {"alpha": 0.4}), ("rounds_at_start", 2, 4)],
)
def test_two_algorithms_of_one_name_are_not_averaged(runs, option, ours, theirs):
    """A default that changed, or a law that depends on the length of the run."""
    change(runs / "badge0", **{option: ours})
    change(runs / "badge1", **{option: theirs})
    with pytest.raises(InputError, match=f"but have {option} = .*; report them separately"):
        read_runs(runs)


def test_two_versions_of_a_users_strategy_are_warned_of(runs):
    change(runs / "badge0", code={"strategy": {"file": "mine.py", "crc32": 1}})
    change(runs / "badge1", code={"strategy": {"file": "mine.py", "crc32": 2}})
    with pytest.warns(UserWarning, match="different versions of the file of their strategy, badge"):
        assert len(read_runs(runs)) == 4


@pytest.mark.parametrize("what", ["dataset", "model", "cold_start"])
def test_two_versions_of_another_file_of_a_user_are_warned_of_once(runs, what):
    for i, name in enumerate(("badge0", "badge1", "deep/random0")):
        change(runs / name, code={what: {"file": "mine.py", "crc32": i}})
    with pytest.warns(UserWarning, match="different versions") as found:
        (remark,) = find_runs(runs).remarks
    assert [str(warning.message) for warning in found] == [remark]
    assert (
        f"different versions of the file of their {what.replace('dataset', 'data set').replace('_', ' ')}"
        in remark
    )


def test_other_starts_within_a_seed_are_warned_of(runs):
    for name, indices, size in (
        ("badge0", [5, 6], 100),
        ("deep/random0", [5, 7], 200),
        ("badge1", [0], 100),
    ):
        file = runs / name / "rounds.jsonl"
        first, *rest = file.read_text().splitlines()
        line = json.loads(first) | {"indices": indices, "test_size": size}
        file.write_text("\n".join([json.dumps(line), *rest]) + "\n")
    with pytest.warns(UserWarning, match="have one seed, 0, but different"):
        remarks = find_runs(runs).remarks
    assert [line.split(", but ")[1] for line in remarks] == [
        "different first labels",
        "different numbers of test rows",
    ]


LINE = {"round": 1, "num_labeled": 15, "test_accuracy": 0.5, "indices": [7]}
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_accuracy": float("nan")}, "test_accuracy is nan"),
        ({"test_accuracy": -1}, "test_accuracy is -1"),
        ({"test_accuracy": 1.01}, r"test_accuracy is 1\.01"),
        ({"test_accuracy": 10**400}, r"test_accuracy is 1000+\.\.\.0000+;"),
        ({"test_accuracy": True}, "test_accuracy is True"),
        ({"test_accuracy": None}, "test_accuracy is None"),
        ({"num_labeled": 10**400}, r"num_labeled is 1000+\.\.\."),
        ({"num_labeled": 0}, "num_labeled is 0"),
        ({"num_labeled": 16}, "num_labeled is 16, after 1 batches of 10 on top of 5"),
        ({"fit_seconds": "3"}, "fit_seconds is '3'"),
        ({"query_seconds": -1.0}, r"query_seconds is -1\.0"),
        ({"fit_seconds": 1e300}, r"fit_seconds is 1e\+300"),
        ({"num_test_correct": 10, "test_size": 40}, r"test_accuracy is 0\.5, with 10 of 40 correct"),
        ({"test_size": 0}, "test_size is 0"),
        ({"gram_log_det": "x"}, "gram_log_det is 'x'"),
        ({"indices": [1.5]}, "indices or source_rows are not row numbers"),
        ({"indices": [0]}, "a row in indices comes a second time"),
        ({"round": True}, "round is True"),
    ],
)
def test_what_cannot_be_is_refused_without_a_checksum_too(runs, changes, message):
    path = runs / "badge0" / "rounds.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n" + json.dumps({**LINE, **changes}) + "\n")
    with pytest.warns(UserWarning, match=rf"left out: {path} is damaged: line 2: {message}"):
        assert len(load_rounds(runs)) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "damaged: batch_size is 0"),
        ({"batch_size": 10**400}, r"damaged: batch_size is 1000+\.\.\."),
        ({"seed": -1}, "damaged: seed is -1"),
        ({"seed": True}, "damaged: seed is True"),
        ({"dataset": ["d"]}, r"damaged: dataset is \['d'\]"),
        ({"environment": [1]}, r"damaged: environment is \[1\]"),
        ({"code": 3}, "damaged: code is 3"),
        ({"format": "2"}, "damaged: format is '2'"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(runs, changes, message):
    path = runs / "badge0" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.warns(UserWarning, match=rf"left out: {path} is {message}"):
        assert len(read_runs(runs)) == 3


@pytest.mark.parametrize("name", ["config.json", "rounds.jsonl"])
@pytest.mark.parametrize("content", ["", "[]", "{", "\0", '{"a": ' + DEEP, f'{{"a": {"[" * 50}{"]" * 50}}}'])
def test_a_file_that_cannot_be_read_is_named_in_one_line_and_the_others_are_read(runs, name, content):
    path = runs / "badge0" / name
    path.write_text(content)
    with pytest.warns(UserWarning, match="left out: ") as caught:
        assert len(read_runs(runs)) == 3
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(f"left out: {path} is ")
    assert "\n" not in message
    with pytest.raises(InputError, match=rf"no run with a finished round in .*badge0: {path} is "):
        read_runs(runs / "badge0")


def test_folders_that_are_not_whole_are_named(runs):
    (runs / "badge0" / "config.json").unlink()
    (runs / "badge1" / "config.json").unlink()
    (runs / "badge1" / "config.json").mkdir()
    with pytest.warns(UserWarning, match="left out: ") as caught:
        assert len(read_runs(runs)) == 2
    assert [str(warning.message) for warning in caught] == [
        f"left out: {runs / 'badge0'} holds rounds.jsonl but no config.json; remove the folder",
        f"left out: {runs / 'badge1' / 'config.json'} cannot be read (Is a directory)",
    ]
    with pytest.raises(InputError, match=r"badge0 holds rounds\.jsonl .* \(and 1 more that cannot be read\)"):
        load_rounds([runs / "badge0", runs / "badge1"])


def test_an_option_may_be_no_number(runs):
    """Of a user's strategy; it differs from nothing."""
    for name in ("badge0", "badge1"):
        change(runs / name, format=3, strategy_options={"alpha": float("nan")}, learning_rate=float("inf"))
    assert len(read_runs(runs)) == 4


def test_a_round_is_a_flat_dict(tmp_path):
    write_run(
        tmp_path / "new",
        "mine:make(alpha=0.3)",
        rows=True,
        format=2,
        initial=5,
        learning_rate=1e-3,
        source=None,
        diagnostics=False,
        strategy_options={"alpha": 0.3},
        missing_classes=[3],
        environment={"jax": "0.10"},
    )
    first, second = load_rounds(tmp_path)
    assert first == {
        "directory": str(tmp_path / "new"),
        "dataset": "d",
        "model": "m",
        "batch_size": 10,
        "strategy": "mine:make(alpha=0.3)",
        "seed": 0,
        "format": 2,
        "initial": 5,
        "learning_rate": 1e-3,
        "source": None,
        "diagnostics": False,
        "round": 0,
        "num_labeled": 5,
        "test_accuracy": 0.5,
        "indices": [0],
        "source_rows": [100],
    }
    assert (second["round"], second["source_rows"]) == (1, [101])


def test_older_runs_have_no_rows_and_runs_need_not_be_repeats(tmp_path):
    write_run(tmp_path / "old", learning_rate=1e-3)
    write_run(tmp_path / "new", learning_rate=1e-4, rows=True, format=2)
    rounds = load_rounds(tmp_path)
    assert [Path(line["directory"]).name for line in rounds] == ["new", "new", "old", "old"]
    assert ["source_rows" in line for line in rounds] == [True, True, False, False]


def test_a_table_of_rounds_holds_what_the_runs_record(runs, tmp_path):
    """Runs of three formats: cells are empty where a run lacks what others have. Signs of CSV are quoted."""
    pandas = pytest.importorskip("pandas", reason="wants pandas (group peers)")
    metric = {"test_log_loss": 0.25, "gram_log_det": None}
    line = {"round": 0, "num_labeled": 10, "test_accuracy": 0.5, "indices": [1]}
    config = {"dataset": 'a,b\r\n"c".npz', "model": "m", "batch_size": 7, "strategy": "s(x=1, y=2)", "seed": 3}
    later = Run(
        {**config, "format": 4, "code": {}, "clip": 0.1}, [{**line, **metric}, {**line, "round": 1, **metric}]
    )
    former = Run({**config, "seed": 4}, [line])
    (tmp_path / "rounds.csv").write_bytes(rounds_csv([former, later]).encode())
    table = pandas.read_csv(tmp_path / "rounds.csv")
    assert list(table) == [
        *config,
        "round",
        "num_labeled",
        "test_accuracy",
        "test_log_loss",
        "gram_log_det",
        "format",
        "clip",
    ]
    assert table["dataset"].tolist() == [config["dataset"]] * 3
    assert table["strategy"].tolist() == [config["strategy"]] * 3
    assert table["seed"].tolist() == [4, 3, 3]
    assert table["round"].tolist() == [0, 0, 1]
    assert table["test_log_loss"].isna().tolist() == [True, False, False]
    assert table["clip"].tolist()[1:] == [0.1, 0.1]
    read = pandas.read_csv(io.StringIO(rounds_csv(read_runs(runs))))
    loaded = load_rounds(runs)
    assert read["test_accuracy"].tolist() == [row["test_accuracy"] for row in loaded]
