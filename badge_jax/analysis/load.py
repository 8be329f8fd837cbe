"""From run directories to runs and rounds in memory. Reads nothing but config.json and rounds.jsonl."""

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from badge_jax import paper
from badge_jax.errors import InputError
from badge_jax.runs.directory import MAY_DIFFER, read_config, read_rounds
from badge_jax.runs.fields import BEFORE, code_checksum
from badge_jax.runs.setting import Setting, setting_of

Directories = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A run directory, a folder of them, or several of either."""

_OF_STRATEGY = ("strategy_options", "rounds_at_start")  # must agree between runs of one strategy
_FORMER = {"target_accuracy": paper.TARGET_ACCURACY, "clip": paper.CLIP}  # of every run of 0.1, not recorded
_NOT_OPTIONS = {*Setting._fields, "strategy", "seed", "diagnostics", *_OF_STRATEGY, "code", "format"}
# exp4p of format 0.1 has a horizon, and two horizons are two algorithms
_NOT_COMPARED = _NOT_OPTIONS | set(MAY_DIFFER) - {"horizon"}


class Run(NamedTuple):
    """A run as it is on disk.

    Attributes:
        config: The content of config.json.
        rounds: The lines of rounds.jsonl, in order; at least one.
    """

    config: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]


class Found(NamedTuple):
    """What folders hold.

    Attributes:
        runs: Run directory → run, for every run with a finished round, in the order of their paths.
        skipped: A line for every run that is left out: where it is, and why.
        remarks: What makes runs less comparable than they should be: other versions of a file, other starts.
    """

    runs: Mapping[Path, Run]
    skipped: Sequence[str]
    remarks: Sequence[str] = ()


def find_runs(directories: Directories) -> Found:
    """Like `read_runs`, and says where each run is, what was left out, and what else it warned of.

    Args:
        directories: Run directories or folders of them. A run found twice counts once.

    Returns:
        The runs; what was left out, that is damaged runs and those that have no finished round yet; remarks.

    Raises:
        InputError: As `read_runs`.

    Example:
        >>> import json, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     config = {"dataset": "letter", "model": "mlp", "batch_size": 9, "strategy": "badge", "seed": 0}
        ...     line = {"round": 0, "num_labeled": 100, "test_accuracy": 0.5}
        ...     for name in ("done", "started"):
        ...         Path(folder, name).mkdir()
        ...         _ = Path(folder, name, "config.json").write_text(json.dumps(config))
        ...     _ = Path(folder, "done", "rounds.jsonl").write_text(json.dumps(line))
        ...     found = find_runs(folder)
        >>> [path.name for path in found.runs], found.skipped[0].split("started")[1]
        (['done'], ': no round is finished')
    """
    found = _find_runs(directories)
    _check_repeats(found.runs)
    remarks = [*_versions(found.runs), *_starts(found.runs)]
    for remark in remarks:
        warnings.warn(remark, UserWarning, stacklevel=3)
    return found._replace(remarks=remarks)


def read_runs(directories: Directories) -> list[Run]:
    """Reads every run with at least one finished round, and checks that runs of one setting are comparable.

    A run that is damaged or cannot be read is left out, with a warning that names it. There is a warning too
    where runs of one setting had different versions of a user's file, and where runs of one seed started from
    different labels or have test sets of different sizes.

    Args:
        directories: Run directories or folders of them. A run found twice counts once.

    Returns:
        The runs, in the order of their paths.

    Raises:
        InputError: If a path is not a folder or no run can be read; if two runs of one setting differ in an
            option that both record; if two runs agree in setting, strategy and seed.

    Example:
        >>> import json, tempfile
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge", "seed": 0}
        >>> line = {"round": 0, "num_labeled": 100, "test_accuracy": 0.5}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text(json.dumps(config))
        ...     _ = Path(folder, "rounds.jsonl").write_text(json.dumps(line))
        ...     runs = read_runs(folder)
        >>> runs[0].config["strategy"], len(runs[0].rounds)
        ('badge', 1)
    """
    return list(find_runs(directories).runs.values())


def load_rounds(directories: Directories) -> list[dict[str, Any]]:
    """Loads every round of every run as a flat dict, ready for ``pandas.DataFrame`` or ``polars.DataFrame``.

    Each dict holds the options of the run (every scalar in config.json), the fields of the round, and
    ``directory``, the run's folder. ``indices`` are the rows queried for the round, as numbers in the pool that
    the seed shuffled; ``source_rows`` are the same rows as numbers in the source data set. Runs of format 0.1
    have no ``source_rows``, and those of before format 4 no metrics but ``test_accuracy``. Runs need not be
    comparable: any set of runs can be loaded. A run that is damaged or cannot be read is left out, with a
    warning that names it.

    Args:
        directories: Run directories or folders of them. A run found twice counts once.

    Returns:
        One dict a round: runs in the order of their paths, rounds in order.

    Raises:
        InputError: If a path is not a folder or no run with a finished round can be read.

    Example:
        >>> import json, tempfile
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge", "seed": 0}
        >>> line = {"round": 0, "num_labeled": 2, "test_accuracy": 0.5}
        >>> line |= {"indices": [4, 1], "source_rows": [17, 8]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "config.json").write_text(json.dumps(config))
        ...     _ = Path(folder, "rounds.jsonl").write_text(json.dumps(line))
        ...     rounds = load_rounds(folder)
        >>> rounds[0]["strategy"], rounds[0]["test_accuracy"], rounds[0]["source_rows"]
        ('badge', 0.5, [17, 8])
    """
    loaded = []
    for path, run in _find_runs(directories).runs.items():
        options = scalar_options(run.config)
        loaded += [{"directory": str(path), **options, **line} for line in run.rounds]
    return loaded


def scalar_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run that a table can hold."""
    return {name: value for name, value in config.items() if is_scalar(value)}


def is_scalar(value: Any) -> bool:
    """Whether a cell of a table can hold a value of a run's files; None is an empty one."""
    return value is None or isinstance(value, (str, int, float))


def _find_runs(directories: Directories) -> Found:
    """Every run, comparable or not.

    Warns of each run that cannot be read. Raises InputError if nothing can.
    """
    if isinstance(directories, (str, os.PathLike)):
        directories = [directories]
    folders = [Path(directory) for directory in directories]
    runs, problems = {}, {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; give run directories, or folders of them")
        for path in sorted(_run_folders(folder)):
            try:
                runs[path.resolve()] = path, _read_run(path)
            except InputError as error:
                problems[path.resolve()] = str(error)
    read = {path: run for path, run in runs.values() if run.rounds}
    if not read:
        where = ", ".join(map(str, folders)) or "an empty list of folders"
        none = f"no run with a finished round in {where}"
        if problems:
            first, more = next(iter(problems.values())), len(problems) - 1
            raise InputError(f"{none}: {first}" + (f" (and {more} more that cannot be read)" if more else ""))
        raise InputError(f"{none}; `badge-jax run` makes one")
    for problem in problems.values():
        warnings.warn(f"left out: {problem}", UserWarning, stacklevel=4)
    started = [f"{path}: no round is finished" for path, run in runs.values() if not run.rounds]
    return Found(read, [*problems.values(), *started])


def _run_folders(folder: Path) -> Iterator[Path]:
    """The folders below that hold a run's files. Links are followed, each folder is entered once."""
    entered = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        if "config.json" in files or "rounds.jsonl" in files:
            yield Path(root)


def _read_run(path: Path) -> Run:
    """The run in a directory. Raises InputError where it cannot be read."""
    try:
        return Run(read_config(path), read_rounds(path))
    except FileNotFoundError:
        raise InputError(f"{path} holds rounds.jsonl but no config.json; remove the folder") from None
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read ({error.strerror})") from None


def _check_repeats(runs: Mapping[Path, Run]) -> None:
    """Raises InputError unless runs of one setting differ only in strategy and seed.

    An option is compared among the runs that record it: formats differ in what they record.
    """
    configs = {
        path: {**BEFORE, **({} if "format" in run.config else _FORMER), **run.config}
        for path, run in runs.items()
    }
    first_with: dict[tuple[Setting, str], Path] = {}
    first_of: dict[tuple[Setting, str, int], Path] = {}
    first_of_strategy: dict[tuple[Setting, str, str], Path] = {}
    for path, run in runs.items():
        setting, strategy, seed = setting_of(run.config), run.config["strategy"], run.config["seed"]
        name = "/".join(map(str, setting))
        for option in sorted(configs[path].keys() - _NOT_COMPARED):
            other = first_with.setdefault((setting, option), path)
            ours, theirs = configs[path][option], configs[other][option]
            if _differ(ours, theirs):
                raise InputError(
                    f"{path} and {other} are both {name} but have {option} = {ours!r} and {theirs!r}; "
                    "report them separately"
                )
        for option in _OF_STRATEGY:
            if option not in run.config:
                continue
            other = first_of_strategy.setdefault((setting, strategy, option), path)
            ours, theirs = run.config[option], runs[other].config[option]
            if _differ(ours, theirs):
                raise InputError(
                    f"{path} and {other} are both {name}/{strategy} but have {option} = {ours!r} and "
                    f"{theirs!r}; report them separately"
                )
        other = first_of.setdefault((setting, strategy, seed), path)
        if other != path:
            raise InputError(
                f"{path} and {other} are both {name}/{strategy} with seed {seed}; report them separately"
            )


def _versions(runs: Mapping[Path, Run]) -> Iterator[str]:
    """A line for each file of a user that runs had in different versions: those of one strategy, or of one
    setting for its data set, model and cold start."""
    first_with: dict[tuple, Path] = {}
    said = set()
    for path, run in runs.items():
        setting = setting_of(run.config)
        for what in ("strategy", "dataset", "model", "cold_start"):
            key = (setting, what, run.config.get(what))
            other = first_with.setdefault(key, path)
            if key not in said and code_checksum(run.config, what) != code_checksum(runs[other].config, what):
                said.add(key)
                words = what.replace("dataset", "data set").replace("_", " ")
                yield f"{path} and {other} had different versions of the file of their {words}, {key[2]}"


def _starts(runs: Mapping[Path, Run]) -> Iterator[str]:
    """A line for each setting in which runs of a seed started from different labels or were tested on another
    number of rows: then pairing by seed does not remove what it should."""
    first_with: dict[tuple, Path] = {}
    said = set()
    for path, run in runs.items():
        setting, seed = setting_of(run.config), run.config["seed"]
        other = first_with.setdefault((setting, seed), path)
        ours, theirs = run.rounds[0], runs[other].rounds[0]
        for field, words in (("indices", "first labels"), ("test_size", "numbers of test rows")):
            if (
                field in ours
                and field in theirs
                and ours[field] != theirs[field]
                and (setting, field) not in said
            ):
                said.add((setting, field))
                yield f"{path} and {other} have one seed, {seed}, but different {words}"


def _differ(ours: Any, theirs: Any) -> bool:
    """Whether two values of an option differ; NaN is NaN."""
    return ours != theirs and json.dumps(ours) != json.dumps(theirs)
