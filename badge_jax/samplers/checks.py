"""Checks of the arguments that all samplers share, at trace time."""

import math
from typing import TypeGuard

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from badge_jax.shards import shards_of


def check_count(k: int, n: int) -> None:
    """Raises ValueError unless ``k`` is a Python int with 1 ≤ k ≤ n."""
    if not isinstance(k, int) or isinstance(k, bool):
        raise ValueError(f"k is {k!r}; wanted a Python int")
    if not 1 <= k <= n:
        raise ValueError(f"k = {k} rows asked of a pool of {n}; wanted 1 to {n}")


def check_blocks(n: int, block: int, sharding: NamedSharding | None) -> None:
    """Raises ValueError unless each device of a sharded pool of n rows holds whole blocks of ``block`` rows."""
    if sharding is None:
        return
    count = shards_of(sharding).count
    if n % (count * block):
        raise ValueError(
            f"a pool of {n} rows lies on {count} devices; wanted a multiple of {count * block} rows, to which "
            "shard_pool pads it"
        )


def is_count(value: object) -> bool:
    """Whether ``value`` is a Python int of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite Python int or float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_number(name: str, value: object, least: float, most: float, *, or_else: str | None = None) -> None:
    """Raises ValueError unless an option's ``value`` is a number from ``least`` to ``most``, or ``or_else``."""
    if or_else is not None and value == or_else:
        return
    if not (is_number(value) and least <= value <= most):
        other = "" if or_else is None else f", or {or_else!r}"
        raise ValueError(f"{name} is {value!r}; wanted a number from {least:g} to {most:g}{other}")


def availability(available: jax.Array | None, n: int) -> jax.Array:
    """The mask of the rows that may be chosen.

    Args:
        available: [n] bool. None: all rows.
        n: rows of the pool.

    Returns:
        [n] bool.

    Raises:
        ValueError: if ``available`` has another shape or dtype.
    """
    if available is None:
        return jnp.ones(n, bool)
    if available.shape != (n,) or available.dtype != jnp.bool_:
        raise ValueError(
            f"available is {available.dtype} of shape {available.shape}; wanted bool of shape ({n},)"
        )
    return jnp.asarray(available)
