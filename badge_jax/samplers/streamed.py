"""Rows that are read in tiles, from a disk, or from memory in their own dtype.

Tiles, their order and every computation depend on (n, c, d) alone, so the picks do not depend on where the rows
are.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.rows import (
    Points,
    Rows,
    as_points,
    blocks_of,
    middle,
    nearest_place,
    sample_places,
    squared_distances,
    tiles,
)

_TILE_ENTRIES = 2**23  # entries of a tile, as float32: 32 MiB

Watch = Callable[[str, int, int], None]
"""Called with the progress: the name of the stage, how much of it is done, and how much there is in all."""


class StreamedRows(NamedTuple):
    """An embedding of n rows that is read part by part.

    Attributes:
        num_rows: n.
        num_left: c, entries of a left factor.
        num_right: d, entries of a right factor.
        read: (start, stop) -> `Rows` from start up to, but not including, stop.
        take: indices [m] -> `Rows` [m] at these, in that order.
    """

    num_rows: int
    num_left: int
    num_right: int
    read: Callable[[int, int], Rows]
    take: Callable[[np.ndarray], Rows]

    @property
    def tile(self) -> int:
        """Rows in a tile."""
        return tile_size(self.num_rows, self.num_left + self.num_right)

    @property
    def starts(self) -> list[int]:
        """Where each tile starts."""
        return tiles(self.num_rows, self.tile)


class Batch(NamedTuple):
    """The rows that a sampler chose.

    Attributes:
        indices: [k] int32, in the order chosen.
        num_passes: passes made over the pool.
        num_distinct: how many were chosen before every row left was a copy of a centre; k if that did not
            happen.
    """

    indices: np.ndarray
    num_passes: int
    num_distinct: int


def tile_size(n: int, num_columns: int) -> int:
    """Rows in a tile of a pool of ``n`` rows and ``num_columns`` columns."""
    return min(n, max(1024, _TILE_ENTRIES // num_columns))


def all_squared_norms(rows: StreamedRows, watch: Watch) -> np.ndarray:
    """Squared norms of all rows, in one pass: [n] float32."""
    norms = np.empty(rows.num_rows, np.float32)
    for start in rows.starts:
        stop = start + rows.tile
        watch("norms", stop, rows.num_rows)
        norms[start:stop] = _squared_norms(
            rows.read(start, stop)
        )  # no name holds the tile, so only one is in memory
    return norms


def origin_of(rows: StreamedRows, counted: np.ndarray) -> jax.Array:
    """The `middle` of a sample of the rows ``counted`` [n] bool, at least one: [d] float32."""
    indices = np.flatnonzero(counted)
    return _middle(rows.take(indices[np.asarray(sample_places(len(indices)))]))


def padded_centers(rows: StreamedRows, indices: np.ndarray, block: int) -> Points:
    """The rows at ``indices`` as `Points`, padded to whole blocks.

    The number of blocks is a power of two, so that few programs are compiled.

    Args:
        rows: `StreamedRows`.
        indices: [m] int, row numbers.
        block: centres in a block.

    Returns:
        `Points`; the first m of them count.
    """
    num_blocks = 2 ** int(np.ceil(np.log2(max(1, -(-len(indices) // block)))))
    padded = np.zeros(num_blocks * block, np.int64)
    padded[: len(indices)] = indices
    parts = [_as_points(rows.take(part)) for part in padded.reshape(num_blocks, block)]
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)


def nearest_pick(rows: StreamedRows, picks: np.ndarray, watch: Watch) -> np.ndarray:
    """Which pick is nearest to each row, the first of equals, in one pass.

    Args:
        rows: `StreamedRows` of n rows.
        picks: [k] int64, row numbers.
        watch: called with the progress.

    Returns:
        [n] int32, places in ``picks``.
    """
    origin = origin_of(rows, np.ones(rows.num_rows, bool))
    centers = padded_centers(rows, picks, _BLOCK)
    nearest = np.empty(rows.num_rows, np.int32)
    for start in rows.starts:
        stop = start + rows.tile
        watch("assigning", stop, rows.num_rows)
        nearest[start:stop] = _nearest_place(rows.read(start, stop), centers, len(picks), origin)
    return nearest


def distances_when_chosen(rows: StreamedRows, picks: np.ndarray) -> np.ndarray:
    """Squared distance of each pick to the nearest pick before it, ∞ for the first: [k] float32."""
    origin = origin_of(rows, np.isin(np.arange(rows.num_rows), picks))
    block = min(len(picks), 1024)
    centers, distances = padded_centers(rows, picks, block), np.empty(len(picks), np.float32)
    for start in range(0, len(picks), block):
        distances[start : start + block] = _nearest_before(centers, start, block, origin)[: len(picks) - start]
    return distances


def time_of_a_pass(rows: StreamedRows) -> tuple[float, float]:
    """Estimates the time of a pass over the pool from one tile.

    Args:
        rows: `StreamedRows`; the first tile is read.

    Returns:
        Seconds of a pass that computes distances to one block of centres, and seconds of one distance.
    """
    count = min(_BLOCK, rows.num_rows)
    centers, origin = padded_centers(rows, np.arange(count), _BLOCK), origin_of(rows, np.ones(count, bool))
    for _ in range(2):  # the first compiles
        start = time.perf_counter()
        tile = jax.block_until_ready(rows.read(0, rows.tile))
        after_reading = time.perf_counter()
        _nearest_place(tile, centers, count, origin).block_until_ready()
        end = time.perf_counter()
    return (end - start) * len(rows.starts), (end - after_reading) / (_BLOCK * rows.tile)


_BLOCK = 64  # centres in one matrix product
_squared_norms = jax.jit(lambda rows: rows.squared_norms)
_as_points = jax.jit(as_points)
_middle = jax.jit(middle)


@jax.jit
def _nearest_place(tile: Rows, centers: Points, count: jax.Array, origin: jax.Array) -> jax.Array:
    return nearest_place(as_points(tile), blocks_of(centers, _BLOCK, count, origin))[0]


@partial(jax.jit, static_argnames="block")
def _nearest_before(centers: Points, start: jax.Array, block: int, origin: jax.Array) -> jax.Array:
    """Squared distance of each of ``block`` centres, from ``start`` on, to the nearest before it: [block]."""
    part = centers.block(start, block)
    is_earlier = jnp.arange(len(centers))[None, :] < start + jnp.arange(block)[:, None]
    distances = squared_distances(part, centers, is_earlier, origin)
    return jnp.min(distances, axis=1, where=is_earlier, initial=jnp.inf)
