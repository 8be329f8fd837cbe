import numpy as np

from badge_jax.data.table import Table, encode

TABLE = Table(
    np.array([[0, 2], [1, 0]], np.int8), (("a", "b"), ("x", "y", "z")), np.zeros(2, np.int32), ("only",)
)
ROWS = np.array([0, 1])


def test_onehot():
    np.testing.assert_array_equal(encode(TABLE, "onehot", ROWS), [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]])


def test_codes():
    np.testing.assert_array_equal(encode(TABLE, "codes", ROWS), [[0, 2], [1, 0]])
