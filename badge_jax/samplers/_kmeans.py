"""k-means clustering: Lloyd's iterations or mini-batches, from k-means++ seeds, in tiles of rows."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import (
    HIGHEST,
    PoolPoints,
    Rows,
    as_points,
    at_unit_scale,
    blocks_of,
    dense_rows,
    middle_of,
    nearest_place,
)
from badge_jax.samplers._lazy_kmeans_plusplus import lazy_kmeans_plusplus
from badge_jax.samplers.checks import is_count
from badge_jax.samplers.draw import shuffled

_BATCH = 5000  # rows in a mini-batch, where the caller leaves the choice to us
_MOST_WORK = 1e13  # n·K·d above which an iteration over all rows is too long
_CENTERS = 256  # centres in one matrix product
_ROWS = 1024  # rows in one matrix product
_SORTED_ROWS = 128  # rows of neighbouring clusters whose sums are one matrix product
_MOVERS = 64  # least number of centres that all rows are compared with in every iteration


class Clusters(NamedTuple):
    """A partition of n rows.

    Attributes:
        centers: [K, d] float32; 0 for a cluster that does not exist.
        assignment: [n] int32, the number of each row's cluster; −1 for a row that is in none.
        sizes: [K] int32, rows in each cluster; may be 0.
    """

    centers: jax.Array
    assignment: jax.Array
    sizes: jax.Array


@partial(jax.jit, static_argnames=("max_clusters", "batch"))
def kmeans(
    key: jax.Array,
    points: jax.Array,
    max_clusters: int,
    *,
    num_clusters: jax.Array | int | None = None,
    weights: jax.Array | None = None,
    num_iters: jax.Array | int = 100,
    tolerance: float = 1e-4,
    batch: int | None = None,
) -> Clusters:
    """k-means clustering: lowers Σ_i w_i ‖x_i − nearest centre‖², from k-means++ seeds.

    Lloyd's iterations: every row goes to its nearest centre, then every centre to the weighted mean of its
    rows. They end when Σ ‖shift of a centre‖² ≤ ``tolerance`` · the mean variance of a feature, as in
    scikit-learn, or after ``num_iters``. A cluster that loses all its rows keeps its centre. Ties go to the
    lower cluster. Sums are taken in a fixed order, so on the same device a call repeats to the last bit.

    Few distances are computed anew. The distance to the second nearest centre falls by no more than centres
    move, so a row that is well inside its cluster stays there. The centres that moved most are compared with
    all rows. This changes the result by no more than rounding does.

    With ``batch``, every iteration is a pass over the rows in random batches. After each batch a centre is the
    mean of all rows that it was nearest to so far. Iterations then end when a pass lowers the mean squared
    distance by a share of less than 10 · ``tolerance``.

    Args:
        key: typed PRNG key.
        points: [n, d] float32.
        max_clusters: K, the number of clusters, and of rows in the result; 1 ≤ K ≤ n.
        num_clusters: scalar int, at most K, how many clusters to make; may be traced. Others do not exist.
            None: K. There are no more clusters than rows of positive weight.
        weights: [n] float32. Rows of weight 0 are left out, and need not be finite. Seeds are drawn without
            weights from the others. None: 1 for all rows.
        num_iters: most iterations; 0 gives the seeds.
        tolerance: when to end, see above.
        batch: rows in a mini-batch; n or more: Lloyd's iterations. None: Lloyd's iterations up to
            n·K·d = 10¹³, else 5,000.

    Returns:
        `Clusters`. Every row of positive weight is assigned to the nearest centre. Clusters may be empty, for
        instance where there are fewer distinct rows than clusters.

    Raises:
        ValueError: for shapes, dtypes or numbers that are not as described.

    References:
        Lloyd 1982. Seeds: Arthur and Vassilvitskii, SODA 2007. Bounds on the second nearest centre: Hamerly,
        SDM 2010. Mini-batches: Sculley, WWW 2010.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import kmeans
        >>> line = jnp.array([[0.0], [1.0], [8.0], [9.0], [50.0]])
        >>> clusters = kmeans(jax.random.key(0), line, 2, weights=jnp.array([1.0, 1.0, 1.0, 1.0, 0.0]))
        >>> sorted(clusters.centers[:, 0].tolist()), clusters.sizes.tolist()
        ([0.5, 8.5], [2, 2])
        >>> int(clusters.assignment[4])
        -1
    """
    weights = _check(points, max_clusters, weights, batch)
    n, d = points.shape
    counted = weights > 0
    seed_key, batch_key = jax.random.split(key)
    rows = dense_rows(points)
    seeds = lazy_kmeans_plusplus(seed_key, rows, max_clusters, available=counted)
    count = jnp.sum(seeds >= 0, dtype=jnp.int32)
    if num_clusters is not None:
        count = jnp.clip(jnp.asarray(num_clusters, jnp.int32), 0, count)

    scaled = at_unit_scale(rows, counted)
    pool = _Pool(scaled, middle_of(scaled, counted), jnp.where(counted, weights, 0.0))
    block = min(max_clusters, _CENTERS)
    centers = jnp.pad(pool.at(seeds), ((0, -max_clusters % block), (0, 0)))
    if batch is None:
        batch = n if n * max_clusters * d <= _MOST_WORK else _BATCH
    if batch >= n:
        centers = _by_lloyd(pool, centers, count, num_iters, tolerance)
    else:
        centers = _by_batches(batch_key, pool, centers, count, batch, num_iters, tolerance)

    exists = jnp.arange(len(centers)) < count
    centers = (centers + pool.origin[None, :]) / scaled.scales[0] / scaled.scales[1]
    centers = jnp.where(exists[:, None], centers, 0.0)
    # with the factors of the rows, so that a copy of a row is at distance 0
    left = jnp.full((len(centers), 1), scaled.scales[0] * scaled.scales[1])
    blocks = blocks_of(as_points(Rows(left, centers)), block, count, pool.origin)
    place = nearest_place(scaled, blocks)[0]
    assignment = jnp.where(counted & (count > 0), place, -1)
    places = jnp.where(assignment >= 0, assignment, max_clusters)
    sizes = jnp.zeros(max_clusters, jnp.int32).at[places].add(1, mode="drop")
    return Clusters(centers[:max_clusters], assignment, sizes)


def _check(points: jax.Array, max_clusters: int, weights: jax.Array | None, batch: int | None) -> jax.Array:
    """The weights [n] float32. Raises ValueError for what is not as `kmeans` describes."""
    if points.ndim != 2 or points.dtype != jnp.float32:
        raise ValueError(f"points are {points.dtype} of shape {points.shape}; wanted float32 [n, d]")
    n = points.shape[0]
    if not is_count(max_clusters) or max_clusters > n:
        raise ValueError(f"max_clusters is {max_clusters!r}; wanted 1 to {n}, the number of points")
    if batch is not None and not is_count(batch):
        raise ValueError(f"batch is {batch!r}; wanted 1 or more")
    if weights is None:
        return jnp.ones(n, jnp.float32)
    if weights.shape != (n,) or weights.dtype != jnp.float32:
        raise ValueError(f"weights are {weights.dtype} of shape {weights.shape}; wanted float32 [{n}]")
    return weights


class _Pool(NamedTuple):
    """The rows as the iterations see them: at unit scale and from their middle, so that products keep digits.

    Attributes:
        points: `PoolPoints` [n].
        origin: [d] float32, the middle.
        weights: [n] float32; 0 for rows that are left out.
    """

    points: PoolPoints
    origin: jax.Array
    weights: jax.Array

    def at(self, indices: jax.Array) -> jax.Array:
        """The rows at ``indices`` [m]: [m, d] float32; 0 for rows that are left out, which may be anything."""
        rows = self.points[indices].rows
        is_row = self.weights[indices] > 0
        return jnp.where(is_row[:, None], rows.left * rows.right - self.origin[None, :], 0.0)

    def block(self, first: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
        """The ``size`` rows from ``first`` on, as `at` gives them, and their weights [size]."""
        rows = self.points.block(first, size).rows
        weights = jax.lax.dynamic_slice_in_dim(self.weights, first, size)
        seen = jnp.where(weights[:, None] > 0, rows.left * rows.right - self.origin[None, :], 0.0)
        return seen, weights


class _Lloyd(NamedTuple):
    """The state of Lloyd's iterations.

    Attributes:
        centers: [K, d] float32.
        assignment: [n] int32, each row's cluster; −1 before the first iteration.
        beyond: [n] float32, no more than the distance from a row to any centre but its own.
        moves: [K] float32, how far each centre moved in the last iteration.
        iteration: scalar int32.
    """

    centers: jax.Array
    assignment: jax.Array
    beyond: jax.Array
    moves: jax.Array
    iteration: jax.Array


def _by_lloyd(
    pool: _Pool, centers: jax.Array, count: jax.Array, num_iters: jax.Array | int, tolerance: float
) -> jax.Array:
    """The centres [K, d] after Lloyd's iterations; the first ``count`` exist."""
    n, num_centers = len(pool.weights), len(centers)
    enough = tolerance * _mean_variance(pool)

    def is_moving(lloyd: _Lloyd) -> jax.Array:
        is_apart = (lloyd.iteration == 0) | (jnp.sum(lloyd.moves**2) > enough)
        return (lloyd.iteration < num_iters) & is_apart

    def iterate(lloyd: _Lloyd) -> _Lloyd:
        assignment, beyond = _reassigned(pool, lloyd, count)
        # a cluster with the same rows has the same centre, to the last bit
        changed = assignment != lloyd.assignment
        before = jnp.where(changed & (lloyd.assignment >= 0), lloyd.assignment, num_centers)
        after = jnp.where(changed, assignment, num_centers)
        is_new = jnp.zeros(num_centers + 1, bool).at[before].set(True).at[after].set(True).at[-1].set(False)
        places = jnp.where((pool.weights > 0) & is_new[assignment], assignment, num_centers)
        sums, weights = _sums(pool, jnp.arange(n, dtype=jnp.int32), places, num_centers)
        means = sums / jnp.where(weights > 0, weights, 1.0)[:, None]
        centers = jnp.where(weights[:, None] > 0, means, lloyd.centers)
        moves = jnp.linalg.norm(centers - lloyd.centers, axis=1)
        return _Lloyd(centers, assignment, beyond, moves, lloyd.iteration + 1)

    start = _Lloyd(
        centers,
        jnp.full(n, -1, jnp.int32),
        jnp.full(n, -jnp.inf, jnp.float32),
        jnp.zeros(num_centers, jnp.float32),
        jnp.int32(0),
    )
    return jax.lax.while_loop(is_moving, iterate, start).centers


def _mean_variance(pool: _Pool) -> jax.Array:
    """The weighted variance of a feature, the mean over features: scalar float32."""
    n, d = len(pool.weights), len(pool.origin)
    tile = min(n, _ROWS)

    def add(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first = jnp.minimum(i * tile, n - tile)
        x, weights = pool.block(first, tile)
        weights = jnp.where(first + jnp.arange(tile) < i * tile, 0.0, weights)  # seen in the tile before
        sums = carry[0] + jnp.dot(weights, x, precision=HIGHEST)
        return sums, carry[1] + jnp.sum(weights * jnp.sum(x**2, axis=1))

    zero = jnp.zeros(d, jnp.float32), jnp.float32(0)
    sums, squares = jax.lax.fori_loop(0, -(-n // tile), add, zero)
    total = jnp.maximum(jnp.sum(pool.weights), jnp.finfo(jnp.float32).tiny)
    return jnp.maximum(squares / total - jnp.sum((sums / total) ** 2), 0.0) / d


def _reassigned(pool: _Pool, lloyd: _Lloyd, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each row's nearest centre [n] int32, and ``beyond`` [n] as in `_Lloyd`, after the centres have moved."""
    n, num_centers = len(pool.weights), len(lloyd.centers)
    tile, num_movers = min(n, _ROWS), min(num_centers, max(_MOVERS, num_centers // 16))
    moves, movers = jax.lax.top_k(lloyd.moves, min(num_centers, num_movers + 1))
    least_move = moves[num_movers] if num_movers < num_centers else jnp.float32(0)  # of those that stayed near
    movers = movers[:num_movers]
    moved = lloyd.centers[movers]

    def look(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first = jnp.minimum(i * tile, n - tile)
        x, weights = pool.block(first, tile)
        own, beyond = (
            jax.lax.dynamic_slice_in_dim(part, first, tile) for part in (lloyd.assignment, lloyd.beyond)
        )
        distance = jnp.linalg.norm(x - lloyd.centers[own], axis=1)
        is_other = (movers[None, :] != own[:, None]) & (movers < count)[None, :]
        to_moved = jnp.where(is_other, _less_own_norm(x, moved), jnp.inf)
        nearest_moved = jnp.maximum(jnp.min(to_moved, axis=1) + jnp.sum(x**2, axis=1), 0.0)
        beyond = jnp.minimum(beyond - least_move, jnp.sqrt(nearest_moved))
        parts = beyond, (weights > 0) & (distance > beyond)
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, first, 0), carry, parts
        )

    beyond, is_open = jax.lax.fori_loop(0, -(-n // tile), look, (lloyd.beyond, jnp.zeros(n, bool)))
    rows = jnp.nonzero(is_open, size=n, fill_value=n)[0].astype(jnp.int32)
    rows = jnp.pad(rows, (0, tile), constant_values=n)

    def assign(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        indices = jax.lax.dynamic_slice_in_dim(rows, i * tile, tile)
        x = pool.at(jnp.minimum(indices, n - 1))
        place, _, second = _two_nearest(x, lloyd.centers, count)
        assignment, beyond = carry
        return (
            assignment.at[indices].set(place, mode="drop"),
            beyond.at[indices].set(jnp.sqrt(second), mode="drop"),
        )

    num_tiles = (jnp.sum(is_open, dtype=jnp.int32) + tile - 1) // tile
    return jax.lax.fori_loop(0, num_tiles, assign, (lloyd.assignment, beyond))


def _less_own_norm(x: jax.Array, centers: jax.Array) -> jax.Array:
    """‖x − c‖² − ‖x‖² for every pair: [m, K] float32."""
    return jnp.sum(centers**2, axis=1)[None, :] - 2 * jnp.dot(x, centers.T, precision=HIGHEST)


def _two_nearest(x: jax.Array, centers: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The nearest of the first ``count`` centres, and how near the two nearest are.

    Args:
        x: [m, d] float32.
        centers: [K, d] float32; K is a multiple of a block.
        count: scalar int32.

    Returns:
        place: [m] int32, the first of equals.
        nearest: [m] float32, the squared distance to it.
        second: [m] float32, the squared distance to the second nearest; ∞ if there is none.
    """
    size = min(len(centers), _CENTERS)
    numbers = jnp.arange(size, dtype=jnp.int32)[None, :]

    def fold(i: jax.Array, carry: tuple) -> tuple:
        place, nearest, second = carry
        first = i * size
        squared = _less_own_norm(x, jax.lax.dynamic_slice_in_dim(centers, first, size))
        squared = jnp.where(first + numbers < count, squared, jnp.inf)
        best = jnp.min(squared, axis=1)
        # XLA's argmin on a CPU takes several times as long as two minima
        best_place = jnp.min(jnp.where(squared == best[:, None], numbers, size), axis=1)
        rest = jnp.min(jnp.where(numbers == best_place[:, None], jnp.inf, squared), axis=1)
        is_nearer = best < nearest
        second = jnp.minimum(jnp.minimum(second, rest), jnp.where(is_nearer, nearest, best))
        return jnp.where(is_nearer, first + best_place, place), jnp.where(is_nearer, best, nearest), second

    unknown = jnp.full(len(x), jnp.inf, jnp.float32)
    start = jnp.zeros(len(x), jnp.int32), unknown, unknown
    place, nearest, second = jax.lax.fori_loop(0, (count + size - 1) // size, fold, start)
    own = jnp.sum(x**2, axis=1)
    return place, jnp.maximum(nearest + own, 0.0), jnp.maximum(second + own, 0.0)


def _sums(pool: _Pool, indices: jax.Array, places: jax.Array, num_centers: int) -> tuple[jax.Array, jax.Array]:
    """Σ w x and Σ w over the rows of each cluster: [K, d] and [K] float32.

    Rows are sorted by cluster, and a few of them meet a few clusters: their sums are one small matrix product.
    The order is fixed. A scatter would add in any order on a GPU.

    Args:
        pool: the rows.
        indices: [m] int32, row numbers.
        places: [m] int32, their clusters; K for rows that do not count.
        num_centers: K.
    """
    m = len(indices)
    tile = min(m, _ROWS if num_centers <= _SORTED_ROWS else _SORTED_ROWS)
    width = min(tile, num_centers)
    order = jnp.argsort(places, stable=True)
    indices, sorted_places = indices[order], places[order]
    is_present = jnp.zeros(num_centers, bool).at[places].set(True, mode="drop")
    rank = jnp.cumsum(is_present, dtype=jnp.int32) - 1  # of a cluster among those present
    ranks = jnp.where(sorted_places < num_centers, rank[jnp.minimum(sorted_places, num_centers - 1)], -1)
    indices, ranks = jnp.pad(indices, (0, tile)), jnp.pad(ranks, (0, tile), constant_values=-1)

    def add(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        here, ranks_here = (jax.lax.dynamic_slice_in_dim(part, i * tile, tile) for part in (indices, ranks))
        first = ranks_here[0]
        is_in = (ranks_here - first)[:, None] == jnp.arange(width, dtype=jnp.int32)[None, :]
        weighted = jnp.where(is_in & (ranks_here >= 0)[:, None], pool.weights[here][:, None], 0.0)
        parts = jnp.dot(weighted.T, pool.at(here), precision=HIGHEST), jnp.sum(weighted, axis=0)

        def put(whole: jax.Array, part: jax.Array) -> jax.Array:
            known = jax.lax.dynamic_slice_in_dim(whole, first, width)
            return jax.lax.dynamic_update_slice_in_dim(whole, known + part, first, 0)

        return put(carry[0], parts[0]), put(carry[1], parts[1])

    num_tiles = (jnp.sum(places < num_centers, dtype=jnp.int32) + tile - 1) // tile
    room = num_centers + width
    zero = jnp.zeros((room, len(pool.origin)), jnp.float32), jnp.zeros(room, jnp.float32)
    sums, weights = jax.lax.fori_loop(0, num_tiles, add, zero)
    return jnp.where(is_present[:, None], sums[rank], 0.0), jnp.where(is_present, weights[rank], 0.0)


class _Passes(NamedTuple):
    """The state of mini-batch iterations.

    Attributes:
        centers: [K, d] float32.
        seen: [K] float32, the weight of all rows that a centre was nearest to so far.
        inertia: scalar float32, Σ w·squared distance, each row's when it was seen in the last pass.
        is_lower: scalar bool, whether the last pass lowered it by enough.
        iteration: scalar int32.
    """

    centers: jax.Array
    seen: jax.Array
    inertia: jax.Array
    is_lower: jax.Array
    iteration: jax.Array


def _by_batches(
    key: jax.Array,
    pool: _Pool,
    centers: jax.Array,
    count: jax.Array,
    batch: int,
    num_iters: jax.Array | int,
    tolerance: float,
) -> jax.Array:
    """The centres [K, d] after passes over the rows in random batches; the first ``count`` exist."""
    num_centers = len(centers)
    num_rows = jnp.sum(pool.weights > 0, dtype=jnp.int32)

    def one_pass(passes: _Passes) -> _Passes:
        order = shuffled(jax.random.fold_in(key, passes.iteration), pool.weights > 0)
        order = jnp.pad(order, (0, batch))

        def one_batch(i: jax.Array, carry: tuple) -> tuple:
            centers, seen, inertia = carry
            indices = jax.lax.dynamic_slice_in_dim(order, i * batch, batch)
            is_row = i * batch + jnp.arange(batch) < num_rows
            place, nearest = _nearest_of(pool, indices, centers, count)
            sums, weights = _sums(pool, indices, jnp.where(is_row, place, num_centers), num_centers)
            seen = seen + weights
            step = (sums - weights[:, None] * centers) / jnp.where(seen > 0, seen, 1.0)[:, None]
            inertia = inertia + jnp.sum(jnp.where(is_row, pool.weights[indices] * nearest, 0.0))
            return centers + step, seen, inertia

        start = passes.centers, passes.seen, jnp.float32(0)
        num_batches = (num_rows + batch - 1) // batch
        centers, seen, inertia = jax.lax.fori_loop(0, num_batches, one_batch, start)
        is_lower = inertia < passes.inertia * (1 - 10 * tolerance)
        return _Passes(centers, seen, inertia, is_lower, passes.iteration + 1)

    start = _Passes(
        centers, jnp.zeros(num_centers, jnp.float32), jnp.float32(jnp.inf), jnp.array(True), jnp.int32(0)
    )
    return jax.lax.while_loop(lambda p: p.is_lower & (p.iteration < num_iters), one_pass, start).centers


def _nearest_of(
    pool: _Pool, indices: jax.Array, centers: jax.Array, count: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The nearest centre of the rows at ``indices`` [m], and its squared distance: [m] int32, [m] float32."""
    m = len(indices)
    tile = min(m, _ROWS)

    def look(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first = jnp.minimum(i * tile, m - tile)
        x = pool.at(jax.lax.dynamic_slice_in_dim(indices, first, tile))
        place, nearest, _ = _two_nearest(x, centers, count)
        return (
            jax.lax.dynamic_update_slice_in_dim(carry[0], place, first, 0),
            jax.lax.dynamic_update_slice_in_dim(carry[1], nearest, first, 0),
        )

    return jax.lax.fori_loop(0, -(-m // tile), look, (jnp.zeros(m, jnp.int32), jnp.zeros(m, jnp.float32)))
