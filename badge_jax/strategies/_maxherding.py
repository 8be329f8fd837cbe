"""MaxHerding: greedy coverage of the pool."""

import jax

from badge_jax.pool import Pool
from badge_jax.samplers.checks import check_number, is_count
from badge_jax.samplers.coverage import KERNELS, coverage_greedy
from badge_jax.samplers.draw import shuffled
from badge_jax.strategies.base import Strategy, stateless
from badge_jax.strategies.embedding import EMBEDDINGS, WIDTHS, check_embedding, unit_rows


def maxherding(
    *,
    embedding: str = "features",
    bandwidth: float = 1.0,
    kernel: str = "rbf",
    num_targets: int | None = None,
) -> Strategy:
    """The rows that resemble most of the pool and no labeled row: greedy coverage of features of length 1. For
    few labels and good features; asks nothing of the model's uncertainty.

    Args:
        embedding: rows to compare: "features", "representation", or BADGE's "gradients".
        bandwidth: σ of the kernel exp(−‖x − y‖²/σ²), for rows of length 1; from 1e-15 to 1e15.
        kernel: "rbf", or "top_hat", which is 1 within σ and 0 beyond.
        num_targets: rows to cover, drawn uniformly; None: all. Fewer make a large pool faster.

    Raises:
        ValueError: for another embedding or kernel, or a number out of range.

    References:
        Bae, Noh and Sutherland, ECCV 2024, arXiv 2407.12212.

    Example:
        >>> from badge_jax.strategies import maxherding
        >>> maxherding(embedding="representation").needs
        ('representation',)
    """
    check_embedding(embedding, wanted=tuple(EMBEDDINGS))
    check_coverage(bandwidth, kernel, num_targets)

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        return coverage_greedy(
            unit_rows(pool, embedding),
            k,
            bandwidth=bandwidth,
            kernel=kernel,
            available=pool.available,
            centers=pool.labeled,
            targets=draw_targets(key, pool, num_targets),
        )

    return stateless("maxherding", choose, needs=EMBEDDINGS[embedding])


def check_coverage(bandwidth: float, kernel: str, num_targets: int | None) -> None:
    """Raises ValueError for options that no coverage has."""
    if kernel not in KERNELS:
        raise ValueError(f"kernel is {kernel!r}; wanted one of {', '.join(KERNELS)}")
    check_number("bandwidth", bandwidth, *WIDTHS)
    if num_targets is not None and not is_count(num_targets):
        raise ValueError(f"num_targets is {num_targets!r}; wanted 1 or more, or None for all rows")


def draw_targets(key: jax.Array, pool: Pool, num_targets: int | None) -> jax.Array | None:
    """Rows to cover, uniformly from those that are labeled or available: [t] int32. None where all are."""
    n = pool.available.shape[0]
    if num_targets is None or num_targets >= n:
        return None
    return shuffled(key, pool.available | pool.labeled)[:num_targets]
