"""What the files of a run may hold: fields, their ranges, and checksums of them.

Since format 4 a line of rounds.jsonl has more metrics of the test set, and per_class.jsonl lies beside it.
Since format 3 config.json has a checksum of itself, and a line one of itself and of everything in config.json
but the number of rounds, which may grow. In format 2 a line's checksum covers five options only, and
config.json has none. Files of 0.1 have no format and no checksums: there, only what cannot be is refused.
"""

import json
import reprlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from badge_jax import paper
from badge_jax.errors import InputError
from badge_jax.records import config_checksum, line_checksum

FORMAT = 4  # of a run's files; those of 0.1 have none
RESUMABLE = (2, 3, 4)  # formats in which runs are resumed and repeated
REMEDY = "remove the folder or give another"
_LARGEST = 2**31 - 1
_LONGEST = 1e10  # seconds: 300 years


class _Field(NamedTuple):
    """The types of a value, and the range of a number. True is no number."""

    types: tuple[type, ...]
    least: float = -sys.float_info.max
    most: float = sys.float_info.max

    def fits(self, value: Any) -> bool:
        if type(value) not in self.types:
            return False
        return type(value) not in (int, float) or self.least <= value <= self.most


_NUMBER, _NONE = (int, float), type(None)
_TEXT, _TABLE, _LIST = _Field((str,)), _Field((dict,)), _Field((list,))
_COUNT, _WHOLE = _Field((int,), 1, _LARGEST), _Field((int,), 0, _LARGEST)
_SHARE, _SECONDS = _Field(_NUMBER, 0, 1), _Field(_NUMBER, 0, _LONGEST)
_MEASURED, _POSITIVE = _Field((*_NUMBER, _NONE)), _Field(_NUMBER, 0)

# what a report needs, and what else is known
_NEEDED_OPTIONS = {"dataset": _TEXT, "model": _TEXT, "strategy": _TEXT, "batch_size": _COUNT, "seed": _WHOLE}
_OTHER_OPTIONS = {
    "format": _COUNT, "initial": _COUNT, "rounds": _WHOLE, "strategy_options": _TABLE, "model_options": _TABLE,
    "code": _TABLE, "environment": _TABLE, "missing_classes": _LIST, "cold_start": _TEXT,
    "cold_start_options": _TABLE, "resumed": _LIST,
}  # fmt: skip
_MAY_GROW = ("rounds", "resumed")  # while the files of the run stay what they are
# of runs made before these were recorded
BEFORE: dict[str, Any] = {"cold_start": paper.COLD_START, "cold_start_options": {}}
_NEEDED_RESULTS = {"round": _WHOLE, "num_labeled": _COUNT, "test_accuracy": _SHARE}
_TO_RESUME = {"fit_seconds": _SECONDS, "query_seconds": _SECONDS, "indices": _LIST}
_OTHER_RESULTS = {
    **_TO_RESUME, "num_test_correct": _WHOLE, "test_size": _COUNT, "train_accuracy": _SHARE, "epochs": _WHOLE,
    "converged": _Field((bool,)), "compile_seconds": _SECONDS, "source_rows": _LIST, "gram_log_det": _MEASURED,
    "gram_is_singular": _Field((bool,)), "mean_embedding_norm": _MEASURED, "test_balanced_accuracy": _SHARE,
    "test_macro_f1": _SHARE, "test_log_loss": _POSITIVE, "test_calibration_error": _SHARE,
}  # fmt: skip


def check_config_fields(path: Path, config: Mapping[str, Any]) -> None:
    """Raises InputError for a configuration that lacks what a report needs, or has a value that cannot be."""
    _check_fields(path, "", config, _NEEDED_OPTIONS, _OTHER_OPTIONS)
    for entry in config.get("resumed", []):
        found = entry if isinstance(entry, dict) else {}
        _check_fields(path, "in resumed, ", found, {"round": _WHOLE, "environment": _TABLE}, {})


def code_checksum(config: Mapping[str, Any], what: str) -> int | None:
    """CRC-32 of the user's file behind the strategy, model or data set of a run; None for the package's own."""
    code = config.get("code")
    source = code.get(what) if isinstance(code, dict) else None
    return source.get("crc32") if isinstance(source, dict) else None


def has_checksum(config: Mapping[str, Any]) -> bool:
    """Whether the format of a configuration has a checksum in it."""
    return config.get("format", 1) >= 3


def has_metrics(config: Mapping[str, Any]) -> bool:
    """Whether a round of a configuration's format has metrics besides the accuracy, and a line by class."""
    return config.get("format", 1) >= 4


def identity_of(config: Mapping[str, Any]) -> str:
    """What a run's files belong to, so that those of another run, copied here, are not believed."""
    if has_checksum(config):
        return (
            f"{config_checksum({name: value for name, value in config.items() if name not in _MAY_GROW}):08x}"
        )
    return json.dumps([config[name] for name in _NEEDED_OPTIONS]) if config else ""


def check_lines(
    path: Path, lines: list[dict[str, Any]], config: Mapping[str, Any], *, to_resume: bool = False
) -> list[dict[str, Any]]:
    """The rounds of a run without their checksums.

    Args:
        path: of the file, for messages.
        lines: as they are in the file.
        config: of the run; empty where there is none.
        to_resume: whether every field that resuming needs must be there.

    Raises:
        InputError: for a line that lacks a field, has a value that cannot be, does not follow from the one
            before, or does not have its checksum.
    """
    rounds: list[dict[str, Any]] = []
    identity, seen = identity_of(config), set[int]()
    for number, line in enumerate(lines):
        where = f"line {number + 1}: "
        _check_fields(path, where, line, _NEEDED_RESULTS, _OTHER_RESULTS)
        if line["round"] != number:
            raise InputError(f"{path} is damaged: line {number + 1} is not round {number}; {REMEDY}")
        if to_resume:
            _check_fields(path, where, line, _TO_RESUME, {})
        rounds.append({name: value for name, value in line.items() if name != "check"})
        must_have = to_resume or "format" in config or "check" in line
        if must_have and line.get("check") != line_checksum(rounds[-1], identity):
            raise InputError(f"{path} is damaged: {where}it does not have its checksum; {REMEDY}")
        if problem := _contradiction(line, rounds[0]["num_labeled"], config.get("batch_size"), seen):
            raise InputError(f"{path} is damaged: {where}{problem}; {REMEDY}")
        seen.update(line.get("indices", []))
    return rounds


def check_per_class(path: Path, lines: list[dict[str, Any]], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of per_class.jsonl without their checksums.

    Args:
        path: of the file, for messages.
        lines: as they are in the file.
        config: of the run.

    Raises:
        InputError: for a line that is not that of the next round, or does not have its checksum.
    """
    identity, checked = identity_of(config), []
    for number, line in enumerate(lines):
        if line.get("round") != number:
            raise InputError(f"{path} is damaged: line {number + 1} is not round {number}; {REMEDY}")
        checked.append({name: value for name, value in line.items() if name != "check"})
        if line.get("check") != line_checksum(checked[-1], identity):
            raise InputError(f"{path} is damaged: line {number + 1}: it does not have its checksum; {REMEDY}")
    return checked


def _contradiction(line: Mapping[str, Any], first: int, batch_size: int | None, seen: set[int]) -> str | None:
    """What in a line contradicts the rest of it, or the lines before it.

    Args:
        line: with fields of the right types.
        first: labels at the start.
        batch_size: of the run, if known.
        seen: the rows of the lines before.
    """
    number, num_labeled = line["round"], line["num_labeled"]
    if batch_size is not None and num_labeled != first + number * batch_size:
        return f"num_labeled is {num_labeled}, after {number} batches of {batch_size} on top of {first}"
    if "num_test_correct" in line and "test_size" in line:
        correct, size, accuracy = line["num_test_correct"], line["test_size"], line["test_accuracy"]
        if accuracy != correct / size:
            return f"test_accuracy is {accuracy}, with {correct} of {size} correct"
    rows = line.get("indices", [])
    if not _are_rows(rows) or not _are_rows(line.get("source_rows", [])):
        return "indices or source_rows are not row numbers"
    if len(set(rows)) < len(rows) or not seen.isdisjoint(rows):
        return "a row in indices comes a second time"
    if "source_rows" in line and len(line["source_rows"]) != len(rows):
        return f"it has {len(rows)} indices and {len(line['source_rows'])} source_rows"
    return None


def _are_rows(values: list[Any]) -> bool:
    return (
        set(map(type, values)) <= {int} and min(values, default=0) >= 0 and max(values, default=0) <= _LARGEST
    )


def _check_fields(
    path: Path, where: str, value: Mapping[str, Any], needed: Mapping[str, _Field], others: Mapping[str, _Field]
) -> None:
    for name in needed:
        if name not in value:
            raise InputError(f"{path} is not a run's, or damaged: {where}it lacks {name}; {REMEDY}")
    for name, field in {**others, **needed}.items():
        if name in value and not field.fits(value[name]):
            raise InputError(f"{path} is damaged: {where}{name} is {reprlib.repr(value[name])}; {REMEDY}")
