"""The user's own data set, from a function that returns its arrays."""

from collections.abc import Mapping

from badge_jax.data.own import own_arrays
from badge_jax.data.table import Arrays
from badge_jax.errors import InputError, one_line
from badge_jax.names import Found


def load(found: Found) -> Arrays:
    """Calls the function and checks what it returns.

    It may return a dict with ``inputs`` and ``labels`` (and ``test_inputs``, ``test_labels`` and
    ``representation``), as an .npz file would hold them, or a tuple (inputs, labels) or (inputs, labels,
    test_inputs, test_labels).

    Args:
        found: the function and its options.

    Raises:
        InputError: if the function fails, or the arrays are not as `own_arrays` wants them.
    """
    try:
        given = found.make(**found.options)
    except Exception as error:  # whatever the user's function raises
        raise InputError(f"--dataset {found.text} failed ({one_line(error)})") from error
    if isinstance(given, tuple) and len(given) in (2, 4):
        names = ("inputs", "labels", "test_inputs", "test_labels")
        given = dict(zip(names, given, strict=False))
    if not isinstance(given, Mapping):
        raise InputError(
            f"--dataset {found.text} gave a {type(given).__name__}; wanted a dict with inputs and labels, or a "
            "tuple (inputs, labels) or (inputs, labels, test_inputs, test_labels)"
        )
    return own_arrays(found.text, given)
