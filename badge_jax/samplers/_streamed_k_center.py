"""Furthest-first traversal of a pool that is read in tiles."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.rows import Points, Rows, as_points, blocks_of, nearest_center
from badge_jax.samplers.k_center import choose_furthest
from badge_jax.samplers.lazy_greedy import Candidates, Picks, candidates_of
from badge_jax.samplers.streamed import (
    Batch,
    StreamedRows,
    Watch,
    all_squared_norms,
    origin_of,
    padded_centers,
)

CANDIDATES = 2048  # rows held while furthest points are chosen between two passes


def streamed_k_center(
    rows: StreamedRows, k: int, available: np.ndarray, centers: np.ndarray, watch: Watch
) -> Batch:
    """`k_center_greedy` over a pool that is read in tiles, with many picks a pass.

    Distances to the centres only fall as more rows are chosen. After a pass the furthest rows are held in
    memory as candidates. While a candidate is further than every other row was in that pass, it is the furthest
    of all.

    Args:
        rows: `StreamedRows` whose greatest norm is near 1 (see `at_unit_scale`).
        k: how many to choose, 1 ≤ k ≤ n.
        available: [n] bool, rows that may be chosen, at least k.
        centers: [m] int64, rows that are centres from the start; may be empty.
        watch: called with the progress.

    Returns:
        `Batch` of k rows.
    """
    chosen: list[int] = []
    bound = np.where(available, np.float32(np.inf), np.float32(-np.inf))
    fresh, num_passes = np.asarray(centers, np.int64), 0
    if len(fresh) == 0:
        norms = all_squared_norms(rows, watch)
        num_passes = 1
        chosen = [int(np.argmax(np.where(available, norms, -np.inf)))]
        bound[chosen], fresh = -np.inf, np.array(chosen)
    origin, num_distinct = origin_of(rows, available), k
    while len(chosen) < k:
        bound = _lower(bound, rows, fresh, origin, partial(watch, f"pass {num_passes + 1}"))
        num_passes += 1
        if np.isnan(bound).any():
            raise ValueError("some rows are not finite")
        if bound.max() <= 0:  # every row left is a copy of a centre: the lowest indices are chosen
            num_distinct = len(chosen)
            chosen += np.flatnonzero(bound == 0)[: k - len(chosen)].tolist()
            break
        fresh = _furthest(rows, bound, min(k, CANDIDATES))[: k - len(chosen)]
        bound[fresh] = -np.inf
        chosen += fresh.tolist()
        watch("choosing", len(chosen), k)
    return Batch(np.asarray(chosen, np.int32), num_passes, num_distinct)


def _lower(
    bound: np.ndarray, rows: StreamedRows, fresh: np.ndarray, origin: jax.Array, watch: Callable
) -> np.ndarray:
    """min(bound, squared distance to the nearest of the rows ``fresh``), in one pass: [n] float32."""
    block = min(rows.num_rows, 64)
    centers, lowered = padded_centers(rows, fresh, block), bound.copy()
    for start in rows.starts:
        stop = start + rows.tile
        watch(stop, rows.num_rows)
        tile_bound = jnp.asarray(bound[start:stop])
        lowered[start:stop] = _nearest(rows.read(start, stop), tile_bound, centers, len(fresh), origin, block)
    return lowered


def _furthest(rows: StreamedRows, bound: np.ndarray, most: int) -> np.ndarray:
    """The next picks, from 1 to ``most``: as many as the exact distances ``bound`` [n] decide."""
    candidates = _candidates_of(bound, CANDIDATES)
    indices = np.asarray(candidates.indices)
    picks = _choose_furthest(rows.take(indices), candidates, most)
    return indices[np.asarray(picks.places)[: int(picks.number)]]


_candidates_of = jax.jit(candidates_of, static_argnums=1)


@jax.jit
def _choose_furthest(rows: Rows, candidates: Candidates, most: jax.Array) -> Picks:
    return choose_furthest(as_points(rows), candidates, most)


@partial(jax.jit, static_argnames="block")
def _nearest(
    tile: Rows, bound: jax.Array, centers: Points, count: jax.Array, origin: jax.Array, block: int
) -> jax.Array:
    return nearest_center(as_points(tile), blocks_of(centers, block, count, origin), bound)
