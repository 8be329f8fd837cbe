"""Embeddings whose rows are outer products, and their geometry without ever forming the products."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.shards import ALONE, Shards

HIGHEST = jax.lax.Precision.HIGHEST
EPSILON = float(jnp.finfo(jnp.float32).eps)  # relative spacing of float32
NEAR = 2.0**-11  # below this share of ‖x‖² + ‖y‖², a distance by matrix products lacks digits
_TILE = 4096  # points in one matrix product
_PAIRED = 256  # points that all are compared with in one matrix product
_SUBTRACTED = 2**19  # entries subtracted in one step where points are compared again


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Rows:
    """``n`` embedding vectors; the i-th is the outer product ``left[i] ⊗ right[i]``, of length ``c·d``.

    A BADGE gradient embedding is ``(softmax(logits) − onehot(ŷ)) ⊗ features``. An ordinary vector has
    ``left = 1`` (see `dense_rows`). Norms, inner products and squared distances factor, so they cost ``c + d``
    and not ``c·d`` a row. A pytree: works inside ``jit``, ``vmap`` and ``scan``.

    Attributes:
        left: [n, c] float32.
        right: [n, d] float32.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import Rows
        >>> rows = Rows(left=jnp.ones((5, 2)), right=jnp.ones((5, 3)))
        >>> len(rows), len(rows[jnp.array([0, 4])]), rows.to_dense().shape
        (5, 2, (5, 6))
    """

    left: jax.Array
    right: jax.Array

    __iter__ = None  # without this, iteration would never end: JAX clamps indices

    def __len__(self) -> int:
        return self.left.shape[0]

    def __getitem__(self, indices: jax.Array | slice) -> "Rows":
        """The rows at ``indices`` [m] int32, or of a slice, in that order."""
        if not isinstance(indices, slice) and jnp.ndim(indices) != 1:
            raise ValueError(f"rows[{indices}]: wanted indices [m] or a slice, such as rows[3:4]")
        return Rows(self.left[indices], self.right[indices])

    @property
    def squared_norms(self) -> jax.Array:
        """‖left‖²·‖right‖²: [n] float32."""
        return jnp.sum(self.left**2, axis=1) * jnp.sum(self.right**2, axis=1)

    @property
    def norms(self) -> jax.Array:
        """Euclidean norms ‖left‖·‖right‖: [n] float32. They do not underflow where their squares do."""
        return jnp.linalg.norm(self.left, axis=1) * jnp.linalg.norm(self.right, axis=1)

    def to_dense(self) -> jax.Array:
        """Every outer product written out: [n, c·d] float32, entry ``i·d + j`` is ``left_i · right_j``."""
        products = self.left[:, :, None] * self.right[:, None, :]
        return products.reshape(products.shape[0], -1)


def dense_rows(vectors: jax.Array) -> Rows:
    """Ordinary vectors as `Rows`.

    Args:
        vectors: [n, d] float32.

    Returns:
        `Rows` with ``left = 1`` [n, 1] and ``right = vectors``.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import dense_rows
        >>> dense_rows(jnp.ones((4, 3))).left.shape
        (4, 1)
    """
    return Rows(jnp.ones((vectors.shape[0], 1), vectors.dtype), vectors)


def check_rows(rows: Rows) -> None:
    """Raises ValueError (at trace time) unless ``rows`` holds two float32 matrices of equal length."""
    for name, matrix in (("left", rows.left), ("right", rows.right)):
        if matrix.ndim != 2:
            raise ValueError(f"rows.{name} has shape {matrix.shape}; wanted a matrix, [n, {name[0]}]")
        if matrix.dtype != jnp.float32:
            raise ValueError(f"rows.{name} is {matrix.dtype}; wanted float32")
    if rows.left.shape[0] != rows.right.shape[0]:
        raise ValueError(
            f"rows.left has {rows.left.shape[0]} rows and rows.right has {rows.right.shape[0]}; "
            "wanted the same number"
        )


def mark_rows(n: int, indices: jax.Array, marks: jax.Array | bool = True) -> jax.Array:
    """A mask with the rows at ``indices`` marked; negative indices are dropped.

    NumPy's and JAX's own indexing counts −1 from the end: a −1 that stands for "no row" would mark the last.

    Args:
        n: length of the mask.
        indices: [m] int32; negative ones stand for no row.
        marks: [m] bool, or one bool for all.

    Returns:
        [n] bool, False where nothing was marked.
    """
    places = jnp.where(indices >= 0, indices, n)
    return jnp.zeros(n, bool).at[places].set(marks, mode="drop")


def tiles(n: int, size: int) -> list[int]:
    """Where each tile of ``size`` rows starts. The last tile overlaps its neighbour, so all have one shape."""
    size = min(n, size)
    return [min(start, n - size) for start in range(0, n, size)]


def inner_products(rows: Rows, others: Rows) -> jax.Array:
    """⟨left, left'⟩·⟨right, right'⟩ for every pair: [n, m] float32 for ``n`` rows and ``m`` others."""
    left = jnp.dot(rows.left, others.left.T, precision=HIGHEST)
    return left * jnp.dot(rows.right, others.right.T, precision=HIGHEST)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Points:
    """Rows between which distances are taken.

    Attributes:
        rows: `Rows` [n].
        left_squared: [n] float32, squared norms of the left factors.
        right_squared: [n] float32, squared norms of the right factors.
    """

    rows: Rows
    left_squared: jax.Array
    right_squared: jax.Array

    __iter__ = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: jax.Array | slice) -> "Points":
        return jax.tree.map(lambda part: part[indices], self)

    @property
    def squared_norms(self) -> jax.Array:
        """Squared norms of the rows: [n] float32."""
        return self.left_squared * self.right_squared

    def block(self, start: jax.Array, size: int) -> "Points":
        """The ``size`` points from ``start`` (traced) on."""
        return jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, start, size), self)


def as_points(rows: Rows) -> Points:
    """``rows`` [n] as `Points`."""
    return Points(rows, jnp.sum(rows.left**2, axis=1), jnp.sum(rows.right**2, axis=1))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PoolPoints:
    """The points of a whole pool. A pool is too large for a scaled copy, so a row is scaled when it is taken.

    Arrays are those parts of the pool that one device holds.

    Attributes:
        rows: `Rows` [n] as given.
        scales: [2] float32, powers of two by which left factors are multiplied one after the other; their
            product may be too large or too small for float32.
        left_squared: [n] float32, squared norms of the left factors after scaling.
        right_squared: [n] float32, squared norms of the right factors.
        shards: how the pool lies on devices.
    """

    rows: Rows
    scales: jax.Array
    left_squared: jax.Array
    right_squared: jax.Array
    shards: Shards = field(default=ALONE, metadata={"static": True})

    __iter__ = None

    def __len__(self) -> int:
        """How many rows are held here."""
        return len(self.rows)

    def __getitem__(self, indices: jax.Array) -> Points:
        """The rows of the pool at ``indices`` [m] int32."""
        return self._taken(self.shards.take(self._parts, indices))

    def here(self, places: jax.Array) -> Points:
        """The rows at ``places`` [m] int32 of the part held here."""
        return self._taken(jax.tree.map(lambda part: part[places], self._parts))

    @property
    def squared_norms(self) -> jax.Array:
        """Squared norms of the rows: [n] float32."""
        return self.left_squared * self.right_squared

    def block(self, start: jax.Array, size: int) -> Points:
        """The ``size`` points of the part held here from place ``start`` (traced) on."""
        return self._taken(
            jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, start, size), self._parts)
        )

    @property
    def _parts(self) -> tuple[Rows, jax.Array, jax.Array]:
        return self.rows, self.left_squared, self.right_squared

    def _taken(self, parts: tuple[Rows, jax.Array, jax.Array]) -> Points:
        rows, left_squared, right_squared = parts
        return Points(Rows(_scaled(rows.left, self.scales), rows.right), left_squared, right_squared)


def _scaled(numbers: jax.Array, scales: jax.Array) -> jax.Array:
    return numbers * scales[0] * scales[1]


def squared_distances(
    points: Points, centers: Points, counted: jax.Array, origin: jax.Array | None
) -> jax.Array:
    """Squared distance from every point x to every centre y, 0 for a copy.

    ‖x‖² + ‖y‖² − 2⟨x, y⟩ by matrix products, which loses its digits where x and y are near each other. So a
    point that is near a centre is compared with all of them again, by subtraction (`_by_subtraction`). Most
    pools have few such points.

    Args:
        points: `Points` [n].
        centers: `Points` [m].
        counted: [n, m] bool, pairs whose distance matters; for others it may lack digits.
        origin: [d] float32, from which ordinary vectors are seen (`middle`). None: from 0, which saves a copy
            of the points.

    Returns:
        [n, m] float32.

    References:
        The factored distance: Zhang et al. 2023, arXiv 2306.09910, appendix D.
    """
    squared, is_near = _by_products(points, centers, origin)

    def again(indices: jax.Array, squared: jax.Array) -> jax.Array:
        return squared.at[indices].set(_by_subtraction(points[indices], centers))

    return _for_marked(jnp.any(is_near & counted, axis=1), _at_a_time(points, centers), again, squared)


def _by_products(points: Points, centers: Points, origin: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Squared distances by matrix products, and which of them are so small that they lack digits, [n, m]."""
    if origin is None or points.rows.left.shape[1] > 1:
        inner, norms, others = (
            inner_products(points.rows, centers.rows),
            points.squared_norms,
            centers.squared_norms,
        )
    else:
        x, y = (part.rows.left * part.rows.right - origin[None, :] for part in (points, centers))
        inner, norms, others = jnp.dot(x, y.T, precision=HIGHEST), jnp.sum(x**2, axis=1), jnp.sum(y**2, axis=1)
    scale = norms[:, None] + others[None, :]
    squared = jnp.maximum(scale - 2 * inner, 0.0)
    return squared, squared < NEAR * scale


def _for_marked(marked: jax.Array, size: int, step: Callable[[jax.Array, Any], Any], start: Any) -> Any:
    """Folds ``(indices [size], carry) -> carry`` over the places where ``marked`` [n] bool is True.

    The last indices may hold places that are not marked.
    """
    size = min(size, marked.shape[0])

    def next_ones(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        indices = jax.lax.top_k(carry[0].astype(jnp.float32), size)[1]
        return carry[0].at[indices].set(False), step(indices, carry[1])

    return jax.lax.while_loop(lambda carry: jnp.any(carry[0]), next_ones, (marked, start))[1]


def squared_distances_to_row(points: Points | PoolPoints, index: jax.Array) -> jax.Array:
    """Squared distance from every point held here to the one at ``index``, by subtraction, in one pass: [n]
    float32."""
    center = points[index[None]]
    if isinstance(points, PoolPoints):
        # as the index changes from pass to pass, XLA cannot keep a scaled copy: it scales in the pass itself
        scales, _ = jax.lax.optimization_barrier((points.scales, index))
        rows = Rows(_scaled(points.rows.left, scales), points.rows.right)
        points = Points(rows, points.left_squared, points.right_squared)
    return _by_subtraction(points, center)[:, 0]


def upper_bounds_to_row(points: PoolPoints, index: jax.Array) -> jax.Array:
    """Bounds on `squared_distances_to_row` from above, in half the time: [n] float32.

    They are the distances by matrix products, plus what these may lack.
    """
    one = points[index[None]]
    center = one.rows
    # left factors may be as long as 2¹²⁷ or as short as 2⁻¹²⁶: part of their scale comes before the product
    before = jnp.clip(points.scales[0] * points.scales[1], 2.0**-64, 2.0**64)
    after = points.scales.at[1].divide(before)
    left = _scaled(jnp.dot(points.rows.left, center.left[0] * before, precision=HIGHEST), after)
    inner = left * jnp.dot(points.rows.right, center.right[0], precision=HIGHEST)
    scale = points.squared_norms + one.squared_norms
    return jnp.maximum(scale - 2 * inner, 0.0) + 32 * EPSILON * scale


def _by_subtraction(points: Points, centers: Points) -> jax.Array:
    """`squared_distances` from the differences of the factors: [n, m] float32.

    With A = ‖a − b‖² and Z = ‖z − w‖²,

        2 ‖a⊗z − b⊗w‖² = A (‖z‖² + ‖w‖²) + Z (‖a‖² + ‖b‖²) − A Z + (‖a‖² − ‖b‖²)(‖z‖² − ‖w‖²)

    The relative error is that of float32, divided by the relative distance if both factors differ. Rows that
    agree to the last bits count as copies: an embedding may round a row's copy otherwise.
    """
    left = jnp.sum((points.rows.left[:, None, :] - centers.rows.left[None, :, :]) ** 2, axis=-1)
    right = jnp.sum((points.rows.right[:, None, :] - centers.rows.right[None, :, :]) ** 2, axis=-1)
    a, z, b, w = points.left_squared, points.right_squared, centers.left_squared, centers.right_squared
    a, z, b, w = a[:, None], z[:, None], b[None, :], w[None, :]
    twice = left * (z + w) + right * (a + b) - left * right + (a - b) * (z - w)
    return jnp.where(twice / 2 <= (4 * EPSILON) ** 2 * (a * z + b * w), 0.0, twice / 2)


def _at_a_time(points: Points, centers: Points) -> int:
    """How many points to compare by subtraction in one step."""
    num_entries = len(centers) * (points.rows.left.shape[1] + points.rows.right.shape[1])
    return max(8, min(512, _SUBTRACTED // num_entries))


class CenterBlocks(NamedTuple):
    """Centres that are taken a block at a time.

    Attributes:
        at: first place -> the centres from there on, `Points` [size].
        size: centres in a block, and so in one matrix product.
        num_centers: scalar int32, how many centres count.
        origin: [d] float32, as in `squared_distances`.
    """

    at: Callable[[jax.Array], Points]
    size: int
    num_centers: jax.Array
    origin: jax.Array | None


def blocks_of(centers: Points, size: int, count: jax.Array, origin: jax.Array | None) -> CenterBlocks:
    """The first ``count`` of ``centers`` [m], in blocks of ``size``; m is a multiple of it."""
    return CenterBlocks(lambda first: centers.block(first, size), size, count, origin)


def blocks_at(
    points: Points | PoolPoints,
    indices: jax.Array,
    first: jax.Array | int,
    stop: jax.Array,
    size: int,
    origin: jax.Array | None,
) -> CenterBlocks:
    """The points at ``indices[first:stop]``, of which at least a block follows, in blocks of ``size``."""

    def block_at(i: jax.Array) -> Points:
        return points[jax.lax.dynamic_slice_in_dim(indices, first + i, size)]

    return CenterBlocks(block_at, size, stop - first, origin)


def places_of(marked: jax.Array, room: int) -> jax.Array:
    """The places where ``marked`` [n] is True, in ascending order, padded with 0: [n + room] int32."""
    n = len(marked)
    return jnp.pad(jnp.nonzero(marked, size=n, fill_value=0)[0].astype(jnp.int32), (0, room))


def nearest_center(points: Points | PoolPoints, blocks: CenterBlocks, start: jax.Array) -> jax.Array:
    """min(start, squared distance to the nearest centre).

    Args:
        points: `Points` or `PoolPoints` [n].
        blocks: the centres.
        start: [n] float32, the distance known so far. Where it is not above 0 it stays.

    Returns:
        [n] float32.
    """

    def nearer(first: jax.Array, distances: jax.Array, nearest: jax.Array) -> jax.Array:
        return jnp.minimum(nearest, jnp.min(distances, axis=1))

    matters = start > 0
    lowered = _over_blocks(points, matters, blocks, nearer, start)
    return jnp.where(matters, lowered, start)  # what does not matter need not be finite


def nearest_place(points: Points | PoolPoints, blocks: CenterBlocks) -> tuple[jax.Array, jax.Array]:
    """The centre nearest to each point, the first of equals [n] int32, and its squared distance [n] float32."""

    def nearer(first: jax.Array, distances: jax.Array, carry: tuple) -> tuple:
        nearest, place = carry
        best = jnp.min(distances, axis=1)
        best_place = (first + jnp.argmin(distances, axis=1)).astype(jnp.int32)
        return jnp.minimum(nearest, best), jnp.where(best < nearest, best_place, place)

    n = len(points)
    unknown = jnp.full(n, jnp.inf, jnp.float32), jnp.zeros(n, jnp.int32)
    nearest, place = _over_blocks(points, jnp.ones(n, bool), blocks, nearer, unknown)
    return place, nearest


def nearest_distinct(points: Points, among: jax.Array) -> jax.Array:
    """Distance of each point to the nearest other one that is no copy of it, both ``among`` [n] bool.

    Returns:
        [n] float32; ∞ where there is none, and for points that are not among them.
    """

    def nearer(first: jax.Array, distances: jax.Array, nearest: jax.Array) -> jax.Array:
        return jnp.minimum(nearest, jnp.min(jnp.where(distances > 0, distances, jnp.inf), axis=1))

    squared = _over_pairs(points, among, nearer, jnp.full(len(points), jnp.inf, jnp.float32))
    return jnp.where(among, jnp.sqrt(squared), jnp.inf)


def nearest_of_another_group(points: Points, groups: jax.Array, among: jax.Array) -> jax.Array:
    """Distance of each point to the nearest one of another group, both ``among`` [n] bool.

    Args:
        points: `Points` [n].
        groups: [n] int32.
        among: [n] bool.

    Returns:
        [n] float32; ∞ where there is none, and for points that are not among them.
    """
    order = places_of(among, _PAIRED)

    def nearer(first: jax.Array, distances: jax.Array, carry: tuple) -> tuple:
        nearest, own = carry
        others = groups[jax.lax.dynamic_slice_in_dim(order, first, distances.shape[1])]
        distances = jnp.where(own[:, None] != others[None, :], distances, jnp.inf)
        return jnp.minimum(nearest, jnp.min(distances, axis=1)), own

    start = jnp.full(len(points), jnp.inf, jnp.float32), groups
    squared, _ = _over_pairs(points, among, nearer, start)
    return jnp.where(among, jnp.sqrt(squared), jnp.inf)


def nearest_of_own_group(
    points: Points,
    groups: jax.Array,
    centers: Points,
    center_groups: jax.Array,
    origin: jax.Array,
    start: jax.Array,
) -> jax.Array:
    """min(start, squared distance to the nearest centre of the point's own group): [n] float32.

    Args:
        points: `Points` [n].
        groups: [n] int32.
        centers: `Points` [m], few enough for one matrix product.
        center_groups: [m] int32.
        origin: [d] float32, as in `squared_distances`.
        start: [n] float32, the distance known so far. Where it is not above 0 it stays.
    """

    def nearer(first: jax.Array, distances: jax.Array, carry: tuple) -> tuple:
        nearest, own = carry
        distances = jnp.where(own[:, None] == center_groups[None, :], distances, jnp.inf)
        return jnp.minimum(nearest, jnp.min(distances, axis=1)), own

    matters, m = start > 0, len(centers)
    blocks = blocks_of(centers, m, jnp.int32(m), origin)
    lowered, _ = _over_blocks(points, matters, blocks, nearer, (start, groups))
    return jnp.where(matters, lowered, start)  # what does not matter need not be finite


def _over_pairs(points: Points, among: jax.Array, fold: Callable, start: Any) -> Any:
    """`_over_blocks` of the points ``among`` [n] bool with one another."""
    count, size = jnp.sum(among, dtype=jnp.int32), min(len(points), _PAIRED)
    blocks = blocks_at(points, places_of(among, size), 0, count, size, None)
    return _over_blocks(points, among, blocks, fold, start)


def _over_blocks(
    points: Points | PoolPoints, matters: jax.Array, blocks: CenterBlocks, fold: Callable, start: Any
) -> Any:
    """Folds ``(first place, distances [m, size], carry of m points) -> carry`` over the blocks of centres.

    Every pair of a centre and a point that ``matters`` [n] bool is seen, with a distance that does not depend
    on the tile, the block or the other points; other distances are ∞. A pair may come twice. Carries are arrays
    [n]. Points are taken a tile at a time.
    """
    n, tile = len(points), min(len(points), _TILE)

    def fold_tile(i: jax.Array, carry: Any) -> Any:
        first = jnp.minimum(i * tile, n - tile)
        matters_here, part = jax.tree.map(
            lambda a: jax.lax.dynamic_slice_in_dim(a, first, tile), (matters, carry)
        )
        part = _over_blocks_of_tile(points.block(first, tile), matters_here, blocks, fold, part)
        return jax.tree.map(lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, first, 0), carry, part)

    if n == tile:
        return _over_blocks_of_tile(points.block(jnp.int32(0), n), matters, blocks, fold, start)
    return jax.lax.fori_loop(0, -(-n // tile), fold_tile, start)


def _over_blocks_of_tile(
    points: Points, matters: jax.Array, blocks: CenterBlocks, fold: Callable, start: Any
) -> Any:
    def step(i: jax.Array, carry: Any) -> Any:
        first, centers = i * blocks.size, blocks.at(i * blocks.size)
        is_counted = (first + jnp.arange(blocks.size) < blocks.num_centers)[None, :]
        squared, is_near = _by_products(points, centers, blocks.origin)
        is_again = matters & jnp.any(is_near & is_counted, axis=1)
        carry = fold(first, jnp.where(is_counted & ~is_near, squared, jnp.inf), carry)

        def again(indices: jax.Array, carry: Any) -> Any:
            exact = _by_subtraction(points[indices], centers)
            exact = jnp.where(is_counted & is_near[indices], exact, jnp.inf)
            part = fold(first, exact, jax.tree.map(lambda a: a[indices], carry))
            return jax.tree.map(lambda a, b: a.at[indices].set(b), carry, part)

        return _for_marked(is_again, _at_a_time(points, centers), again, carry)

    return jax.lax.fori_loop(0, (blocks.num_centers + blocks.size - 1) // blocks.size, step, start)


def middle(sample: Rows) -> jax.Array:
    """The median of ordinary vectors, entry by entry: [d] float32.

    Matrix products lose the digits of a distance if all rows have a large part in common. Seen from the middle
    they have none. It is no mean: one giant row would move that away from all others. Outer products have no
    middle that is an outer product; theirs is 0 here, and not used.

    Args:
        sample: `Rows` [m], some rows of the pool, as `sample_places` gives them.
    """
    if sample.left.shape[1] > 1:
        return jnp.zeros(sample.right.shape[1], jnp.float32)
    return jnp.median(sample.left * sample.right, axis=0)


def middle_of(points: PoolPoints, counted: jax.Array) -> jax.Array:
    """`middle` of a sample of the points ``counted`` [n] bool."""
    if points.rows.left.shape[1] > 1:
        return middle(points.rows)
    listed = points.shards.marked(counted)
    return middle(points[jnp.maximum(listed.at(sample_places(listed.number)), 0)].rows)


def sample_places(count: jax.Array | int) -> jax.Array:
    """Places spread over ``count`` rows: [256] int32. If there are fewer rows, they come again in turn."""
    places = jnp.arange(256, dtype=jnp.int32) * jnp.maximum(count // 256, 1)
    return (places % jnp.maximum(count, 1)).astype(jnp.int32)


def at_unit_scale(rows: Rows, counted: jax.Array, shards: Shards = ALONE) -> PoolPoints:
    """The rows times one power of two, so that the longest of those ``counted`` [n] bool has a norm near 1.

    That is the longest row, not that of the greatest left factor: its other factor may be 0. Scaling by a power
    of two rounds nothing and changes no law that depends on ratios. It keeps the squares of very confident rows
    (norms under 1e-19) from underflowing. All of it goes into the left factors: the largest entry of ``right``
    must lie between 1e-18 and 1e18.
    """

    left, right = jnp.max(jnp.abs(rows.left), axis=1), jnp.sum(rows.right**2, axis=1)
    # fused with what follows, XLA on a CPU takes ten times as long for these
    left, right_squared = jax.lax.optimization_barrier((left, right))
    sizes = left, jnp.sqrt(right_squared)
    left, right = (jnp.where(counted, size, 0.0) for size in sizes)
    exponent = -sum(unit_exponents(left, right, shards))
    # half of it in each
    scales = jnp.ldexp(
        jnp.float32(1), jnp.clip(jnp.stack([exponent // 2, exponent - exponent // 2]), -126, 126)
    )
    return PoolPoints(rows, scales, jnp.sum(_scaled(rows.left, scales) ** 2, axis=1), right_squared, shards)


def unit_exponents(left: jax.Array, right: jax.Array, shards: Shards = ALONE) -> tuple[jax.Array, jax.Array]:
    """The exponents of two by which to divide the factors, so that the longest row has a norm near 1.

    Args:
        left: [n] float32, norm or greatest absolute entry of each left factor; 0 for a row that does not count.
        right: [n] float32, of each right factor.
        shards: how the pool lies on devices.

    Returns:
        Two scalars int32. Divided by them, no right factor is longer than 1, and no left factor than
        2⁶⁰, so that no square overflows.
    """
    (_, lefts), (_, rights) = jnp.frexp(left), jnp.frexp(right)
    most_left, most_right = jnp.frexp(shards.max(left))[1], jnp.frexp(shards.max(right))[1]
    longest = shards.max(jnp.where((left > 0) & (right > 0), lefts + rights, -10_000))
    longest = jnp.where(longest > -10_000, longest, most_left + most_right)
    return jnp.maximum(longest - most_right, most_left - 60), most_right
