"""Where the arrays of a run lie: on one device, or on those of several processes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.stages import Wrapped

from badge_jax.shards import padded_length, shard_pool


@dataclass(frozen=True)
class Place:
    """Puts arrays where a run's programs want them.

    Attributes:
        mesh: devices that share the run, along an axis ``pool``; None for one device.
    """

    mesh: Mesh | None = None

    @property
    def rows(self) -> NamedSharding | None:
        """How an array lies whose rows the devices share."""
        return None if self.mesh is None else NamedSharding(self.mesh, P("pool"))

    @property
    def everywhere(self) -> NamedSharding | None:
        """How an array lies that all devices have."""
        return None if self.mesh is None else NamedSharding(self.mesh, P())

    @property
    def count(self) -> int:
        """Devices that share the run."""
        return 1 if self.mesh is None else self.mesh.size

    def num_rows(self, n: int) -> int:
        """Rows that an array of n has here, padding included."""
        return n if self.mesh is None else padded_length(n, self.count)

    def jit(self, function: Callable) -> Wrapped:
        """Compiled; what it returns lies everywhere."""
        return jax.jit(function) if self.mesh is None else jax.jit(function, out_shardings=self.everywhere)

    def key(self, seed: int) -> jax.Array:
        """The random key of a seed below 2³²."""
        return jax.random.key(seed) if self.mesh is None else self.jit(jax.random.key)(np.uint32(seed))

    def spread(self, array: np.ndarray) -> jax.Array:
        """An array [n, ...] with its rows shared by the devices, and padded with zeros."""
        if self.mesh is None:  # data that are mapped into memory are shared by all processes of a sweep
            return jax.device_put(array, may_alias=True)
        return shard_pool(array, self.mesh)[0]

    def labels(self, labels: np.ndarray) -> jax.Array:
        """Labels [n] of rows that are spread: everywhere, and −1 for padding."""
        padding = self.num_rows(len(labels)) - len(labels)
        return self.repeat(np.pad(labels, (0, padding), constant_values=-1))

    def repeat(self, arrays: Any) -> Any:
        """A pytree of arrays, everywhere. They are the same in all processes."""
        if (everywhere := self.everywhere) is None:
            return arrays

        def repeat(array: Any) -> jax.Array:
            array = np.asarray(array)
            return jax.make_array_from_callback(array.shape, everywhere, lambda index: array[index])

        return jax.tree.map(repeat, arrays)

    def spread_shape(self, shape: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        """What `spread` makes of an array of this shape."""
        n, *width = shape.shape
        return jax.ShapeDtypeStruct((self.num_rows(n), *width), shape.dtype, sharding=self.rows)

    def repeated_shapes(self, shapes: Any) -> Any:
        """What `repeat` makes of a pytree of arrays of these shapes."""
        return jax.tree.map(
            lambda shape: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=self.everywhere), shapes
        )
