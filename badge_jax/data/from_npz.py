"""The user's own data set, from an .npz file."""

from pathlib import Path

from badge_jax.array_files import Archive
from badge_jax.data.own import own_arrays
from badge_jax.data.table import Arrays


def load(path: Path) -> Arrays:
    """Loads the arrays of an .npz file, named as `own_arrays` says.

    Args:
        path: the .npz file.

    Returns:
        The `Arrays`; inputs are float32, or uint8 for uint8 images.

    Raises:
        InputError: if the file cannot be read, or its arrays are not as described.
    """
    return own_arrays(str(path), Archive(path, "--dataset"))
