"""Pools whose rows lie on several devices.

A sampler is written once, for the rows that one device holds. What it must know of the others it asks of a
`Shards`: a few rows by their numbers, the greatest of a value, whether something holds for any row. On one
device, `ALONE`, these are plain indexing and reductions. On several, the sampler runs on each of them under
`shard_map`, and they are small collectives. All that decides a pick is the same on every number of devices:
sums over the pool go by whole blocks of the draw, which no two devices share.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

_MOST_DEVICES = 1024
_LEAST_PART = 2048  # rows of a device; on fewer, XLA's code for a CPU rounds sums over a row otherwise
_LEAST_BLOCK = 16  # rows in a block of a draw


@dataclass(frozen=True)
class Shards:
    """How the n rows of a pool lie on devices: in ``count`` equal parts, in order.

    A *part* is what one device holds of an array [n, ...]. Row numbers are those of the whole pool.

    Attributes:
        axis: names of the mesh axes that the rows are spread over; none where all rows lie here.
        count: devices along these axes.
    """

    axis: tuple[str, ...] = ()
    count: int = 1

    @property
    def device(self) -> jax.Array | int:
        """Number of this device among those of the pool."""
        return jax.lax.axis_index(self.axis) if self.axis else 0

    def start(self, part: jax.Array) -> jax.Array | int:
        """Number of the first row held here, from any part [n / count, ...]."""
        return self.device * part.shape[0]

    def take(self, parts: Any, indices: jax.Array) -> Any:
        """The rows at ``indices`` [m] int32 of a pytree of parts: a pytree of [m, ...]."""
        if not self.axis:
            return jax.tree.map(lambda part: part[indices], parts)
        first = jax.tree.leaves(parts)[0]
        return self.owned(
            jax.tree.map(lambda part: part[self.places(first, indices)], parts), self.has(first, indices)
        )

    def places(self, part: jax.Array, indices: jax.Array) -> jax.Array:
        """Where rows of the pool lie in a part; any place for those that it has not: [m] int32."""
        return jnp.clip(indices - self.start(part), 0, part.shape[0] - 1)

    def has(self, part: jax.Array, indices: jax.Array) -> jax.Array:
        """Whether rows of the pool are held here: [m] bool."""
        here = indices - self.start(part)
        return (here >= 0) & (here < part.shape[0])

    def owned(self, values: Any, is_mine: jax.Array) -> Any:
        """What the one device has whose entries are its own, on all devices.

        Args:
            values: pytree of [m, ...].
            is_mine: [m] bool; True on one device at most. Zeros come where it is True on none.
        """
        if not self.axis:
            return values

        def mine(value: jax.Array) -> jax.Array:
            number = value.astype(jnp.int32) if value.dtype == jnp.bool_ else value
            return jnp.where(is_mine.reshape(-1, *[1] * (value.ndim - 1)), number, 0)

        summed = jax.lax.psum(jax.tree.map(mine, values), self.axis)
        return jax.tree.map(lambda total, value: total.astype(value.dtype), summed, values)

    def put(self, part: jax.Array, indices: jax.Array, values: jax.Array | float) -> jax.Array:
        """The part with new ``values`` at the rows ``indices`` [m]; negative indices are dropped."""
        here = jnp.where(self.has(part, indices), indices - self.start(part), part.shape[0])
        return part.at[here].set(values, mode="drop")

    def any(self, part: jax.Array) -> jax.Array:
        """Whether a part [n / count] bool of any device has a True."""
        return self.max(part.astype(jnp.int32)) > 0

    def max(self, part: jax.Array) -> jax.Array:
        """The greatest number of all parts."""
        most = jnp.max(part)
        return jax.lax.pmax(most, self.axis) if self.axis else most

    def number_of(self, mask: jax.Array) -> jax.Array:
        """How many rows a mask has, of all parts: scalar int32."""
        number = jnp.sum(mask, dtype=jnp.int32)
        return jax.lax.psum(number, self.axis) if self.axis else number

    def argmax(self, part: jax.Array) -> jax.Array:
        """Row number of the greatest value, the lowest of equals; a NaN is greater than any number."""
        place = jnp.argmax(part).astype(jnp.int32)
        if not self.axis:
            return place
        here = jnp.where(jnp.isnan(part[place]), jnp.inf, part[place])
        rows, values = self.gathered((place + self.start(part))[None]), self.gathered(here[None])
        return rows[jnp.argmax(values)]

    def top(self, part: jax.Array, m: int) -> jax.Array:
        """Row numbers of the m greatest values, of equal ones the lowest first: [m] int32."""
        # XLA would merge a slice of the result with top_k's own, and then sort all values: fifty times as long
        values, places = jax.lax.top_k(part, min(m, part.shape[0]))
        if not self.axis:
            return jax.lax.optimization_barrier(places)
        # the parts come in the order of their rows, so that equal values do
        rows = self.gathered((places + self.start(part)).astype(jnp.int32))
        return rows[jax.lax.optimization_barrier(jax.lax.top_k(self.gathered(values), m)[1])]

    def gathered(self, part: Any) -> Any:
        """The parts one behind the other, on every device. For what is small."""
        return jax.lax.all_gather(part, self.axis, tiled=True) if self.axis else part

    def listed(self, rows: jax.Array, number: jax.Array) -> "Listed":
        """The list of the first ``number`` of ``rows`` [m] int32 of every device, in the devices' order."""
        return Listed(self, rows, self.gathered(number[None]))

    def marked(self, mask: jax.Array) -> "Listed":
        """The rows that a mask marks, from its parts [n / count], in ascending order."""
        places = jnp.nonzero(mask, size=mask.shape[0], fill_value=0)[0].astype(jnp.int32)
        return self.listed(places + self.start(mask), jnp.sum(mask, dtype=jnp.int32))


ALONE = Shards()
"""All rows lie on one device."""


class Listed(NamedTuple):
    """A list of rows, each device's part behind the other's.

    Attributes:
        shards: how the pool lies on devices.
        rows: [m] int32, the row numbers that this device lists; meaningless from its number on.
        numbers: [count] int32, how many each device lists.
    """

    shards: Shards
    rows: jax.Array
    numbers: jax.Array

    @property
    def number(self) -> jax.Array:
        """How many rows are listed: scalar int32."""
        return jnp.sum(self.numbers, dtype=jnp.int32)

    def at(self, ranks: jax.Array) -> jax.Array:
        """Row numbers at the places ``ranks`` [m] int32 of the list; −1 beyond its end: [m] int32."""
        device = self.shards.device
        here = ranks - (jnp.cumsum(self.numbers) - self.numbers)[device]
        is_mine = (here >= 0) & (here < self.numbers[device])
        rows = jnp.where(is_mine, self.rows[jnp.clip(here, 0, len(self.rows) - 1)], -1)
        return self.shards.owned(rows + 1, is_mine) - 1


def sharding_of_rows(*arrays: jax.Array | NamedSharding | None) -> NamedSharding | None:
    """How the first array lies whose rows are spread over devices; None if none is known to be.

    Known is how arrays lie outside `jax.jit`. Inside it, the types say so if the axes of the mesh are
    `jax.sharding.AxisType.Explicit`. One of the arguments may be a sharding.

    Returns:
        The sharding of the rows, without that of other axes.
    """
    for array in arrays:
        found = _layout_of(array)
        if isinstance(found, NamedSharding) and found.spec and found.spec[0] is not None:
            rows = NamedSharding(found.mesh, P(found.spec[0]))
            if shards_of(rows).count > 1 or _is_explicit(rows):
                return rows
    return None


def _layout_of(array: Any) -> Any:
    """An array's sharding, as far as it is known; of a sharding itself."""
    is_traced = isinstance(array, jax.core.Tracer)
    return jax.typeof(array).sharding if is_traced else getattr(array, "sharding", array)


def shards_of(sharding: NamedSharding) -> Shards:
    """The `Shards` of a pool whose rows lie so."""
    names = sharding.spec[0] if isinstance(sharding.spec[0], tuple) else (sharding.spec[0],)
    return Shards(names, math.prod(sharding.mesh.shape[name] for name in names))


def _is_explicit(sharding: NamedSharding) -> bool:
    """Whether an axis that the rows are spread over is in the types of arrays, which JAX then checks."""
    types = dict(zip(sharding.mesh.axis_names, sharding.mesh.axis_types, strict=True))
    return any(types[name] == AxisType.Explicit for name in shards_of(sharding).axis)


def on_each_device(
    sharding: NamedSharding | None, function: Callable, whole: Any, parts: Any, *, is_sharded: bool = False
) -> Any:
    """``function(shards, whole, parts)`` on every device of a pool.

    Args:
        sharding: how the pool's rows lie; None: all here.
        function: (`Shards`, whole, parts) -> a pytree.
        whole: pytree of arrays that every device has.
        parts: pytree of arrays [n, ...], of which every device gets its part.
        is_sharded: whether the results are parts too. Else they are the same on every device.
    """
    if sharding is None:
        return function(ALONE, whole, parts)
    place = jax.sharding.reshard if _is_explicit(sharding) else jax.lax.with_sharding_constraint
    call = jax.shard_map(
        partial(function, shards_of(sharding)),
        mesh=sharding.mesh,
        in_specs=(P(), sharding.spec),
        out_specs=sharding.spec if is_sharded else P(),
        check_vma=False,
    )
    return call(whole, jax.tree.map(lambda part: place(part, sharding), parts))


def on_auto_axes(function: Callable, *arguments: Any) -> Any:
    """``function(*arguments)``, where XLA finds out how the devices of a mesh share the work.

    Axes that are `AxisType.Explicit` are `AxisType.Auto` within the function, which then need not say how each
    of its intermediate results lies. Its results lie on every device.
    """
    for array in jax.tree.leaves(arguments):
        found = _layout_of(array)
        if isinstance(found, NamedSharding) and found.mesh.explicit_axes:
            return _on_auto_axes(function, found.mesh, *arguments)
    return function(*arguments)


@partial(jax.jit, static_argnums=(0, 1))
def _on_auto_axes(function: Callable, mesh: Mesh, *arguments: Any) -> Any:
    everywhere = NamedSharding(mesh, P())
    return jax.sharding.auto_axes(function, axes=mesh.axis_names, out_sharding=everywhere)(*arguments)


def default_block(n: int) -> int:
    """Rows in a block of the two-level draw from n rows: the least power of four T ≥ 16 with T² ≥ n.

    The steps are wide, so that a pool and the same pool padded by `shard_pool` have equal blocks.
    """
    block = _LEAST_BLOCK
    while block**2 < n:
        block *= 4
    return block


def can_hold_pool(num_devices: int) -> bool:
    """Whether `shard_pool` takes so many: a power of two, so that blocks and parts divide each other."""
    return num_devices & (num_devices - 1) == 0 and num_devices <= _MOST_DEVICES


def padded_length(n: int, count: int) -> int:
    """Rows that `shard_pool` makes of n, for ``count`` devices."""
    block = default_block(max(n, count * _LEAST_PART))
    return count * max(_LEAST_PART, -(-n // (count * block)) * block)


def shard_pool(arrays: Any, mesh: Mesh, axis: str | None = None) -> tuple[Any, jax.Array]:
    """Spreads a pool's rows over devices, padded with zeros to whole blocks of the samplers' draws.

    From a pool of more than 4096 rows, on up to 32 devices, samplers choose what they choose on one device.
    Only the rows of a process's own devices are read: the arrays may be memory maps of the whole pool.

    Args:
        arrays: pytree of arrays [n, ...], NumPy's or JAX's.
        mesh: of devices.
        axis: name of the mesh axis to spread the rows over; its size is a power of two. None: the only axis.

    Returns:
        arrays: pytree of [N, ...] sharded along their rows, N ≥ n.
        is_row: [N] bool, False for padding. Samplers take it as ``available``.

    Raises:
        ValueError: for a mesh, axis or shapes that do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import dense_rows, lazy_kmeans_plusplus, shard_pool
        >>> mesh = jax.make_mesh((len(jax.devices()),), ("pool",))
        >>> rows, is_row = shard_pool(dense_rows(jnp.arange(100.0)[:, None]), mesh)
        >>> picks = lazy_kmeans_plusplus(jax.random.key(0), rows, 5, available=is_row)
        >>> bool((picks < 100).all())
        True
    """
    if axis is None and len(mesh.axis_names) > 1:
        raise ValueError(f"the mesh has the axes {', '.join(mesh.axis_names)}; wanted one of them as axis")
    axis = mesh.axis_names[0] if axis is None else axis
    if axis not in mesh.axis_names:
        raise ValueError(f"axis is {axis!r}; wanted one of {', '.join(mesh.axis_names)}")
    count, lengths = mesh.shape[axis], {len(array) for array in jax.tree.leaves(arrays)}
    if not can_hold_pool(count):
        raise ValueError(f"mesh axis {axis!r} has {count} devices; wanted 1, 2, 4, 8 or another power of two")
    if len(lengths) != 1:
        raise ValueError(f"the arrays have {sorted(lengths)} rows; wanted the same number")
    n = lengths.pop()
    padded = padded_length(n, count)

    def spread(array: Any) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            start, stop, _ = index[0].indices(padded) if index else (0, padded, 1)
            rows = np.asarray(array[start : min(stop, n)])
            return np.pad(rows, [(0, stop - start - len(rows)), *[(0, 0)] * (rows.ndim - 1)])

        sharding = NamedSharding(mesh, P(axis))
        return jax.make_array_from_callback((padded, *array.shape[1:]), sharding, part)

    return jax.tree.map(spread, arrays), spread(np.ones(n, bool))
