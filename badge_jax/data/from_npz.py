"""The user's own data set, from an .npz file."""

import zipfile
from pathlib import Path

import numpy as np

from badge_jax.data.own import own_arrays
from badge_jax.data.table import Arrays
from badge_jax.errors import InputError


def load(path: Path) -> Arrays:
    """Loads the arrays of an .npz file, named as `own_arrays` says.

    Args:
        path: the .npz file.

    Returns:
        The `Arrays`; inputs are float32, or uint8 for uint8 images.

    Raises:
        InputError: if the file cannot be read, or its arrays are not as described.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return own_arrays(str(path), file)
    except FileNotFoundError:
        raise InputError(f"--dataset {path} is not there; wanted an .npz file with inputs and labels") from None
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, InputError):
            raise
        problem = " ".join(str(error).split())[:100]
        raise InputError(
            f"--dataset {path} is not readable ({problem}); wanted an .npz file with inputs and labels"
        ) from None
