"""The memory that a selection needs, from its sizes alone."""

from badge_jax.samplers.streamed import tile_size
from badge_jax.selection.matrices import Matrix
from badge_jax.strategies import Spread, Strategy


def pool_bytes(needed: list[Matrix]) -> int:
    """Size of the inputs as they are stored, in bytes."""
    return sum(matrix.num_bytes for matrix in needed)


def held_bytes(needed: list[Matrix]) -> int:
    """Size of those files that are held in memory under every budget, in bytes."""
    return sum(matrix.num_bytes for matrix in needed if matrix.why_whole)


def work_bytes(
    strategy: Strategy, k: int, n: int, needed: list[Matrix], num_labeled: int, compares: bool
) -> int:
    """Memory besides the pool: a few numbers for each row, the chosen rows, and the tile in use.

    Args:
        strategy: how to choose.
        k: how many rows to choose.
        n: rows of the pool.
        needed: the inputs that are read.
        num_labeled: how many rows are labeled already.
        compares: whether rows are compared, to explain the picks or to leave out copies.

    Returns:
        Bytes.
    """
    width = sum(matrix.shape[1] for matrix in needed)
    if not width:
        return 16 * n
    whole = 0
    # the pool as float32, its embedding, and as much again for the strategy's own work
    if strategy.plan is None:
        whole = 3 * 4 * n * width
    num_held = 0
    if isinstance(strategy.plan, Spread):
        num_centers = num_labeled if strategy.plan.centers else 0
        num_held = strategy.plan.sampler.cost(k, n, width, num_centers).num_held
    # the picks and centres; digests and uncertainties of all rows and their order
    comparing = 16 * width * k + 24 * 1024 * k + 64 * n if compares else 0
    # a tile as stored, a copy of it on its way to the device, and one as float32; distances to 256 centres
    tile, source = tile_size(n, width), max(matrix.dtype.itemsize for matrix in needed)
    tile_bytes = tile * width * (2 * source + 4) + 4 * tile * 256
    pieces = sum(matrix.piece_bytes for matrix in needed)
    return whole + 40 * n + 4 * width * num_held + comparing + tile_bytes + pieces
