"""A data set of the user's own, in an .npz file."""

import zipfile
from pathlib import Path

import numpy as np

from badge_jax.data.table import Arrays
from badge_jax.errors import InputError

NAMES = {
    "inputs": ("inputs", "x", "X", "x_train", "X_train"),
    "labels": ("labels", "y", "y_train"),
    "test_inputs": ("test_inputs", "x_test", "X_test"),
    "test_labels": ("test_labels", "y_test"),
}


def load(path: Path) -> Arrays:
    """The arrays ``inputs`` [N, ...] and ``labels`` [N] of the file, and ``test_inputs`` and ``test_labels`` if
    it has them; `NAMES` lists what else they may be called.

    Inputs are numbers, or uint8 images [N, height, width] or [N, height, width, channels]; labels are integers
    or text, and the classes are those that occur. Raises InputError for anything else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names = ", ".join(file.files)
            arrays = {field: file[name] for field in NAMES if (name := _find(path, file.files, field))}
    except FileNotFoundError:
        raise InputError(f"--dataset {path} is not there; wanted an .npz file with inputs and labels") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, InputError):
            raise
        problem = " ".join(str(error).split())[:100]
        raise InputError(
            f"--dataset {path} is not readable ({problem}); wanted an .npz file with inputs and labels"
        ) from None
    for field in ("inputs", "labels"):
        if field not in arrays:
            wanted = f"{field} (or {', '.join(NAMES[field][1:])})"
            raise InputError(f"--dataset {path} holds {names or 'nothing'}; wanted {wanted}")
    if ("test_inputs" in arrays) != ("test_labels" in arrays):
        raise InputError(f"--dataset {path} holds only half a test set; wanted test_inputs and test_labels")
    inputs, num_rows = arrays["inputs"], len(arrays["labels"])
    parts = ["", "test_"] if "test_inputs" in arrays else [""]
    for part in parts:
        _check_rows(path, arrays[f"{part}inputs"], arrays[f"{part}labels"])
    labels, classes = _number_classes(path, [arrays[f"{part}labels"] for part in parts])
    if len(parts) == 1:
        return Arrays(_as_inputs(path, inputs), labels, classes)
    test = arrays["test_inputs"]
    if test.shape[1:] != inputs.shape[1:] or test.dtype != inputs.dtype:
        raise InputError(
            f"--dataset {path} holds inputs {inputs.shape} {inputs.dtype} and test_inputs {test.shape} "
            f"{test.dtype}; wanted rows of one kind"
        )
    return Arrays(
        _as_inputs(path, inputs), labels[:num_rows], classes, _as_inputs(path, test), labels[num_rows:]
    )


def _find(path: Path, names: list[str], field: str) -> str | None:
    present = [name for name in NAMES[field] if name in names]
    if len(present) > 1:
        raise InputError(f"--dataset {path} holds both {present[0]} and {present[1]}; wanted one of them")
    return present[0] if present else None


def _check_rows(path: Path, inputs: np.ndarray, labels: np.ndarray) -> None:
    if labels.ndim != 1 or inputs.ndim < 2 or len(inputs) != len(labels) or inputs[:1].size == 0:
        raise InputError(
            f"--dataset {path} holds inputs {inputs.shape} for labels {labels.shape}; wanted [n, ...] and [n]"
        )


def _number_classes(path: Path, parts: list[np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """All labels as one array of int32, and the names of their classes, sorted."""
    for part in parts:
        if part.dtype.kind not in "biuU":
            raise InputError(f"--dataset {path} holds labels of {part.dtype}; wanted integers or text")
    classes, numbers = np.unique(np.concatenate(parts), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"--dataset {path} has {len(classes)} class; wanted at least two")
    return numbers.astype(np.int32), tuple(str(value) for value in classes.tolist())


def _as_inputs(path: Path, inputs: np.ndarray) -> np.ndarray:
    if inputs.dtype == np.uint8 and inputs.ndim >= 3:
        inputs = inputs[..., None] if inputs.ndim == 3 else inputs
        if inputs.ndim == 4:
            return inputs
    if inputs.dtype.kind not in "biuf":
        raise InputError(f"--dataset {path} holds inputs of {inputs.dtype}; wanted numbers")
    inputs = inputs.astype(np.float32)
    if not np.isfinite(inputs).all():
        raise InputError(f"--dataset {path} holds inputs that are not finite; wanted finite float32 numbers")
    return inputs
