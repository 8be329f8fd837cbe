import jax
import numpy as np
import pytest
from oracles import badge_embedding, softmax
from pools import make_pool, pool_of_logits

from badge_jax import STRATEGIES


def lengths(pool, expected):
    if not expected:
        return np.linalg.norm(badge_embedding(pool.logits, pool.features), axis=1)
    p, z = softmax(pool.logits), np.asarray(pool.features, np.float64)
    every = [np.linalg.norm(p - np.eye(p.shape[1])[y], axis=1) for y in range(p.shape[1])]
    return np.linalg.norm(z, axis=1) * (p.T * np.array(every)).sum(axis=0)


@pytest.mark.parametrize("expected", [False, True])
def test_order_is_that_of_the_lengths_in_float64(expected):
    pool = make_pool("signed")
    picks = STRATEGIES["gradnorm"](expected=expected).query(jax.random.key(0), (), pool, 45)[0]
    found = lengths(pool, expected)[np.asarray(picks)]
    # a length is right to 32 roundings of 6e-8, so rows out of order differ by less than twice this
    assert (np.diff(found) < 4e-6 * found[:-1]).all()
    other = lengths(pool, not expected)[np.asarray(picks)]
    assert (np.diff(other) > 1e-3 * other[:-1]).any(), "the other length is told apart"


def test_what_float32_has_no_room_for_is_told_apart():
    """Residuals of 1e-9 to 1e-130, and lengths of features whose squares are 0 or infinite."""
    rng = np.random.default_rng(2)
    gaps = rng.permutation(np.linspace(20, 300, 80))
    logits = np.stack([gaps, np.zeros(80), np.full(80, -1.0)], axis=1)
    pool = pool_of_logits(logits)._replace(features=np.ones((80, 3), np.float32))
    for expected in (False, True):
        strategy = STRATEGIES["gradnorm"](expected=expected)
        assert strategy.query(jax.random.key(0), (), pool, 80)[0].tolist() == np.argsort(gaps).tolist()
    scales = rng.permutation(np.geomspace(1e-35, 1e35, 80))
    pool = pool_of_logits(0 * logits)._replace(features=(scales[:, None] * np.ones(3)).astype(np.float32))
    strategy = STRATEGIES["gradnorm"]()
    assert strategy.query(jax.random.key(0), (), pool, 80)[0].tolist() == np.argsort(-scales).tolist()


def test_options_that_are_no_bool_are_refused():
    with pytest.raises(ValueError, match="expected is 'no'; wanted True or False"):
        STRATEGIES["gradnorm"](expected="no")
