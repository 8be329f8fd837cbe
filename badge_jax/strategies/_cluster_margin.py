"""Cluster-Margin: smallest margins, taken in turn from the clusters they are in."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax.pool import Pool
from badge_jax.samplers import kmeans
from badge_jax.samplers.checks import check_count, is_count
from badge_jax.strategies.base import Strategy, check_needs, check_on_one_device, highest
from badge_jax.strategies.embedding import check_embedding, embedded
from badge_jax.strategies.scores import log_odds_of_margin

PICKS = ("random", "margin")


def cluster_margin(
    *,
    embedding: str = "features",
    num_clusters: int | None = None,
    num_margin: int | None = None,
    pick: str = "random",
    clusters: Any = None,
) -> Strategy:
    """Cluster-Margin: of the rows with the smallest margins, one from each cluster in turn, small clusters
    first. For very large batches: its cost does not grow with k.

    The ``num_margin`` available rows of smallest margin are the candidates. Clusters are ordered by their
    number of candidates, ascending, then by number. In this order, again and again, each gives one candidate
    until k are taken. A cluster with none left drops out.

    Clusters are made once, in the first query, and are kept for the whole run, as in the paper: with
    ``embedding="features"`` they are those of the first network, though later ones see the rows otherwise. All
    rows that are labeled or available then are clustered. Others that become available later count as one more
    cluster, the last. k-means stands in for the paper's agglomerative clustering (average linkage up to a
    distance that is tuned for each data set), which needs n² distances. Clusters made elsewhere may be given.

    The state is the number of each row's cluster, [n] int32, −1 where there is none; with ``clusters`` there is
    none.

    Args:
        embedding: "features", or "representation", features that stay the same from round to round. Not read
            where ``clusters`` are given.
        num_clusters: how many clusters to make. None: n / 50, at most 1000.
        num_margin: the number of candidates, k or more. None: 10 k, and then the picks are not
            prefix-consistent. It is capped at the number of available rows.
        pick: "random", a uniformly random candidate of the cluster, as in the paper, or "margin", the one of
            smallest margin.
        clusters: [n] int array, the number of each row's cluster; from Python only.

    Raises:
        ValueError: for another embedding or ``pick``, numbers below 1, clusters that are no list of integers;
            in a query, for a k above ``num_margin`` or clusters of another length.

    References:
        Citovsky et al., NeurIPS 2021, arXiv 2107.14263.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from badge_jax import Pool
        >>> from badge_jax.strategies import cluster_margin
        >>> strategy = cluster_margin(clusters=[0, 0, 0, 1], num_margin=4, pick="margin")
        >>> logits = jnp.array([[0.0, 0.1], [0.0, 0.2], [0.0, 0.3], [0.0, 9.0]])
        >>> pool = Pool(logits, None, jnp.full(4, -1), jnp.zeros(4, bool), available=jnp.ones(4, bool))
        >>> strategy.query(jax.random.key(0), (), pool, 3)[0].tolist()
        [3, 0, 1]
    """
    check_embedding(embedding)
    if pick not in PICKS:
        raise ValueError(f"pick is {pick!r}; wanted one of {', '.join(PICKS)}")
    for name, number in (("num_clusters", num_clusters), ("num_margin", num_margin)):
        if number is not None and not is_count(number):
            raise ValueError(f"{name} is {number!r}; wanted 1 or more")
    given = None if clusters is None else _checked(clusters)
    needs = ("logits",) if given is not None else ("logits", embedding)

    def init(n: int, num_rounds: int) -> jax.Array | tuple:
        return jnp.full(n, -1, jnp.int32) if given is None else ()

    def query(key: jax.Array, state: Any, pool: Pool, k: int) -> tuple[jax.Array, Any]:
        n = pool.available.shape[0]
        check_count(k, n)
        check_needs("cluster_margin", needs, pool)
        check_on_one_device("cluster_margin", pool)
        most = min(n, 10 * k if num_margin is None else num_margin)
        if most < k:
            raise ValueError(f"num_margin is {num_margin}; wanted {k}, the rows asked for, or more")
        cluster_key, pick_key = jax.random.split(key)
        if given is not None:
            if given.shape != (n,):
                raise ValueError(f"clusters are of {len(given)} rows; wanted {n}")
            cluster = jnp.asarray(given)
        else:
            number = min(n, num_clusters or max(1, min(n // 50, 1000)))
            points, counted = embedded(pool, embedding), pool.labeled | pool.available
            cluster = state = _made_once(cluster_key, state, points, counted, number)
        return _in_turn(pick_key, pool.logits, pool.available, cluster, k, most, pick), state

    return Strategy(init, query, needs, is_prefix_consistent=num_margin is not None)


def _checked(clusters: Any) -> np.ndarray:
    numbers = np.asarray(clusters)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise ValueError(f"clusters are {numbers.dtype} of shape {numbers.shape}; wanted integers [n]")
    return np.unique(numbers, return_inverse=True)[1].astype(np.int32)  # in the same order, and all in int32


@partial(jax.jit, static_argnames="num_clusters")
def _made_once(
    key: jax.Array, state: jax.Array, points: jax.Array, counted: jax.Array, num_clusters: int
) -> jax.Array:
    """The clusters in ``state`` [n] int32 if there are any, else those made now of the rows ``counted``."""

    def make() -> jax.Array:
        return kmeans(key, points, num_clusters, weights=counted.astype(jnp.float32)).assignment

    return jax.lax.cond(jnp.any(state >= 0), lambda: state, make)


@partial(jax.jit, static_argnames=("k", "num_margin", "pick"))
def _in_turn(
    key: jax.Array,
    logits: jax.Array,
    available: jax.Array,
    cluster: jax.Array,
    k: int,
    num_margin: int,
    pick: str,
) -> jax.Array:
    """k of the ``num_margin`` rows of smallest margin, in turn from their clusters: [k] int32.

    A candidate's round is its place among those of its cluster. So a sort by round, size of the cluster and its
    number is the order in which the clusters give their candidates.
    """
    rows = highest(-log_odds_of_margin(logits), available, num_margin)
    numbers = jnp.where(cluster[rows] < 0, jnp.iinfo(jnp.int32).max, cluster[rows])
    places = jnp.arange(num_margin, dtype=jnp.int32)
    preference = jax.random.bits(key, (num_margin,), jnp.uint32) if pick == "random" else places
    is_surplus, numbers, _, rows = jax.lax.sort((rows < 0, numbers, preference, rows), num_keys=3)
    is_first = is_surplus != jnp.roll(is_surplus, 1)
    is_first = (is_first | (numbers != jnp.roll(numbers, 1))).at[0].set(True)
    start = jax.lax.cummax(jnp.where(is_first, places, 0))
    is_last = jnp.roll(is_first, -1)
    stop = jax.lax.cummin(jnp.where(is_last, places + 1, num_margin), reverse=True)
    return jax.lax.sort((is_surplus, places - start, stop - start, numbers, rows), num_keys=4)[4][:k]
