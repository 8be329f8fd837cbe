"""OpenML 156 (RandomRBF_0_0), generated again: MOA's RandomRBFGenerator with Java's random numbers.

There are 50 centroids. Each has a place in the unit cube of 10 dimensions, one of 5 classes, a spread and a
weight. An instance picks a centroid by weight. It lies in a random direction from the centroid, at a distance
of a normal deviate times the spread. Centroids and instances come from two generators with seed 1, so the
million rows are always the same.

References:
    Bifet, Holmes, Kirkby and Pfahringer, MOA, JMLR 2010; the documentation of java.util.Random.
"""

import math
from typing import NamedTuple

import numpy as np

from badge_jax.data.table import Table

NUM_ROWS = 1_000_000
NUM_COLUMNS = 10
NUM_CLASSES = 5
_NUM_CENTROIDS = 50
_SEED = 1
_MULTIPLIER, _INCREMENT, _MASK = 0x5DEECE66D, 0xB, (1 << 48) - 1


class Centroids(NamedTuple):
    """The 50 centroids.

    Attributes:
        places: [50, 10] float64, in the unit cube.
        classes: [50] int32, in 0 … 4.
        spreads: [50] float64.
        weights: [50] float64, not normalised.
    """

    places: np.ndarray
    classes: np.ndarray
    spreads: np.ndarray
    weights: np.ndarray


def generate() -> Table:
    """Makes the million rows, in the order of MOA's stream.

    Returns:
        A `Table` with ten numeric columns.
    """
    columns, labels = instances(NUM_ROWS)
    return Table(
        codes=np.zeros((NUM_ROWS, 0), np.int8),
        categories=(),
        labels=labels,
        classes=tuple(f"class{i + 1}" for i in range(NUM_CLASSES)),
        numbers=columns.astype(np.float32),
    )


def instances(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes the first ``count`` rows.

    Args:
        count: number of rows, at least 1.

    Returns:
        Rows [count, 10] float64 and their classes [count] int32.
    """
    centroids = make_centroids()
    # a row takes 11 numbers; every second row also takes pairs until one is in the unit circle (mean 1.27)
    numbers = _doubles(_SEED, int(count * (11 + 1.4)) + 1000)
    starts, gaussians = _walk(numbers, count)
    # the first centroid where the running sum of weights exceeds the draw
    totals = np.cumsum(centroids.weights)
    chosen = np.searchsorted(totals, numbers[starts] * totals[-1], side="right")
    directions = numbers[starts[:, None] + np.arange(1, NUM_COLUMNS + 1)] * 2 - 1
    squares = np.zeros(count)
    for column in directions.T:  # in Java's order of summation
        squares += column * column
    lengths = gaussians * centroids.spreads[chosen] / np.sqrt(squares)
    return centroids.places[chosen] + directions * lengths[:, None], centroids.classes[chosen]


def make_centroids() -> Centroids:
    """Draws the centroids with their own generator, of seed 1."""
    draw = JavaRandom(_SEED)
    places, classes, spreads, weights = [], [], [], []
    for _ in range(_NUM_CENTROIDS):
        places.append([draw.next_double() for _ in range(NUM_COLUMNS)])
        classes.append(draw.next_int(NUM_CLASSES))
        spreads.append(draw.next_double())
        weights.append(draw.next_double())
    return Centroids(np.array(places), np.array(classes, np.int32), np.array(spreads), np.array(weights))


class JavaRandom:
    """java.util.Random: a linear congruential generator with 48 bits of state."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ _MULTIPLIER) & _MASK

    def next_bits(self, bits: int) -> int:
        """The next ``bits`` random bits, from one step."""
        self._state = (self._state * _MULTIPLIER + _INCREMENT) & _MASK
        return self._state >> (48 - bits)

    def next_double(self) -> float:
        """Uniform on [0, 1), with 53 bits from two steps."""
        return ((self.next_bits(26) << 27) + self.next_bits(27)) / (1 << 53)

    def next_int(self, bound: int) -> int:
        """Uniform on 0 … bound − 1, for a bound that is not a power of two."""
        while True:
            bits = self.next_bits(31)
            value = bits % bound
            if bits - value + (bound - 1) < 1 << 31:  # where Java's int would overflow, draw again
                return value


def _doubles(seed: int, count: int) -> np.ndarray:
    """The first ``count`` values of `JavaRandom.next_double`, computed together: [count] float64."""
    states = np.empty(2 * count, np.uint64)
    states[0] = (((seed ^ _MULTIPLIER) & _MASK) * _MULTIPLIER + _INCREMENT) & _MASK
    # j steps at once are one step with another multiplier and increment: each pass doubles the known part of
    # the stream. Arithmetic modulo 2^64 is exact modulo 2^48
    multiplier, increment, known = _MULTIPLIER, _INCREMENT, 1
    while known < len(states):
        new = min(known, len(states) - known)
        states[known : known + new] = (states[:new] * np.uint64(multiplier) + np.uint64(increment)) & np.uint64(
            _MASK
        )
        multiplier, increment = multiplier**2 & _MASK, (multiplier + 1) * increment & _MASK
        known += new
    high, low = states[::2] >> np.uint64(22), states[1::2] >> np.uint64(21)
    return ((high << np.uint64(27)) + low).astype(np.float64) / (1 << 53)


def _walk(numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each row starts in the stream of ``numbers``, and its normal deviate: [count] each.

    Marsaglia's polar method gives two deviates at a time: the second one serves the next row.
    """
    pairs = numbers[:-1] * 2 - 1, numbers[1:] * 2 - 1
    squares = pairs[0] * pairs[0] + pairs[1] * pairs[1]
    is_inside = ((squares < 1) & (squares != 0)).tolist()
    starts, accepted, position = [], [], 0
    for _ in range(-(-count // 2)):
        starts.append(position)
        position += 1 + NUM_COLUMNS
        while not is_inside[position]:
            position += 2
        accepted.append(position)
        position += 2
        starts.append(position)
        position += 1 + NUM_COLUMNS
    square = squares[accepted]
    # math.log is accurate to the last bit, like Java's; NumPy's may not be
    factors = np.array([math.sqrt(-2 * math.log(s) / s) for s in square.tolist()])
    gaussians = np.stack([pairs[0][accepted] * factors, pairs[1][accepted] * factors], axis=1).ravel()
    return np.array(starts[:count]), gaussians[:count]
