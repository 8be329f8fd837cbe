"""Samplers as others write them: clean NumPy loops, and the authors' own function."""

import ast
import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def numpy_kmeans_plusplus(rng: np.random.Generator, left: np.ndarray, right: np.ndarray, k: int) -> list[int]:
    """k-means++ over outer products, one pass a pick."""
    norms = np.einsum("ij,ij->i", left, left) * np.einsum("ij,ij->i", right, right)
    nearest = np.full(len(left), np.inf)
    chosen = [int(rng.integers(len(left)))]
    while len(chosen) < k:
        index = chosen[-1]
        inner = (left @ left[index]) * (right @ right[index])
        np.minimum(nearest, np.maximum(norms + norms[index] - 2 * inner, 0), out=nearest)
        nearest[index] = 0
        chosen.append(int(rng.choice(len(left), p=nearest / nearest.sum())))
    return chosen


def numpy_k_dpp(
    rng: np.random.Generator, left: np.ndarray, right: np.ndarray, k: int, num_steps: int
) -> list[int]:
    """The swap chain of a k-DPP over outer products, a step at a time, the inverse kept by rank-one updates."""
    order = rng.permutation(len(left))
    members, others = order[:k].copy(), order[k:].copy()
    set_left, set_right = left[members], right[members]
    inverse = np.linalg.inv((set_left @ set_left.T) * (set_right @ set_right.T))
    for _ in range(num_steps):
        place, other = int(rng.integers(k)), int(rng.integers(len(others)))
        row = others[other]
        inner = (set_left @ left[row]) * (set_right @ right[row])
        factor = inverse @ inner
        norm = (left[row] @ left[row]) * (right[row] @ right[row])
        precision = inverse[place, place]
        schur = norm - inner @ factor + factor[place] ** 2 / precision
        if rng.random() >= schur * precision:
            continue
        column = inverse[place].copy()
        factor -= column * (factor[place] / precision)  # now that of the set without the row that leaves
        factor[place] = -1
        inverse -= np.outer(column, column / precision)
        inverse += np.outer(factor, factor / schur)
        members[place], others[other] = row, members[place]
        set_left[place], set_right[place] = left[row], right[row]
    return members.tolist()


def load_init_centers(checkout: Path) -> Callable:
    """The authors' ``init_centers``, without the imports of its module (old networks, a Torch 7 reader)."""
    path = checkout / "query_strategies" / "badge_sampling.py"
    if not path.exists():
        sys.exit(f"--peer: found no {path}; wanted a checkout of the authors' repository")
    from scipy import stats
    from sklearn.metrics import pairwise_distances

    functions = [
        node for node in ast.parse(path.read_text()).body if getattr(node, "name", "") == "init_centers"
    ]
    names = {"np": np, "stats": stats, "pairwise_distances": pairwise_distances}
    exec(compile(ast.Module(functions, []), str(path), "exec"), names)

    def quietly(vectors: np.ndarray, k: int) -> list[int]:
        with contextlib.redirect_stdout(io.StringIO()):
            return names["init_centers"](vectors, k)

    return quietly
