"""BAIT: batches that tell most about the output layer."""

import math

import jax
import jax.numpy as jnp

from badge_jax.pool import Pool
from badge_jax.rows import EPSILON, Rows
from badge_jax.samplers.checks import check_count, is_count, is_number
from badge_jax.samplers.fisher import FORMS, Form, total_information
from badge_jax.samplers.forward_backward import forward_backward
from badge_jax.strategies._random import uniform
from badge_jax.strategies.base import Strategy, stateless

WEIGHTINGS = ("reference", "paper", "equal")
_MOST_BYTES = 8 * 2**30


def bait(
    *,
    fisher: str = "binary",
    weighting: str = "reference",
    regularization: float | str = 1.0,
    prune: float = 2.0,
    num_candidates: int | None = None,
) -> Strategy:
    """BAIT: the batch that tells most about the output layer, by Fisher information. Features whose entries
    are about 1, or regularization=relative. Best on pixels of MNIST, far below random on ten-dimensional codes.

    The batch S is to make tr((M₀ + ω Σ_S I(x))⁻¹ F) small. I(x) is the information of a row about the weights
    of the output layer, F its mean over all rows that are labeled or available, and M₀ what the labeled rows L
    tell. First ⌈prune·k⌉ rows are added, each time the best one. Then the least useful are removed until k are
    left. They come in the order in which they were added. Labels are not read, and nothing is random unless
    ``num_candidates`` is given.

    Args:
        fisher: the information of a row with probabilities p and features z. "binary" is that of the task "top
            class or not", p̂ (1 − p̂) z zᵀ with p̂ = max p. "block" is p_i (1 − p_i) z zᵀ for each class i by
            itself. "full" is (diag p − p pᵀ) ⊗ z zᵀ, that of the paper.
        weighting: what a labeled row counts, and a new one. With N = |L| + k, "reference" (the authors' code)
            is M₀ = λ + Σ_L I / N and ω = k / N; "paper" is M₀ = λ + Σ_L I / |L| and ω = 1; "equal" is
            M₀ = λ + Σ_L I / N and ω = 1 / N.
        regularization: λ > 0. It adds to the eigenvalues of M₀, which grow with the squares of the features: 1
            presumes features whose entries are about 1. The authors take 0.01 for CIFAR-10. "relative" is the
            mean eigenvalue of F. What is lost in float32's rounding of M₀ is raised to that.
        prune: how many times k rows are added before some are removed; 1 for none removed. Batches are
            prefix-consistent only with 1 and the weighting "paper", which do not depend on k.
        num_candidates: how many available rows, drawn uniformly for each batch, may be chosen. None: all. For
            pools too large for a few hundred passes. F is still that of the whole pool.

    Raises:
        ValueError: for an option that is none of these. The query refuses a form whose matrices exceed 8 GiB,
            and fewer candidates than k.

    References:
        Ash, Goel, Krishnamurthy and Kakade, NeurIPS 2021. "binary": Huseljic, Hahn, Herde, Rauch and Sick,
        ECML-PKDD 2024.

    Example:
        >>> from badge_jax.strategies import bait
        >>> bait(prune=1, weighting="paper").is_prefix_consistent, bait().is_prefix_consistent
        (True, False)
    """
    _check_options(fisher, weighting, regularization, prune, num_candidates)
    form = FORMS[fisher]

    def choose(key: jax.Array, pool: Pool, k: int) -> jax.Array:
        n = pool.available.shape[0]
        check_count(k, n)
        num_rows = min(n, num_candidates or n)
        if num_rows < k:
            raise ValueError(f"num_candidates is {num_candidates}; wanted k = {k} or more")
        _check_size(fisher, pool.logits.shape[1], pool.features.shape[1], num_rows)
        features, exponent = pool.features.astype(jnp.float32), jnp.int32(0)
        if fisher == "full":  # its products of four features would overflow
            features, exponent = _at_unit_scale(features, pool.labeled | pool.available)
        rows = Rows(form.left(pool.logits), features)
        base, target = _problem(form, rows, pool, k, weighting, regularization, exponent)
        num_forward = math.ceil(min(num_rows, prune * k))
        if num_rows == n:
            return forward_backward(
                form, rows, k, base, target, available=pool.available, num_forward=num_forward
            )
        drawn = jnp.sort(uniform(key, pool.available, num_rows))
        some = rows[jnp.maximum(drawn, 0)]
        places = forward_backward(form, some, k, base, target, available=drawn >= 0, num_forward=num_forward)
        return jnp.where(places >= 0, drawn[places], -1)

    return stateless(
        "bait",
        choose,
        needs=("logits", "features"),
        is_prefix_consistent=prune == 1 and weighting == "paper",
    )


def _check_options(
    fisher: str, weighting: str, regularization: float | str, prune: float, num_candidates: int | None
) -> None:
    if fisher not in FORMS:
        raise ValueError(f"fisher is {fisher!r}; wanted one of {', '.join(FORMS)}")
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting is {weighting!r}; wanted one of {', '.join(WEIGHTINGS)}")
    if regularization != "relative" and not (is_number(regularization) and regularization > 0):
        raise ValueError(f"regularization is {regularization!r}; wanted a number above 0, or 'relative'")
    if not (is_number(prune) and prune >= 1):
        raise ValueError(f"prune is {prune!r}; wanted a number, 1 or more")
    if num_candidates is not None and not is_count(num_candidates):
        raise ValueError(f"num_candidates is {num_candidates!r}; wanted None, or a Python int above 0")


def _check_size(fisher: str, c: int, d: int, n: int) -> None:
    """Raises ValueError if the matrices for ``n`` rows, ``c`` classes and ``d`` features exceed 8 GiB."""
    b, e, r = FORMS[fisher].shape(c, d)
    for what, size in (
        (f"two times {b} matrices of {e}·{e} numbers", 8 * b * e**2),
        (f"two times {b} matrices of {r}·{r} numbers for each of {n} rows", 8 * n * b * r**2),
    ):
        if size > _MOST_BYTES:
            names = list(FORMS)
            cheaper = [f"fisher={name!r}" for name in reversed(names[: names.index(fisher)])]
            raise ValueError(
                f"bait with fisher={fisher!r}, {c} classes and {d} features holds {what}: {size} bytes "
                f"({size / 2**30:.1f} GiB), above 8 GiB; wanted {' or '.join(cheaper or ['fewer features'])}"
            )


def _at_unit_scale(features: jax.Array, counted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The features over 2^e, with entries up to 1, and e. With λ over 4^e, the picks are the same."""
    largest = jnp.max(jnp.where(counted, jnp.max(jnp.abs(features), axis=1), 0.0))
    exponent = jnp.where(largest > 0, jnp.frexp(largest)[1], 0)
    half = exponent // 2  # 2^e itself may be beyond float32
    return jnp.ldexp(jnp.ldexp(features, -half), half - exponent), exponent


def _problem(
    form: Form,
    rows: Rows,
    pool: Pool,
    k: int,
    weighting: str,
    regularization: float | str,
    exponent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """M₀ / ω and F, both [b, e, e]: with the information of a new row weighted by 1, the picks are the same.

    A number λ is for rows that are 2^``exponent`` times as long.
    """
    counted = pool.labeled | pool.available
    target = total_information(form, rows, counted / jnp.maximum(jnp.sum(counted), 1))
    strength = jnp.float32(0 if isinstance(regularization, str) else min(regularization, 1e30))
    strength = jnp.ldexp(jnp.ldexp(strength, -exponent), -exponent)
    if regularization == "relative":
        mean = jnp.mean(jnp.diagonal(target, axis1=1, axis2=2))
        strength = jnp.where(mean > 0, mean, 1.0)  # without any information, all rows are alike
    num_labeled = jnp.sum(pool.labeled)
    # what a labeled row, and 1, weigh in M₀ / ω
    if weighting == "paper":
        weight, unit = 1 / jnp.maximum(num_labeled, 1), jnp.float32(1)
    elif weighting == "reference":
        weight, unit = jnp.float32(1 / k), (num_labeled + k) / k
    else:
        weight, unit = jnp.float32(1), jnp.float32(num_labeled + k)
    known = total_information(form, rows, pool.labeled * weight)
    # a smaller λ would be lost in the rounding of M₀, and all else in that of a greater one
    labeled, whole = (jnp.max(jnp.trace(a, axis1=1, axis2=2)) for a in (known, target))
    most = jnp.maximum(labeled, whole)
    strength = jnp.maximum(strength * unit, 2 * EPSILON * labeled)
    strength = jnp.where(most > 0, jnp.clip(strength, 2.0**-40 * most, 2.0**40 * most), strength)
    return known + strength * jnp.eye(known.shape[1], dtype=jnp.float32)[None], target
