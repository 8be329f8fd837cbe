"""curves.csv: a line for each run and round, so that results outlive the folders of their runs."""

import csv
import io
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from badge_jax.analysis import Run, csv_text
from badge_jax.errors import InputError
from badge_jax.files import check_file
from badge_jax.runs import Setting, setting_of

NAME = {**dict.fromkeys(Setting._fields, str), "batch_size": int, "strategy": str, "seed": int}


class Columns(NamedTuple):
    """What a file holds: name → type.

    Attributes:
        of_run: options of a run, beside its name. Runs of one setting must agree in them.
        of_round: fields of rounds.jsonl.
    """

    of_run: Mapping[str, type]
    of_round: Mapping[str, type]

    @property
    def all(self) -> dict[str, type]:
        return {**NAME, **self.of_run, **self.of_round}


def name_of(run: Run) -> tuple:
    """Setting, strategy and seed."""
    return tuple(run.config[name] for name in NAME)


def curves_csv(runs: Iterable[Run], columns: Columns) -> str:
    """Every round of every run, sorted by the names of the runs; without the rows that were labeled."""
    rows = []
    for run in sorted(runs, key=name_of):
        head = [*name_of(run), *(run.config.get(name) for name in columns.of_run)]
        for line in run.rounds:
            values = [line.get(name) for name in columns.of_round]
            rows.append([*head, *(f"{v:.6g}" if isinstance(v, float) else v for v in values)])
    return csv_text(list(columns.all), rows)


def read_curves(path: Path, columns: Columns) -> list[Run]:
    """The runs of a file that `curves_csv` made.

    Raises:
        InputError: if it is not there, or another file.
    """
    check_file(path, "--curves", "a curves.csv of this script")
    text = path.read_text("utf-8")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if rows.fieldnames != list(columns.all):
        raise InputError(f"{path} has other columns; wanted {', '.join(columns.all)}")
    try:
        lines = [
            {name: kind(row[name]) if row[name] else None for name, kind in columns.all.items()} for row in rows
        ]
    except (TypeError, ValueError):
        raise InputError(f"{path}, line {rows.line_num}, is damaged") from None
    in_head = [*NAME, *columns.of_run]
    runs = [
        Run(dict(zip(in_head, head, strict=True)), [{"round": i, **line} for i, line in enumerate(group)])
        for head, group in groupby(lines, lambda line: tuple(line[name] for name in in_head))
    ]
    if (
        not text.endswith("\n")
        or len({name_of(run) for run in runs}) < len(runs)
        or not all(map(_is_whole, runs))
    ):
        raise InputError(f"{path} is damaged: it ends early, or a run in it lacks rounds or comes twice")
    return runs


def _is_whole(run: Run) -> bool:
    """Whether no round is missing and all accuracies can be."""
    counts = [line["num_labeled"] for line in run.rounds]
    batch = run.config["batch_size"]
    return counts == [counts[0] + batch * i for i in range(len(counts))] and all(
        0 <= line["test_accuracy"] <= 1 for line in run.rounds
    )


def merged(older: Iterable[Run], newer: Iterable[Run], columns: Columns) -> list[Run]:
    """All of them, sorted; where both have a run, the newer one unless it has got less far.

    Raises:
        InputError: if a run comes twice in either, or if two runs of a setting differ in an option that the
            file records.
    """
    known = _by_name(older)
    for name, run in _by_name(newer).items():
        if name not in known or len(run.rounds) >= len(known[name].rounds):
            known[name] = run
    options: dict[Setting, tuple[tuple, dict[str, Any]]] = {}
    for name, run in known.items():
        ours = {option: run.config.get(option) for option in columns.of_run}
        other, theirs = options.setdefault(setting_of(run.config), (name, ours))
        for option in columns.of_run:
            if ours[option] != theirs[option]:
                raise InputError(
                    f"the runs {_words(name)} and {_words(other)} differ in {option}: {ours[option]} and "
                    f"{theirs[option]}; leave one of them out"
                )
    return [run for _, run in sorted(known.items())]


def _by_name(runs: Iterable[Run]) -> dict[tuple, Run]:
    known: dict[tuple, Run] = {}
    for run in runs:
        if (name := name_of(run)) in known:
            raise InputError(f"the run {_words(name)} is there twice; leave one of them out")
        known[name] = run
    return known


def _words(name: tuple) -> str:
    return ", ".join(map(str, name))
