import numpy as np

from badge_jax.data.splits import random_split
from badge_jax.paper import MAX_POOL


def test_ninety_ten_without_overlap():
    labels = np.arange(1003) % 4
    split = random_split(labels, 4, seed=0)
    assert len(split.pool) == 902
    assert sorted([*split.pool, *split.test]) == list(range(1003))
    assert split.missing_classes == ()
    np.testing.assert_array_equal(split.pool, random_split(labels, 4, seed=0).pool)
    assert (split.pool != random_split(labels, 4, seed=1).pool).any()


def test_the_pool_is_capped():
    split = random_split(np.zeros(100_000, int), 1, seed=0)
    assert len(split.pool) == MAX_POOL
    assert len(split.test) == 10_000


def test_drawn_again_until_every_class_is_in_the_pool():
    labels = np.zeros(30, int)
    labels[7] = 1  # lands in the test set in one split of ten
    splits = [random_split(labels, 2, seed) for seed in range(60)]
    assert all(7 in split.pool for split in splits)
    assert all(split.missing_classes == () for split in splits)


def test_classes_without_a_row_are_named():
    assert random_split(np.zeros(30, int), 3, seed=0).missing_classes == (1, 2)
