"""k-means++ seeding of a pool in memory: a loop on the device over the steps of `rejection`."""

from functools import partial

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    Rows,
    at_unit_scale,
    check_rows,
    middle_of,
    upper_bounds_to_row,
)
from badge_jax.samplers._kmeans_plusplus import check_first, draw_first
from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.rejection import (
    Seeding,
    Sizes,
    accept,
    centers_that_matter,
    extent_of,
    fold_rows,
    is_fold_due,
    make_sizes,
    propose,
    sample_extents,
    start_seeding,
    with_sums,
    without_pending,
)


@partial(jax.jit, static_argnames=("k", "first", "_sizes"))
def lazy_kmeans_plusplus(
    key: jax.Array,
    rows: Rows,
    k: int,
    *,
    available: jax.Array | None = None,
    first: str = "uniform",
    _sizes: Sizes | None = None,
) -> jax.Array:
    """k-means++ seeding with the law of `kmeans_plusplus`, in a few passes over the pool.

    Each next row is drawn with probability proportional to D²(x), the squared distance to the nearest row
    chosen so far. For the same key the picks differ from those of `kmeans_plusplus`; their law is the same. No
    row is chosen twice. If every D² is 0, the draw is uniform over the rows still available. The first j rows
    equal the result for ``k = j``. Memory beyond the pool: about 10n numbers, the rows of
    min(k, capacity) centres (256 MiB at most), and one block.

    Args:
        key: typed PRNG key.
        rows: `Rows` of n embeddings, float32.
        k: how many to choose, 1 ≤ k ≤ n.
        available: [n] bool, rows that may be chosen; others are neither candidates nor centres. None: all rows.
        first: the law of the first row, "uniform", "max_norm" or "norm", as in `kmeans_plusplus`.

    Returns:
        [k] int32, in the order drawn. −1 for the surplus where fewer than k rows are available, and from the
        first draw in which a distance is not finite.

    Raises:
        ValueError: if a shape, ``k`` or ``first`` is not as described.

    References:
        The law: Arthur and Vassilvitskii, SODA 2007. Proposals and rejection: see the docstring of this
        module.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import dense_rows, lazy_kmeans_plusplus
        >>> rows = dense_rows(jnp.array([[0.0], [0.0], [1.0], [1.0]]))  # two points, each twice
        >>> sorted(rows.right[lazy_kmeans_plusplus(jax.random.key(0), rows, 2), 0].tolist())
        [0.0, 1.0]
    """
    check_rows(rows)
    n, c, d = rows.left.shape[0], rows.left.shape[1], rows.right.shape[1]
    check_count(k, n)
    check_first(first)
    sizes = make_sizes(n, c, d) if _sizes is None else _sizes
    free = availability(available, n)
    points = at_unit_scale(rows, free)
    norms = points.squared_norms
    order = jnp.argsort(norms)  # of the rows in a fold
    wanted = jnp.minimum(k, jnp.sum(free))

    def is_unfinished(state: Seeding) -> jax.Array:
        # a total that is not finite means rows that are not: there is no law to draw from
        return (state.num_chosen < wanted) & jnp.isfinite(state.totals[-1])

    def test_batch(state: Seeding) -> Seeding:
        proposals = propose(jax.random.fold_in(key, 1 + state.num_batches), state, sizes)
        return accept(state, proposals, points[proposals.indices], wanted, sizes)

    def fold(state: Seeding) -> jax.Array:
        is_left = state.bound[order] > 0  # the rows drawn since, often the longest ones, need no bound
        left = order[jnp.nonzero(is_left, size=n, fill_value=n - 1)[0]]
        num_blocks = (jnp.sum(is_left, dtype=jnp.int32) + sizes.row_block - 1) // sizes.row_block

        def fold_one(block: jax.Array, bound: jax.Array) -> jax.Array:
            first = jnp.minimum(block * sizes.row_block, n - sizes.row_block)
            indices = jax.lax.dynamic_slice_in_dim(left, first, sizes.row_block)
            block_bound = bound[indices]
            block_bound = jax.lax.cond(
                jnp.any(centers_that_matter(state, extent_of(norms[indices], block_bound))),
                lambda: fold_rows(state, points[indices], block_bound, sizes),
                lambda: block_bound,
            )
            return bound.at[indices].set(block_bound)

        return jax.lax.fori_loop(0, num_blocks, fold_one, state.bound)

    def draw_and_fold(state: Seeding) -> Seeding:
        state = state._replace(extents=sample_extents(norms, state.bound, sizes))
        state = with_sums(state, free, sizes)
        state = jax.lax.while_loop(lambda s: is_unfinished(s) & ~is_fold_due(s, n, sizes), test_batch, state)
        # a fold is useless once the picks are complete or every distance is 0
        is_useful = is_unfinished(state) & ~state.is_flat
        bound = jax.lax.cond(is_useful, fold, lambda state: state.bound, state)
        return without_pending(state._replace(bound=bound))

    index = draw_first(jax.random.fold_in(key, 0), norms, free, first)
    state = start_seeding(points[index[None]], index, k, n, sizes.sample, sizes, middle_of(points, free))
    # the first centre stays pending: a bound that is only near its distances costs half a pass
    bound = jnp.where(free, upper_bounds_to_row(points, index), 0.0).at[index].set(0.0)
    state = jax.lax.while_loop(is_unfinished, draw_and_fold, state._replace(bound=bound))
    return jnp.where(jnp.arange(k) < state.num_chosen, state.chosen[:k], -1)
