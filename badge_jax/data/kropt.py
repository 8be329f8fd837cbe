"""OpenML 184 (kropt, "King-Rook vs. King") rebuilt from the rules of chess.

White has a king and a rook, black has a king, and black is to move. The class is the number of moves that
white needs to mate with best play on both sides ("zero": black is mated already), or "draw". Symmetric
positions count once: the white king stands in the triangle a1–d1–d4; if it is on the diagonal a1–h8, the black
king stands on or below that diagonal; if both kings are on it, so does the rook. 28,056 legal positions remain.

A square is ``8·file + rank``. Arrays [64, 64, 64] hold one value for each position, indexed by white king,
white rook and black king. The endgame is solved backwards from the mates.
"""

import numpy as np

from badge_jax.data.table import Table

CLASSES = (
    "draw", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
)  # fmt: skip
FILES = tuple("abcdefgh")
RANKS = tuple("12345678")
NUM_ROWS = 28_056

_UNSOLVED = 99
_KING_STEPS = [(f, r) for f in (-1, 0, 1) for r in (-1, 0, 1) if (f, r) != (0, 0)]
_ROOK_STEPS = [(-1, 0), (1, 0), (0, -1), (0, 1)]


def generate() -> Table:
    """Makes all 28,056 positions, in lexicographic order of the columns.

    Returns:
        A `Table` with six categorical columns: file and rank of the white king, of the white rook and of the
        black king. The class is the depth.
    """
    white_king, white_rook, black_king, depth = canonical_positions(solve())
    squares = np.stack([white_king, white_rook, black_king], axis=1)
    codes = np.stack([squares // 8, squares % 8], axis=2).reshape(-1, 6)
    return Table(codes.astype(np.int8), (FILES, RANKS) * 3, (depth + 1).astype(np.int32), CLASSES)


def canonical(table: Table) -> Table:
    """Reorders the same positions from another source like those of `generate`, so that both split alike.

    Args:
        table: the 28,056 positions, with `generate`'s columns in their order; rows, categories and classes may
            be in any order.

    Returns:
        The `Table` with rows, categories and classes in the order of `generate`.
    """
    columns = [
        np.array([names.index(category) for category in categories])[codes]
        for names, categories, codes in zip((FILES, RANKS) * 3, table.categories, table.codes.T, strict=True)
    ]
    codes = np.stack(columns, axis=1).astype(np.int8)
    labels = np.array([CLASSES.index(name) for name in table.classes], np.int32)[table.labels]
    order = np.lexsort(codes.T[::-1])
    return Table(codes[order], (FILES, RANKS) * 3, labels[order], CLASSES)


def solve() -> np.ndarray:
    """Solves the endgame with black to move.

    Returns:
        [64, 64, 64] int8: the moves that white needs to mate; −1 for a draw, −2 for an illegal position.
    """
    legal = _legal()
    in_check = _rook_attacks()
    can_escape = _any_black_move(legal & ~in_check)
    touch = _kings_touch()  # beside the rook, white's king protects it and black's king can capture it
    can_capture = legal & ~touch[:, :, None] & touch[None, :, :]
    lost_in = np.full((64, 64, 64), _UNSOLVED, np.int8)  # black to move
    lost_in[legal & in_check & ~can_escape & ~can_capture] = 0
    stalemate = legal & ~in_check & ~can_escape & ~can_capture
    open_positions = legal & ~can_capture & ~stalemate & (lost_in != 0)
    white_legal = legal & ~in_check
    for depth in range(1, len(CLASSES)):
        # white to move wins in `depth` if some move reaches a position that black loses in depth − 1
        wins = white_legal & _any_white_move(lost_in < depth)
        # black loses in `depth` if every move reaches a position that white wins in at most `depth`
        newly = open_positions & (lost_in == _UNSOLVED) & ~_any_black_move(white_legal & ~wins)
        if not newly.any():
            break
        lost_in[newly] = depth
    lost_in[legal & (lost_in == _UNSOLVED)] = -1
    lost_in[~legal] = -2
    return lost_in


def canonical_positions(lost_in: np.ndarray) -> tuple[np.ndarray, ...]:
    """One legal position from every class of symmetric positions, in lexicographic order of squares.

    Args:
        lost_in: [64, 64, 64] int8, from `solve`.

    Returns:
        Squares of the white king, the white rook and the black king, and the depth: [28056] int64 each.
    """
    white_king, white_rook, black_king = np.nonzero(lost_in != -2)
    files, ranks = white_king // 8, white_king % 8
    in_triangle = (files < 4) & (ranks <= files)

    def side(square: np.ndarray) -> np.ndarray:  # −1 below the diagonal a1–h8, 0 on it, 1 above
        return np.sign(square % 8 - square // 8)

    kings_decide = (side(white_king) != 0) | (side(black_king) < 0)
    rook_decides = (side(white_king) == 0) & (side(black_king) == 0) & (side(white_rook) <= 0)
    keep = in_triangle & (kings_decide | rook_decides)
    positions = white_king[keep], white_rook[keep], black_king[keep]
    return *positions, lost_in[positions].astype(np.int64)


def _shifted(square_files: np.ndarray, square_ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the squares, 0 for those off the board, and whether each is on the board."""
    on_board = (square_files >= 0) & (square_files < 8) & (square_ranks >= 0) & (square_ranks < 8)
    return np.where(on_board, 8 * square_files + square_ranks, 0), on_board


def _step(file_step: int, rank_step: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of the 64 squares, the square one step away, and whether that square is on the board."""
    squares = np.arange(64)
    return _shifted(squares // 8 + file_step, squares % 8 + rank_step)


def _kings_touch() -> np.ndarray:
    """Whether two kings stand on the same square or on neighbouring squares: [64, 64] bool."""
    squares = np.arange(64)
    file_distance = abs(squares[:, None] // 8 - squares[None, :] // 8)
    rank_distance = abs(squares[:, None] % 8 - squares[None, :] % 8)
    return np.maximum(file_distance, rank_distance) <= 1


def _legal() -> np.ndarray:
    """Whether the three squares differ and the kings do not touch: [64, 64, 64] bool."""
    different = ~np.eye(64, dtype=bool)
    return different[:, :, None] & different[None, :, :] & ~_kings_touch()[:, None, :]


def _rook_attacks() -> np.ndarray:
    """Whether the rook attacks the third square; only the white king can block it: [64, 64, 64] bool."""
    attacks = np.zeros((64, 64, 64), bool)
    kings = np.arange(64)[:, None]
    rooks = np.arange(64)
    for file_step, rank_step in _ROOK_STEPS:
        unblocked = np.ones((64, 64), bool)
        for distance in range(1, 8):
            target, on_board = _shifted(rooks // 8 + distance * file_step, rooks % 8 + distance * rank_step)
            unblocked = unblocked & on_board[None, :] & (target[None, :] != kings)
            king, rook = np.nonzero(unblocked)
            attacks[king, rook, target[rook]] = True
    return attacks


def _any_black_move(reached: np.ndarray) -> np.ndarray:
    """Whether some step of black's king leads to a position in ``reached``: [64, 64, 64] bool."""
    result = np.zeros_like(reached)
    for step in _KING_STEPS:
        target, on_board = _step(*step)
        result |= reached[:, :, target] & on_board[None, None, :]
    return result


def _any_white_move(reached: np.ndarray) -> np.ndarray:
    """Whether some move of white's king or rook leads to a position in ``reached``: [64, 64, 64] bool.

    ``reached`` must be False where two pieces share a square.
    """
    result = np.zeros_like(reached)
    for step in _KING_STEPS:
        target, on_board = _step(*step)
        result |= reached[target, :, :] & on_board[:, None, None]
    squares = np.arange(64)
    white_king, black_king = squares[:, None, None], squares[None, None, :]
    for file_step, rank_step in _ROOK_STEPS:
        unblocked = np.ones_like(reached)
        for distance in range(1, 8):
            target, on_board = _shifted(squares // 8 + distance * file_step, squares % 8 + distance * rank_step)
            square = target[None, :, None]
            unblocked = unblocked & on_board[None, :, None] & (square != white_king) & (square != black_king)
            result |= unblocked & reached[:, target, :]
    return result
