"""Samplers as others write them: clean NumPy loops, and the authors' own query."""

import ast
import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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


def numpy_bait(logits: np.ndarray, features: np.ndarray, k: int, num_steps: int) -> list[int]:
    """The first steps of BAIT over "top class or not" without labeled rows, a rank-one update each, float64."""
    weights = np.exp(np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True))
    others = weights.sum(axis=1) - 1  # the greatest weight is 1
    vectors = (np.sqrt(others) / (1 + others))[:, None] * features
    target = vectors.T @ vectors / len(vectors)
    inverse = np.eye(vectors.shape[1])
    moved = vectors @ inverse
    known, pull = (moved * vectors).sum(axis=1), ((moved @ target) * moved).sum(axis=1)
    chosen: list[int] = []
    for _ in range(num_steps):
        gains = pull / (1 + known)
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        column = inverse @ vectors[chosen[-1]]
        weight, bend = 1 / (1 + known[chosen[-1]]), column @ target @ column
        u, t = vectors @ column, vectors @ (inverse @ (target @ column))
        pull += weight**2 * bend * u**2 - 2 * weight * u * t
        known -= weight * u**2
        inverse -= weight * np.outer(column, column)
    return chosen


def probabilities_of(residuals: np.ndarray) -> np.ndarray:
    """The probabilities p behind the residuals p − onehot(ŷ), whose only negative entry is at ŷ."""
    return residuals + np.eye(residuals.shape[1], dtype=residuals.dtype)[residuals.argmin(axis=1)]


class AuthorsBadge(NamedTuple):
    """The authors' own query.

    Attributes:
        name: which of their versions it is.
        writes_out: whether it writes the embedding [n, c·d] out. Since July 2023 theirs does not.
        query: ``query(probabilities [n, c], features [n, d], k) -> [k]``, drawn by NumPy's global generator.
    """

    name: str
    writes_out: bool
    query: Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def load_authors_badge(checkout: Path) -> AuthorsBadge:
    """What ``BadgeSampling.query`` of this checkout does, all of it but the network: the file's functions and
    classes without its imports (old networks, a Torch 7 reader), upon a pool whose outputs are known."""
    path = checkout / "query_strategies" / "badge_sampling.py"
    if not path.exists():
        sys.exit(f"--peer: found no {path}; wanted a checkout of the authors' repository")
    from scipy import stats
    from sklearn.metrics import pairwise_distances  # of the old version

    source = path.read_text()
    definitions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names = {"np": np, "stats": stats, "pairwise_distances": pairwise_distances, "Strategy": _KnownOutputs}
    exec(compile(ast.Module(definitions, []), str(path), "exec"), names)

    def query(probabilities: np.ndarray, features: np.ndarray, k: int) -> np.ndarray:
        nothing_labeled, labels = np.zeros(len(features), bool), np.zeros(len(features), int).view(_Tensor)
        sampling = names["BadgeSampling"](labels, labels, nothing_labeled, None, None, None)
        sampling.probabilities, sampling.features = probabilities.view(_Tensor), features.view(_Tensor)
        with contextlib.redirect_stdout(io.StringIO()):
            return sampling.query(k)

    writes_out = "get_grad_embedding" in source
    return AuthorsBadge(f"authors' BADGE{' before July 2023' if writes_out else ''}", writes_out, query)


class _Tensor(np.ndarray):
    """An array that gives itself out as a tensor of PyTorch."""

    def numpy(self) -> np.ndarray:
        return self.view(np.ndarray)


class _KnownOutputs:
    """Stands in for the authors' ``Strategy``, which BadgeSampling extends and asks for outputs."""

    def __init__(self, x: _Tensor, y: _Tensor, labeled: np.ndarray, *_: object) -> None:
        self.X, self.Y, self.idxs_lb, self.n_pool = x, y, labeled, len(y)

    def get_embedding(self, *_: object, return_probs: bool = False) -> object:
        return (self.features, self.probabilities) if return_probs else self.features

    def get_grad_embedding(self, *_: object) -> _Tensor:
        residuals = -self.probabilities
        residuals[np.arange(len(residuals)), residuals.argmin(axis=1)] += 1
        return (residuals[:, :, None] * self.features[:, None, :]).reshape(len(residuals), -1)
