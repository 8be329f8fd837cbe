"""A data set of the user's own: its arrays, checked."""

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from badge_jax.data.table import Arrays
from badge_jax.errors import InputError

NAMES = {
    "inputs": ("inputs", "x", "X", "x_train", "X_train"),
    "labels": ("labels", "y", "y_train"),
    "test_inputs": ("test_inputs", "x_test", "X_test"),
    "test_labels": ("test_labels", "y_test"),
    "representation": ("representation",),
}


def own_arrays(name: str, given: Mapping[str, Any]) -> Arrays:
    """Checks the arrays ``inputs`` and ``labels``, and the others of `NAMES` that are there.

    `NAMES` lists the names that the arrays may have. Inputs are numbers [N, ...], or uint8 images
    [N, height, width] or [N, height, width, channels]. Labels [N] are integers or text; the classes are the
    values that occur. The representation is numbers [N, d'], one row for each row of the inputs.

    Args:
        name: how messages call the data set.
        given: name -> array, or what NumPy makes one of.

    Returns:
        The `Arrays`; inputs are float32, or uint8 for uint8 images. The representation is float32.

    Raises:
        InputError: if the arrays are not as described.
    """
    _check_names(name, list(given))
    found = {field: _find(name, list(given), field) for field in NAMES}
    arrays = {field: np.asarray(given[key]) for field, key in found.items() if key is not None}
    names = ", ".join(given)
    for field in ("inputs", "labels"):
        if field not in arrays:
            wanted = f"{field} (or {', '.join(NAMES[field][1:])})"
            raise InputError(f"--dataset {name} holds {names or 'nothing'}; wanted {wanted}")
    if ("test_inputs" in arrays) != ("test_labels" in arrays):
        raise InputError(f"--dataset {name} holds only half a test set; wanted test_inputs and test_labels")
    inputs, num_rows = arrays["inputs"], len(arrays["labels"])
    parts = ["", "test_"] if "test_inputs" in arrays else [""]
    for part in parts:
        _check_rows(name, arrays[f"{part}inputs"], arrays[f"{part}labels"])
    labels, classes = _number_classes(name, [arrays[f"{part}labels"] for part in parts])
    representation = None
    if "representation" in arrays:
        representation = _as_representation(name, arrays["representation"], num_rows)
    if len(parts) == 1:
        return Arrays(_as_inputs(name, inputs), labels, classes, representation=representation)
    test = arrays["test_inputs"]
    if test.shape[1:] != inputs.shape[1:] or test.dtype != inputs.dtype:
        raise InputError(
            f"--dataset {name} holds inputs {inputs.shape} {inputs.dtype} and test_inputs {test.shape} "
            f"{test.dtype}; wanted rows of one kind"
        )
    test_labels = labels[num_rows:]
    return Arrays(
        _as_inputs(name, inputs),
        labels[:num_rows],
        classes,
        _as_inputs(name, test),
        test_labels,
        representation,
    )


def _check_names(name: str, names: list[str]) -> None:
    """Raises InputError for a name that is nearly one of `NAMES`. Other arrays are the user's own business."""
    known = {alias: field for field, aliases in NAMES.items() for alias in aliases} | {"classes": "classes"}
    present = {known[alias] for alias in names if alias in known}
    for other in names:
        near = [] if other in known else difflib.get_close_matches(other, known, 1, 0.8)
        if near and known[near[0]] not in present:
            raise InputError(f"--dataset {name} holds {other}, which is not read; did you mean {near[0]}?")


def _find(name: str, names: list[str], field: str) -> str | None:
    present = [alias for alias in NAMES[field] if alias in names]
    if len(present) > 1:
        raise InputError(f"--dataset {name} holds both {present[0]} and {present[1]}; wanted one of them")
    return present[0] if present else None


def _check_rows(name: str, inputs: np.ndarray, labels: np.ndarray) -> None:
    if labels.ndim != 1 or inputs.ndim < 2 or len(inputs) != len(labels) or inputs[:1].size == 0:
        raise InputError(
            f"--dataset {name} holds inputs {inputs.shape} for labels {labels.shape}; wanted [n, ...] and [n]"
        )


def _number_classes(name: str, parts: list[np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels of all parts as one int32 array of class numbers, and the sorted names of the classes."""
    for part in parts:
        if part.dtype.kind not in "biuU":
            raise InputError(f"--dataset {name} holds labels of {part.dtype}; wanted integers or text")
    classes, numbers = np.unique(np.concatenate(parts), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"--dataset {name} has {len(classes)} class; wanted at least two")
    return numbers.astype(np.int32), tuple(str(value) for value in classes.tolist())


def _as_inputs(name: str, inputs: np.ndarray) -> np.ndarray:
    if inputs.dtype == np.uint8 and inputs.ndim >= 3:
        inputs = inputs[..., None] if inputs.ndim == 3 else inputs
        if inputs.ndim == 4:
            return inputs
    return _as_numbers(name, "inputs", inputs)


def _as_representation(name: str, representation: np.ndarray, num_rows: int) -> np.ndarray:
    if representation.ndim != 2 or len(representation) != num_rows or representation.shape[1] == 0:
        raise InputError(
            f"--dataset {name} holds a representation {representation.shape}; wanted [{num_rows}, d], one row "
            "for each row of the inputs"
        )
    return _as_numbers(name, "a representation", representation)


def _as_numbers(name: str, what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise InputError(f"--dataset {name} holds {what} of {array.dtype}; wanted numbers")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            f"--dataset {name} holds {what} with values that are not finite; wanted finite float32"
        )
    return array
