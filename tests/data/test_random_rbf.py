"""MOA's random RBF stream, against its first rows and against Java's generator step by step."""

import math

import numpy as np
import pytest

from badge_jax.data import random_rbf
from badge_jax.data.random_rbf import JavaRandom, instances, make_centroids


class JavaGaussian(JavaRandom):
    """nextGaussian as java.util.Random documents it, with its cached second value."""

    kept = None

    def next_gaussian(self):
        if self.kept is not None:
            value, self.kept = self.kept, None
            return value
        while True:
            first, second = 2 * self.next_double() - 1, 2 * self.next_double() - 1
            square = first * first + second * second
            if 0 < square < 1:
                factor = math.sqrt(-2 * math.log(square) / square)
                self.kept = second * factor
                return first * factor


def test_rows_are_those_of_the_stream_one_by_one():
    centroids, draw = make_centroids(), JavaGaussian(1)
    columns, labels = instances(301)
    for row, label in zip(columns, labels, strict=True):
        target = draw.next_double() * centroids.weights.sum()
        index = int(np.argmax(np.cumsum(centroids.weights) > target))
        direction = np.array([draw.next_double() * 2 - 1 for _ in range(10)])
        length = draw.next_gaussian() * centroids.spreads[index] / np.linalg.norm(direction)
        assert label == centroids.classes[index]
        np.testing.assert_allclose(row, centroids.places[index] + direction * length, atol=1e-12)


@pytest.mark.parametrize(
    ("seed", "doubles"),
    [(0, [0.730967787376657, 0.24053641567148587]), (42, [0.7275636800328681, 0.6832234717598454])],
)
def test_javas_numbers(seed, doubles):
    """new Random(seed).nextDouble(), twice, as published for these seeds."""
    draw = JavaRandom(seed)
    assert [draw.next_double() for _ in doubles] == doubles


def test_prefix():
    np.testing.assert_array_equal(instances(200)[0], instances(301)[0][:200])


def test_the_real_first_rows(shared_data):
    with np.load(shared_data / "openml" / "random_rbf_first_2000.npz") as real:
        columns, labels = instances(2000)
        np.testing.assert_allclose(columns, real["X"], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(labels, real["y"])


def test_class_counts_of_the_million():
    table = random_rbf.generate()
    assert np.bincount(table.labels).tolist() == [261174, 166315, 179702, 92713, 300096]
    assert table.numbers.shape == (1_000_000, 10)
