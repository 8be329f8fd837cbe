"""A strategy's state as arrays for a file, and back."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.errors import InputError


def to_arrays(state: Any) -> list[np.ndarray]:
    """The arrays of a strategy's state. Typed keys as their data, and dtypes that NumPy does not know, such as
    bfloat16, as their bits."""
    leaves = jax.tree.leaves(state)
    arrays = [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in leaves]
    return [a if a.dtype.isbuiltin == 1 else a.view(f"u{a.dtype.itemsize}") for a in arrays]


def from_arrays(state: Any, arrays: list[np.ndarray], out: Path) -> Any:
    """``state`` with these arrays. Raises InputError unless they are of its shapes and dtypes."""
    leaves, treedef = jax.tree.flatten(state)
    wanted = [(leaf.shape, leaf.dtype) for leaf in to_arrays(state)]
    if wanted != [(array.shape, array.dtype) for array in arrays]:
        raise InputError(
            f"--out {out} is damaged: state.npz does not hold a state of this strategy; give another folder"
        )
    restored = [
        jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else jnp.asarray(array if array.dtype == leaf.dtype else array.view(leaf.dtype))
        for leaf, array in zip(leaves, arrays, strict=True)
    ]
    return jax.tree.unflatten(treedef, restored)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
