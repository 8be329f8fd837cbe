import gzip

import numpy as np
import pytest

from badge_jax.data import kropt

COUNTS = {
    "draw": 2796, "zero": 27, "one": 78, "two": 246, "three": 81, "four": 198, "five": 471, "six": 592,
    "seven": 683, "eight": 1433, "nine": 1712, "ten": 1985, "eleven": 2854, "twelve": 3597, "thirteen": 4194,
    "fourteen": 4553, "fifteen": 2166, "sixteen": 390,
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return kropt.generate()


@pytest.fixture(scope="module")
def solved():
    return kropt.solve()


def square(name):
    return 8 * "abcdefgh".index(name[0]) + int(name[1]) - 1


def test_class_counts_are_those_of_the_published_set(table):
    counts = np.bincount(table.labels, minlength=18)
    assert dict(zip(table.classes, counts.tolist(), strict=True)) == COUNTS
    assert table.codes.shape == (28_056, 6)


def test_equals_the_published_file(table, shared_data):
    with gzip.open(shared_data / "openml" / "kropt.arff.gz", "rt") as file:
        published = {line.strip() for line in file if line[:1] in "abcd" and line.count(",") == 6}
    assert len(published) == 28_056
    names = [
        ",".join(
            [*(names[code] for names, code in zip(table.categories, row, strict=True)), table.classes[label]]
        )
        for row, label in zip(table.codes, table.labels, strict=True)
    ]
    assert set(names) == published


def test_rows_are_distinct_and_sorted(table):
    order = np.lexsort(table.codes.T[::-1])
    assert (order == np.arange(len(order))).all()
    assert len(np.unique(table.codes, axis=0)) == len(table.codes)


@pytest.mark.parametrize(
    ("white_king", "white_rook", "black_king", "depth"),
    [
        ("b6", "h8", "b8", 0),  # mate on the back rank
        ("c7", "a3", "a7", 0),  # mate on the edge file
        ("c3", "b2", "a1", -1),  # stalemate: the rook covers a2 and b1, the king covers the rook
        ("d4", "h8", "g7", -1),  # the rook hangs
    ],
)
def test_known_positions(solved, white_king, white_rook, black_king, depth):
    assert solved[square(white_king), square(white_rook), square(black_king)] == depth


def test_board_symmetries_keep_the_depth(solved):
    """Mirroring files or ranks, or swapping them, changes no depth: the solver does not know of symmetry."""
    boards = solved.reshape((8, 8) * 3)
    mirrored = boards[::-1, :, ::-1, :, ::-1, :]
    swapped = boards.transpose(1, 0, 3, 2, 5, 4)
    np.testing.assert_array_equal(boards, mirrored)
    np.testing.assert_array_equal(boards, swapped)
    np.testing.assert_array_equal(boards, boards[:, ::-1, :, ::-1, :, ::-1])
