"""A grid of runs, from a TOML file or from lists of values."""

import itertools
import re
import tomllib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from badge_jax.data import dataset_info, load_dataset, resolve_source
from badge_jax.errors import InputError
from badge_jax.runs.options import RunOptions, check_pool, resolve

_VARIED = ("seed", "dataset", "model", "batch_size", "strategy")  # the first varies slowest
_SINGLE = tuple(
    field.name for field in fields(RunOptions) if field.name not in (*_VARIED, "rounds", "rounds_at_start")
)
_KEYS = (*_VARIED, "seeds", "rounds", "max_labels", *_SINGLE)


class _Pool(NamedTuple):
    """The rows of a pool, and whether it has a representation."""

    num_rows: int
    has_representation: bool


def read_grids(path: Path) -> list[dict[str, Any]]:
    """The grids of a TOML file.

    Keys are options of a run. ``dataset``, ``model``, ``strategy``, ``batch_size`` and ``seeds`` may be lists;
    a grid holds a run of each combination. ``rounds``, or ``max_labels``, says how far. Keys at the top hold
    for every ``[[grid]]``; without such a table they are the only grid.

    Args:
        path: of the file.

    Returns:
        One dict a grid, for `make_runs`.

    Raises:
        InputError: for a file that cannot be read or has an unknown key.

    Example:
        >>> import pathlib, tempfile
        >>> from badge_jax.runs import read_grids
        >>> path = pathlib.Path(tempfile.mkdtemp(), "grid.toml")
        >>> _ = path.write_text('dataset = "kropt"\\nstrategy = ["badge", "random"]\\nrounds = 5')
        >>> read_grids(path)
        [{'dataset': 'kropt', 'strategy': ['badge', 'random'], 'rounds': 5}]
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; wanted a TOML file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); wanted a TOML file") from None
    grids = content.pop("grid", [{}])
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise InputError(f"{path}: grid is no list of tables; wanted [[grid]]")
    for part in (content, *grids):
        for key in part:
            if key not in _KEYS:
                raise InputError(f"{path}: unknown key {key!r} (known: {', '.join(_KEYS)})")
    return [{**content, **grid} for grid in grids]


def make_runs(grids: Iterable[Mapping[str, Any]]) -> list[RunOptions]:
    """The runs of some grids, each once, the first seed of everything first.

    Args:
        grids: option -> value or list of values; see `read_grids`. ``seeds`` may be text such as "0-4,7".

    Returns:
        Options with every default filled in, so that equal runs are equal.

    Raises:
        InputError: for a grid without data sets, strategies, batch sizes or rounds, for options that cannot be,
            and for a pool too small.

    Example:
        >>> from badge_jax.runs import make_runs
        >>> grid = {"dataset": "kropt", "strategy": ["badge", "random"], "batch_size": 100, "seeds": "0-1"}
        >>> [(run.strategy, run.seed, run.rounds) for run in make_runs([{**grid, "max_labels": 400}])]
        [('badge', 0, 3), ('random', 0, 3), ('badge', 1, 3), ('random', 1, 3)]
    """
    pools: dict[tuple, _Pool] = {}
    runs = [options for grid in grids for options in _runs_of(dict(grid), pools)]
    return sorted(dict.fromkeys(runs), key=lambda options: options.seed)


def parse_seeds(text: str) -> list[int]:
    """Seeds such as "3", "0-4" or "0-4,7".

    Raises:
        InputError: for other text.

    Example:
        >>> from badge_jax.runs import parse_seeds
        >>> parse_seeds("0-2,7")
        [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise InputError(f"seeds are {text!r}; wanted numbers and ranges such as 0-4 or 0,3,7-9")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return seeds


def _runs_of(grid: dict[str, Any], pools: dict[tuple, _Pool]) -> list[RunOptions]:
    """The runs of one grid. ``pools`` remembers those that had to be loaded."""
    if "seed" in grid and "seeds" in grid:
        raise InputError("both seed and seeds are given; wanted seeds")
    seeds = grid.pop("seeds", grid.pop("seed", 0))
    grid["seed"] = parse_seeds(seeds) if isinstance(seeds, str) else seeds
    grid.setdefault("model", "mlp")
    for key in _VARIED:
        if not _listed(grid.get(key)):
            raise InputError(f"the grid has no {key}; wanted at least one")
    if grid.get("rounds") is None and grid.get("max_labels") is None:
        raise InputError("the grid has neither rounds nor max_labels; wanted one of them")
    shared = {key: grid[key] for key in _SINGLE if grid.get(key) is not None}
    for key, value in shared.items():
        if isinstance(value, (list, tuple, dict)):
            raise InputError(f"{key} is {value!r}; wanted one value (only {', '.join(_VARIED)} may be lists)")
    runs = []
    for values in itertools.product(*(_listed(grid[key]) for key in _VARIED)):
        varied = dict(zip(_VARIED, values, strict=True))
        for key in ("dataset", "model", "strategy"):
            if not isinstance(varied[key], str):
                raise InputError(f"{key} is {varied[key]!r}; wanted text")
        rounds = grid.get("rounds")
        options = resolve(RunOptions(**varied, rounds=0 if rounds is None else rounds, **shared)).options
        pool = _pool_of(options, pools)
        rounds = _num_rounds(options, pool.num_rows, rounds, grid.get("max_labels"))
        resolved = resolve(replace(options, rounds=rounds, rounds_at_start=None))
        check_pool(resolved, *pool)
        runs.append(resolved.options)
    return runs


def _num_rounds(options: RunOptions, num_pool: int, rounds: int | None, max_labels: int | None) -> int:
    """How many queries: as many as are asked for, and no more than ``max_labels`` and the pool allow."""
    if max_labels is None:
        assert rounds is not None
        return rounds
    if isinstance(max_labels, bool) or not isinstance(max_labels, int):
        raise InputError(f"max_labels is {max_labels!r}; wanted a whole number")
    room = (min(max_labels, num_pool) - options.initial) // options.batch_size
    if room < 1:
        raise InputError(
            f"max_labels {max_labels} leaves {options.dataset} (a pool of {num_pool}) no room for "
            f"{options.initial} initial labels and one batch of {options.batch_size}"
        )
    return room if rounds is None else min(rounds, room)


def _pool_of(options: RunOptions, pools: dict[tuple, _Pool]) -> _Pool:
    """What is known of the pool; a data set whose size is not known in advance is loaded, once."""
    source, info = resolve_source(options.dataset, options.source), dataset_info(options.dataset)
    num_rows = info.num_pool(source)
    if num_rows is not None:
        return _Pool(num_rows, has_representation=len(info.shape) <= 1)  # images have none
    key = (options.dataset, source)
    if key not in pools:
        data = load_dataset(options.dataset, seed=0, encoding=options.encoding, source=source)
        pools[key] = _Pool(len(data.labels), data.representation is not None)
    return pools[key]


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple, range)) else (value,)


def folder_of(options: RunOptions) -> Path:
    """Where a sweep has a run: DATASET-MODEL-BATCH/STRATEGY-seedSEED.

    Args:
        options: of the run, resolved.

    Returns:
        Path relative to the sweep's folder. Signs that file names should not have become ``_``.

    Example:
        >>> from badge_jax.runs import RunOptions, folder_of
        >>> folder_of(RunOptions("kropt", "badge(first=norm)", 100, 5)).as_posix()
        'kropt-mlp-100/badge_first=norm-seed0'
    """
    setting = f"{options.dataset}-{options.model}-{options.batch_size}"
    return Path(_file_name(setting)) / f"{_file_name(options.strategy)}-seed{options.seed}"


def _file_name(text: str) -> str:
    name = re.sub(r"[^\w.=+,-]+", "_", text).strip("_.")
    return name if len(name.encode()) <= 120 else f"{name[:40]}-{zlib.crc32(text.encode()):08x}"
