import numpy as np
import pytest

from badge_jax.data import poker

NAMED = [  # suits, ranks, class: written down by hand
    ("1234 1", "2 5 7 9 11", 0),
    ("1234 1", "5 5 7 9 11", 1),
    ("1234 1", "5 5 7 7 11", 2),
    ("1234 1", "5 5 5 7 11", 3),
    ("1234 1", "5 6 7 8 9", 4),
    ("1234 1", "1 2 3 4 5", 4),
    ("1234 1", "1 10 11 12 13", 4),
    ("1234 1", "1 2 11 12 13", 0),
    ("3333 3", "2 5 7 9 11", 5),
    ("1234 1", "5 5 5 7 7", 6),
    ("1234 1", "5 5 5 5 7", 7),
    ("2222 2", "5 6 7 8 9", 8),
    ("2222 2", "1 2 3 4 5", 8),
    ("4444 4", "1 10 11 12 13", 9),
]


@pytest.mark.parametrize(("suits", "ranks", "expected"), NAMED)
def test_hands_by_name_in_any_order_of_cards(suits, ranks, expected):
    cards = np.array([[int(s) for s in suits.replace(" ", "")], [int(r) for r in ranks.split()]])
    orders = [np.random.default_rng(i).permutation(5) for i in range(10)]
    found = poker.classify(*(np.stack([row[order] for order in orders]) for row in cards))
    assert found.tolist() == [expected] * 10


def test_every_hand_once_with_the_known_frequencies():
    """Frequencies of five-card hands: textbook combinatorics."""
    table = poker.generate()
    expected = [1_302_540, 1_098_240, 123_552, 54_912, 10_200, 5_108, 3_744, 624, 36, 4]
    assert np.bincount(table.labels).tolist() == expected
    cards = table.codes.astype(int) * 13 + table.numbers.astype(int) - 1
    assert (np.diff(cards, axis=1) > 0).all(), "cards are distinct and sorted"
    codes = cards @ 52 ** np.arange(4, -1, -1)
    assert (np.diff(codes) > 0).all(), "hands are distinct and sorted"
