"""UHerding: greedy coverage of what the model is unsure of."""

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import Rows, as_points, nearest_distinct
from badge_jax.samplers.checks import check_number
from badge_jax.samplers.coverage import coverage_greedy
from badge_jax.strategies._maxherding import check_coverage, draw_targets
from badge_jax.strategies.base import Strategy, stateless
from badge_jax.strategies.calibration import probe_temperature
from badge_jax.strategies.embedding import EMBEDDINGS, WIDTHS, check_embedding, unit_rows
from badge_jax.strategies.scores import log_closeness, log_doubt, log_entropy

_UNCERTAINTIES = {"margin": log_closeness, "entropy": log_entropy, "confidence": log_doubt}


def uherding(
    *,
    embedding: str = "features",
    uncertainty: str = "margin",
    bandwidth: float | str = "min_labeled",
    temperature: float | str = "probe",
    kernel: str = "rbf",
    num_targets: int | None = None,
) -> Strategy:
    """Greedy coverage as `maxherding`, where a row is worth what the model is unsure of. Goes over from
    representative rows to uncertain ones as labels grow; while nothing is labeled it is `maxherding`.

    Args:
        embedding: rows to compare: "features", "representation", or BADGE's "gradients".
        uncertainty: "margin", 1 − (p₁ − p₂); "entropy", in nats; or "confidence", 1 − max p. It is 0 for
            labeled rows, and 1 for all while nothing is labeled.
        bandwidth: σ of the kernel, for rows of length 1. "min_labeled": the least distance between two labeled
            rows that are no copies (to the last bits), computed for each batch; 1 if there is none.
            "median_labeled": the median of the labeled rows' distances to the nearest other one.
        temperature: τ of p = softmax(logits/τ). "probe": found by a logistic regression on the features, which
            needs the labels; it stands for the paper's network, retrained on a part of the labels.
        kernel: "rbf" or "top_hat".
        num_targets: as in `maxherding`.

    Raises:
        ValueError: for another option, or a number out of range.

    References:
        Bae, Oliveira and Sutherland, ICLR 2025, arXiv 2412.20644.

    Example:
        >>> from badge_jax.strategies import uherding
        >>> uherding().needs, uherding(temperature=1.5).needs
        (('features', 'logits', 'labels'), ('features', 'logits'))
    """
    check_embedding(embedding, wanted=tuple(EMBEDDINGS))
    if uncertainty not in _UNCERTAINTIES:
        raise ValueError(f"uncertainty is {uncertainty!r}; wanted one of {', '.join(_UNCERTAINTIES)}")
    if isinstance(bandwidth, str) and bandwidth not in ("min_labeled", "median_labeled"):
        raise ValueError(
            f"bandwidth is {bandwidth!r}; wanted 'min_labeled', 'median_labeled' or a number above 0"
        )
    check_number("temperature", temperature, *WIDTHS, or_else="probe")
    check_coverage(1.0 if isinstance(bandwidth, str) else bandwidth, kernel, num_targets)
    is_probed = temperature == "probe"
    read = (*EMBEDDINGS[embedding], "logits", *(("features", "labels") if is_probed else ()))

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        target_key, probe_key = jax.random.split(key)
        tau = probe_temperature(probe_key, pool) if isinstance(temperature, str) else temperature
        rows = unit_rows(pool, embedding)
        width = _labeled_width(rows, pool.labeled, bandwidth) if isinstance(bandwidth, str) else bandwidth
        log_worth = _UNCERTAINTIES[uncertainty](pool.logits.astype(jnp.float32) / tau)
        # ratios count: of very confident rows the most uncertain one is worth 1, not a number that underflows
        most = jnp.max(jnp.where(pool.available, log_worth, -jnp.inf))
        worth = jnp.exp(log_worth - jnp.where(most > -jnp.inf, most, 0.0))
        return coverage_greedy(
            rows,
            k,
            bandwidth=width,
            kernel=kernel,
            weights=jnp.where(pool.labeled, 0.0, jnp.where(jnp.any(pool.labeled), worth, 1.0)),
            available=pool.available,
            centers=pool.labeled,
            targets=draw_targets(target_key, pool, num_targets),
        )

    return stateless("uherding", choose, needs=tuple(dict.fromkeys(read)))


def _labeled_width(rows: Rows, labeled: jax.Array, rule: str) -> jax.Array:
    """The least or the median distance of labeled rows to the nearest that is no copy; 1 if there is none."""
    nearest = jnp.sort(nearest_distinct(as_points(rows), labeled))
    place = 0 if rule == "min_labeled" else (jnp.sum(jnp.isfinite(nearest)) - 1) // 2
    return jnp.where(jnp.isfinite(nearest[0]), nearest[place], 1.0)
