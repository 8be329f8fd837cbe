"""Features of patches against loops in float64, and a linear classifier against SciPy's minimum."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize

from experiments import coates_ng


def patch_codes(encoder, images, side):
    """The definition, patch by patch, in float64."""
    mean, whitening, centers = (np.asarray(part, np.float64) for part in encoder)
    places = images.shape[1] - side + 1
    codes = np.zeros((len(images), places, places, len(centers)))
    for i, r, c in np.ndindex(codes.shape[:3]):
        patch = images[i, r : r + side, c : c + side].astype(np.float64).ravel()
        patch = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + coates_ng.CONTRAST)
        distances = np.linalg.norm(centers - (patch - mean) @ whitening, axis=1)
        codes[i, r, c] = np.maximum(0.0, distances.mean() - distances)
    return codes


@pytest.fixture(scope="module")
def images():
    # smooth, so that patches have something in common
    steps = np.random.default_rng(0).normal(size=(12, 9, 9, 3))
    return np.clip(128 + 12 * steps.cumsum(1).cumsum(2), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def encoder(images):
    return coates_ng.learn(jax.random.key(0), images, num_patches=3000, num_centers=5, side=3)


def test_codes_are_those_of_the_definition(images, encoder):
    codes, half = patch_codes(encoder, images, 3), 4  # seven places: four in the first half, three after
    halves = slice(0, half), slice(half, None)
    wanted = [codes[:, rows, columns].sum(axis=(1, 2)) for rows in halves for columns in halves]
    found = coates_ng.encode(encoder, images)
    assert found.shape == (12, 4 * 5)
    np.testing.assert_allclose(found, np.concatenate(wanted, axis=1), rtol=2e-4, atol=2e-3)
    assert 0 < (codes > 0).mean() < 1


def test_whitened_patches_have_no_correlation(images, encoder):
    cut = coates_ng.normalized(coates_ng.patches_of(images, 3).reshape(-1, 27))
    mean, whitening = np.asarray(encoder.mean), np.asarray(encoder.whitening)
    covariance = np.cov((np.asarray(cut) - mean) @ whitening, rowvar=False)
    values = np.linalg.eigvalsh(np.cov(np.asarray(cut, np.float64), rowvar=False))
    wanted = values / (values + coates_ng.RIDGE)  # below 1 where the ridge counts
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(covariance)), np.sort(wanted), atol=0.1)


def test_the_classifier_ends_at_the_minimum():
    rng = np.random.default_rng(0)
    inputs, labels, penalty = rng.normal(size=(40, 4)), rng.integers(0, 10, 40), 0.1
    signs = 2 * np.eye(10)[labels] - 1

    def loss(flat):
        kernel, bias = flat[:40].reshape(4, 10), flat[40:]
        hinges = np.maximum(0, 1 - signs * (inputs @ kernel + bias))
        return (hinges**2).sum(axis=1).mean() + penalty / 2 * (kernel**2).sum()

    kernel, bias = coates_ng.fit_linear(inputs.astype(np.float32), labels.astype(np.int32), penalty)
    ours = loss(np.concatenate([np.ravel(kernel), bias]).astype(np.float64))
    assert ours == pytest.approx(minimize(loss, np.zeros(50)).fun, rel=1e-4)
