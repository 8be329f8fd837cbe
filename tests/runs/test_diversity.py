import numpy as np
import pytest

from badge_jax.runs.diversity import batch_diversity


def outer_products(k, c=3, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(k, c)).astype(np.float32), rng.normal(size=(k, d)).astype(np.float32)


def test_diversity_is_that_of_the_dense_embeddings():
    left, right = outer_products(6)
    dense = (left[:, :, None].astype(float) * right[:, None, :]).reshape(6, -1)
    found = batch_diversity(left, right)
    assert found.log_det == pytest.approx(np.linalg.slogdet(dense @ dense.T)[1], rel=1e-10)
    assert found.mean_norm == pytest.approx(np.linalg.norm(dense, axis=1).mean())


def test_diversity_of_tiny_embeddings_does_not_underflow():
    left, right = outer_products(10, c=4, d=8)
    small = batch_diversity(left * np.float32(1e-15), right * np.float32(1e-15))
    assert small.log_det == pytest.approx(batch_diversity(left, right).log_det - 10 * 60 * np.log(10), rel=1e-5)


@pytest.mark.parametrize("kind", ["copy", "multiple", "zero", "rounding", "rank"])
def test_dependent_embeddings_have_log_det_minus_infinity(kind):
    left, right = outer_products(13 if kind == "rank" else 6)
    if kind in ("copy", "multiple", "rounding"):
        left[4], right[4] = left[1] * (3 if kind == "multiple" else 1), right[1]
    if kind == "rounding":
        right[4] = np.nextafter(right[4], np.float32(9))
    if kind == "zero":
        right[2] = 0
    found = batch_diversity(left, right)
    assert found.log_det == -np.inf
    assert found.mean_norm > 0


def test_diversity_of_what_is_not_finite_is_nan():
    left, right = outer_products(6)
    left[2, 0] = np.nan
    assert np.isnan(batch_diversity(left, right)).all()


def test_nearly_dependent_embeddings_have_a_determinant():
    left, right = outer_products(6)
    left[4], right[4] = left[1], right[1] + np.float32(1e-4)
    assert np.isfinite(batch_diversity(left, right).log_det)
