"""k-means++ seeding of a pool that is read in tiles. A pass skips tiles in which no bound can be lowered."""

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.samplers.rejection import (
    Seeding,
    Sizes,
    fold_tile,
    jitted_accept,
    jitted_draw_first,
    jitted_finish_fold,
    jitted_propose,
    jitted_start,
    make_sizes,
    tiles_that_matter,
)
from badge_jax.samplers.streamed import Batch, StreamedRows, Watch, all_squared_norms, origin_of


def streamed_kmeans_plusplus(
    key: jax.Array, rows: StreamedRows, k: int, available: np.ndarray, first: str, watch: Watch
) -> Batch:
    """`lazy_kmeans_plusplus` over a pool that is read in tiles.

    Args:
        key: typed PRNG key.
        rows: `StreamedRows` whose greatest norm is near 1 (see `at_unit_scale`).
        k: how many to choose, 1 ≤ k ≤ n.
        available: [n] bool, rows that may be chosen, at least k.
        first: the law of the first row, as in `kmeans_plusplus`.
        watch: called with the progress.

    Returns:
        `Batch` of k rows.

    Raises:
        ValueError: if an available row is not finite.
    """
    sizes, free = _sizes_of(rows), jnp.asarray(available)
    norms, num_passes = np.ones(rows.num_rows, np.float32), 0
    if first != "uniform":
        norms, num_passes = all_squared_norms(rows, watch), 1
    index = jitted_draw_first(key, norms, free, first)
    # as many copies as there are proposals: a batch then needs no other program
    first_rows = rows.take(np.full(sizes.proposals, index))
    state = jitted_start(first_rows, index, free, k, len(rows.starts), sizes, origin_of(rows, available))
    num_distinct = k
    while int(state.num_chosen) < k:
        state = _fold(state, rows, free, sizes, watch, num_passes)
        num_passes += 1
        if not np.isfinite(np.asarray(state.totals)[-1]):
            raise ValueError("some available rows are not finite")
        if bool(state.is_flat):
            num_distinct = min(num_distinct, int(state.num_chosen))
        is_due = False
        while int(state.num_chosen) < k and not is_due:
            proposals = jitted_propose(key, state, sizes)
            candidates = rows.take(np.asarray(proposals.indices))
            state, is_due = jitted_accept(state, proposals, candidates, k, sizes)
            watch("choosing", int(state.num_chosen), k)
    return Batch(np.asarray(state.chosen)[:k], num_passes, num_distinct)


def _sizes_of(rows: StreamedRows) -> Sizes:
    return make_sizes(rows.num_rows, rows.num_left, rows.num_right)._replace(stride=rows.tile)


def _fold(
    state: Seeding, rows: StreamedRows, free: jax.Array, sizes: Sizes, watch: Watch, num_passes: int
) -> Seeding:
    """Folds the pending centres, tile by tile, in one pass."""
    tile, starts = rows.tile, rows.starts
    bound, extents = np.array(state.bound), jax.tree.map(np.array, state.extents)
    if not bool(state.is_flat):
        # before the first pass, no tile has an extent
        matters = tiles_that_matter(state) if int(state.num_chosen) > 1 else np.ones(len(starts), bool)
        for i in np.flatnonzero(matters):
            start = starts[i]
            watch(f"pass {num_passes + 1}", start + tile, rows.num_rows)
            lowered, extent = fold_tile(
                state, rows.read(start, start + tile), bound[start : start + tile], sizes
            )
            bound[start : start + tile] = lowered
            for part, value in zip(extents, extent, strict=True):
                part[i] = value[0]
    state = state._replace(bound=jnp.asarray(bound))
    return jitted_finish_fold(state, free, extents, sizes)
