"""k-means++ seeding of a pool in memory: a loop on the device over the steps of `rejection`."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from badge_jax.rows import (
    Rows,
    at_unit_scale,
    check_rows,
    middle_of,
    upper_bounds_to_row,
)
from badge_jax.samplers._kmeans_plusplus import check_first, draw_first
from badge_jax.samplers.checks import availability, check_blocks, check_count
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
    sample_places,
    start_seeding,
    with_sums,
    without_pending,
)
from badge_jax.shards import Shards, on_each_device, sharding_of_rows


def lazy_kmeans_plusplus(
    key: jax.Array,
    rows: Rows,
    k: int,
    *,
    available: jax.Array | None = None,
    first: str = "uniform",
    sharding: NamedSharding | None = None,
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
        sharding: how the rows lie on devices, if not as the arrays say; see `shard_pool`.

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
    n, c, d = len(rows), rows.left.shape[1], rows.right.shape[1]
    check_count(k, n)
    check_first(first)
    sizes = make_sizes(n, c, d) if _sizes is None else _sizes
    sharding = sharding_of_rows(sharding, rows.left, rows.right)
    check_blocks(n, sizes.draw_block, sharding)
    return _drawn(key, rows, availability(available, n), k, first, sizes, sharding)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _drawn(
    key: jax.Array,
    rows: Rows,
    free: jax.Array,
    k: int,
    first: str,
    sizes: Sizes,
    sharding: NamedSharding | None,
) -> jax.Array:
    choose = partial(_drawn_here, k=k, first=first, sizes=sizes)
    return on_each_device(sharding, choose, key, (rows, free))


def _drawn_here(
    shards: Shards, key: jax.Array, parts: tuple[Rows, jax.Array], k: int, first: str, sizes: Sizes
) -> jax.Array:
    """`lazy_kmeans_plusplus` on each device, from its part of the rows and of those that are free."""
    rows, free = parts
    points = at_unit_scale(rows, free, shards)
    n, norms = len(points), points.squared_norms
    row_block = min(sizes.row_block, n)
    order = jnp.argsort(norms)  # of the rows in a fold
    wanted = jnp.minimum(k, shards.number_of(free))

    def is_unfinished(state: Seeding) -> jax.Array:
        # a total that is not finite means rows that are not: there is no law to draw from
        return (state.num_chosen < wanted) & jnp.isfinite(state.totals[-1])

    def test_batch(state: Seeding) -> Seeding:
        proposals = propose(jax.random.fold_in(key, 1 + state.num_batches), state, sizes, shards)
        return accept(state, proposals, points[proposals.indices], wanted, sizes, shards)

    def fold(state: Seeding) -> jax.Array:
        is_left = state.bound[order] > 0  # the rows drawn since, often the longest ones, need no bound
        left = order[jnp.nonzero(is_left, size=n, fill_value=n - 1)[0]]
        num_blocks = (jnp.sum(is_left, dtype=jnp.int32) + row_block - 1) // row_block

        def fold_one(block: jax.Array, bound: jax.Array) -> jax.Array:
            first = jnp.minimum(block * row_block, n - row_block)
            places = jax.lax.dynamic_slice_in_dim(left, first, row_block)
            block_bound = bound[places]
            block_bound = jax.lax.cond(
                jnp.any(centers_that_matter(state, extent_of(norms[places], block_bound))),
                lambda: fold_rows(state, points.here(places), block_bound, sizes),
                lambda: block_bound,
            )
            return bound.at[places].set(block_bound)

        return jax.lax.fori_loop(0, num_blocks, fold_one, state.bound)

    def draw_and_fold(state: Seeding) -> Seeding:
        state = state._replace(extents=sample_extents(norms, state.bound, sizes, shards))
        state = with_sums(state, free, sizes, shards)
        state = jax.lax.while_loop(lambda s: is_unfinished(s) & ~is_fold_due(s, sizes), test_batch, state)
        # a fold is useless once the picks are complete or every distance is 0
        is_useful = is_unfinished(state) & ~state.is_flat
        bound = jax.lax.cond(is_useful, fold, lambda state: state.bound, state)
        return without_pending(state._replace(bound=bound))

    index = draw_first(jax.random.fold_in(key, 0), norms, free, first, shards=shards)
    num_extents, origin = len(sample_places(n * shards.count, sizes)), middle_of(points, free)
    state = start_seeding(points[index[None]], index, k, free, num_extents, sizes, origin, shards)
    # the first centre stays pending: a bound that is only near its distances costs half a pass
    bound = jnp.where(free, upper_bounds_to_row(points, index), 0.0)
    bound = shards.put(bound, index[None], 0.0)
    state = jax.lax.while_loop(is_unfinished, draw_and_fold, state._replace(bound=bound))
    return jnp.where(jnp.arange(k) < state.num_chosen, state.chosen[:k], -1)
