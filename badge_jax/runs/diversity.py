"""Diversity and uncertainty of a batch in gradient space."""

from typing import NamedTuple

import numpy as np


class Diversity(NamedTuple):
    """Diversity and mean magnitude of a batch of embeddings. Both are NaN if an embedding is not finite.

    Attributes:
        log_det: ln det of the Gram matrix of the embeddings; −∞ if they are linearly dependent.
        mean_norm: mean Euclidean norm of the embeddings.
    """

    log_det: float
    mean_norm: float


def batch_diversity(left: np.ndarray, right: np.ndarray) -> Diversity:
    """Diversity and mean magnitude of the embeddings ``left_i ⊗ right_i``, in float64.

    An embedding counts as linearly dependent if rounding to float32 could have moved it away from the span of
    those before it: if its squared distance to that span is at most k ε² of its squared norm, with ε = 2⁻²³.

    Args:
        left: [k, c] float32, left factors.
        right: [k, d] float32, right factors.

    Returns:
        `Diversity`.

    References:
        Ash et al., ICLR 2020, figures 2 and 24.

    Example:
        >>> import numpy as np
        >>> from badge_jax.runs.diversity import batch_diversity
        >>> batch_diversity(left=np.ones((2, 1)), right=np.diag([1.0, 1.0]))
        Diversity(log_det=0.0, mean_norm=1.0)
    """
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    k, mean_norm = len(norms), float(np.mean(norms))
    if not np.isfinite(norms).all():
        return Diversity(np.nan, np.nan)
    if np.any(norms == 0) or k > left.shape[1] * right.shape[1]:
        return Diversity(-np.inf, mean_norm)
    gram = (left @ left.T) * (right @ right.T) / norms[:, None] / norms
    try:
        distances = np.diagonal(np.linalg.cholesky(gram)) ** 2
    except np.linalg.LinAlgError:
        return Diversity(-np.inf, mean_norm)
    if np.min(distances) <= k * np.finfo(np.float32).eps ** 2:
        return Diversity(-np.inf, mean_norm)
    return Diversity(float(np.sum(np.log(distances)) + 2 * np.sum(np.log(norms))), mean_norm)
