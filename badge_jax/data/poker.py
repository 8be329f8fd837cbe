"""Poker hands and their classes, from the rules.

A hand is five distinct cards, each with a suit (1–4) and a rank (1 ace, 2 … 10, 11 jack, 12 queen, 13 king).
The classes are those of OpenML 155 ("pokerhand") and of UCI's Poker Hand: 0 nothing, 1 one pair, 2 two pairs,
3 three of a kind, 4 straight, 5 flush, 6 full house, 7 four of a kind, 8 straight flush, 9 royal flush. The ace
is low or high in a straight.
"""

from itertools import chain, combinations

import numpy as np

from badge_jax.data.table import Table

NUM_HANDS = 2_598_960
NUM_CLASSES = 10
SUITS = ("1", "2", "3", "4")


def generate() -> Table:
    """Makes all 2,598,960 hands, each once, in lexicographic order of the cards.

    The cards of a hand are sorted by suit and rank. This is not the paper's data set: OpenML 155 has 829,201
    hands, and some of these differ only in the order of their cards.

    Returns:
        A `Table` with five categorical columns, the suits, and five numeric columns, the ranks.
    """
    cards = np.fromiter(chain.from_iterable(combinations(range(52), 5)), np.int8, count=5 * NUM_HANDS)
    hands = cards.reshape(NUM_HANDS, 5)
    suits, ranks = hands // 13, hands % 13 + 1
    return Table(
        codes=suits,
        categories=(SUITS,) * 5,
        labels=classify(suits, ranks),
        classes=tuple(str(i) for i in range(NUM_CLASSES)),
        numbers=ranks.astype(np.float32),
    )


def classify(suits: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Classifies poker hands.

    Args:
        suits: [n, 5] integers, any four numbers.
        ranks: [n, 5] integers in 1 … 13.

    Returns:
        [n] int32, the class of each hand in 0 … 9.
    """
    ranks = np.sort(ranks, axis=1).astype(np.int8)
    num_equal = sum((ranks[:, i] == ranks[:, j]).astype(np.int8) for i, j in combinations(range(5), 2))
    is_flush = (suits == suits[:, :1]).all(axis=1)
    is_high = (num_equal == 0) & (ranks[:, 0] == 1) & (ranks[:, 1] == 10)  # ace, ten, jack, queen, king
    is_straight = (num_equal == 0) & (ranks[:, 4] - ranks[:, 0] == 4) | is_high
    # number of equal pairs of cards: 1 in one pair, 2 in two pairs, 3 in three of a kind, 4 in a full house, 6
    # in four of a kind
    labels = np.array([0, 1, 2, 3, 6, -1, 7], np.int32)[num_equal]
    labels[is_straight] = 4
    labels[is_flush & (num_equal == 0)] = 5
    labels[is_flush & is_straight] = 8
    labels[is_flush & is_high] = 9
    return labels
