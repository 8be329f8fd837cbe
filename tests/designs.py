"""BAIT from its definition: dense Fisher matrices, inverses and traces in float64, one candidate at a time."""

import numpy as np


def information(fisher, logits, features):
    """I(x) of every row, class-major, [n, e, e]. 1 − p is the sum of the other probabilities."""
    logits, features = np.asarray(logits, np.float64), np.asarray(features, np.float64)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = weights / weights.sum(axis=1, keepdims=True)
    c = p.shape[1]
    rest = np.stack([np.delete(p, i, axis=1).sum(axis=1) for i in range(c)], axis=1)
    variance = p * rest
    if fisher == "binary":
        variance = np.take_along_axis(variance, logits.argmax(axis=1)[:, None], axis=1)
    covariance = variance[:, :, None] * np.eye(variance.shape[1])
    if fisher == "full":
        covariance -= p[:, :, None] * p[:, None, :] * (1 - np.eye(c))
    products = np.einsum("nab,ni,nj->naibj", covariance, features, features)
    width = covariance.shape[1] * features.shape[1]
    return products.reshape(len(p), width, width)


def problem(each, labeled, available, k, *, regularization=1.0, weighting="reference"):
    """M₀, the weight of a candidate and F, from the information of ``each`` row."""
    target = each[labeled | available].mean(axis=0)
    size, total = len(target), int(labeled.sum()) + k
    known = each[labeled].sum(axis=0)
    base = regularization * np.eye(size)
    if weighting == "paper":
        return base + known / max(labeled.sum(), 1), 1.0, target
    return base + known / total, (k if weighting == "reference" else 1) / total, target


def objective(matrix, target):
    return np.trace(np.linalg.solve(matrix, target))


def add_greedily(each, base, weight, target, available, count):
    """Rows in the order added, each the one that lowers the objective most; ties to the lower index."""
    chosen, matrix = [], base.copy()
    for _ in range(min(count, int(available.sum()))):
        free = [i for i in np.flatnonzero(available).tolist() if i not in chosen]
        chosen.append(min(free, key=lambda i: objective(matrix + weight * each[i], target)))
        matrix += weight * each[chosen[-1]]
    return chosen


def remove_greedily(each, base, weight, target, chosen, k):
    """Without those whose removal raises the objective least."""
    chosen, matrix = list(chosen), base + weight * each[chosen].sum(axis=0)
    while len(chosen) > k:
        least = min(chosen, key=lambda i: objective(matrix - weight * each[i], target))
        chosen.remove(least)
        matrix -= weight * each[least]
    return chosen


def bait(each, labeled, available, k, *, prune=2.0, **options):
    labeled, available = np.asarray(labeled), np.asarray(available)
    base, weight, target = problem(each, labeled, available, k, **options)
    chosen = add_greedily(each, base, weight, target, available, int(np.ceil(prune * k)))
    return remove_greedily(each, base, weight, target, chosen, k)


def shortfalls(vectors, base, target, chosen, available):
    """How far each step of rank one is from the best, relative to the best gain: [len(chosen)].

    Args:
        vectors: [n, d], I(x) = v vᵀ.
        chosen: rows in the order added.
    """
    vectors = np.asarray(vectors, np.float64)
    inverse, free = np.linalg.inv(base), np.array(available)
    short = []
    for pick in chosen:
        moved = vectors @ inverse
        gains = np.sum((moved @ target) * moved, axis=1) / (1 + np.sum(moved * vectors, axis=1))
        best = gains[free].max()
        short.append((best - gains[pick]) / best if free[pick] else np.inf)
        free[pick] = False
        column = moved[pick]
        inverse = inverse - np.outer(column, column) / (1 + column @ vectors[pick])
        inverse = (inverse + inverse.T) / 2
    return np.array(short)
