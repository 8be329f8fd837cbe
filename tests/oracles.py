"""Laws written out in NumPy float64, independent of the package."""

import itertools

import numpy as np
from scipy import stats


def kmeans_plusplus_law(points, k, *, available=None, first="uniform"):
    """{ordered k-tuple: probability} of k-means++ seeding over dense points [n, d]."""
    points = np.asarray(points, np.float64)
    n = len(points)
    free = np.ones(n, bool) if available is None else np.asarray(available)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    norms = (points**2).sum(-1)
    law = {}
    for picks in itertools.permutations(np.flatnonzero(free), k):
        probability = 1.0
        for t, pick in enumerate(picks):
            if t == 0:
                start = {"uniform": np.ones(n), "norm": norms, "max_norm": (norms == norms[free].max()) * 1.0}
                weights = start[first]
            else:
                weights = squared[:, list(picks[:t])].min(axis=1)
            left = free & ~np.isin(np.arange(n), picks[:t])
            weights = np.where(left, weights, 0)
            if weights.sum() == 0:
                weights = left * 1.0
            probability *= weights[pick] / weights.sum()
        if probability > 0:
            law[tuple(int(pick) for pick in picks)] = probability
    return law


def draws_law(weights_after, n, k, *, available=None):
    """{ordered k-tuple: probability} of rows drawn one by one, each ∝ weights_after(earlier picks) [n].

    The weights count for available rows that are left; if all of them are 0, the draw is uniform.
    """
    free = np.ones(n, bool) if available is None else np.asarray(available)
    law = {}
    for picks in itertools.permutations(np.flatnonzero(free).tolist(), k):
        probability = 1.0
        for t, pick in enumerate(picks):
            left = free & ~np.isin(np.arange(n), picks[:t])
            weights = np.where(left, weights_after(picks[:t]), 0.0)
            if weights.sum() == 0:
                weights = left * 1.0
            probability *= weights[pick] / weights.sum()
        if probability > 0:
            law[picks] = probability
    return law


def chi_square_p(draws, law):
    """p-value of draws [N, k] under {tuple: probability}; cells expected under 10 times are merged.

    A draw that the law gives no probability makes it 0.
    """
    cells = dict.fromkeys(law, 0)
    for picks, count in zip(*np.unique(draws, axis=0, return_counts=True), strict=True):
        if tuple(picks.tolist()) not in cells:
            return 0.0
        cells[tuple(picks.tolist())] = int(count)
    expected = np.array([law[picks] for picks in cells]) * len(draws)
    observed = np.array(list(cells.values()), float)
    small = expected < 10
    if small.any():
        expected = np.append(expected[~small], expected[small].sum())
        observed = np.append(observed[~small], observed[small].sum())
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


def softmax(logits, dtype=np.float64):
    logits = np.asarray(logits, dtype)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def badge_embedding(logits, features):
    """(softmax − onehot(ŷ)) ⊗ features, dense float64, the residual of ŷ as minus the sum of the others."""
    residuals = softmax(logits)
    predicted = np.argmax(logits, axis=1)
    for row, label in zip(residuals, predicted, strict=True):
        row[label] = 0
        row[label] = -row.sum()
    return (residuals[:, :, None] * np.asarray(features, np.float64)[:, None, :]).reshape(len(residuals), -1)


def k_center(points, k, *, available=None, centers=None):
    """Furthest-first traversal over dense points."""
    points = np.asarray(points, np.float64)
    centers = np.zeros(len(points), bool) if centers is None else np.asarray(centers)
    free = (np.ones(len(points), bool) if available is None else np.asarray(available).copy()) & ~centers
    chosen, known = [], list(np.flatnonzero(centers))
    for _ in range(k):
        if known:
            score = np.min([((points - points[i]) ** 2).sum(1) for i in known], axis=0)
        else:
            score = (points**2).sum(1)
        pick = int(np.argmax(np.where(free, score, -1)))
        chosen.append(pick)
        known.append(pick)
        free[pick] = False
    return chosen


def similarities(x, bandwidth, kernel):
    """κ of every pair of points [n, d]."""
    x = np.asarray(x, np.float64)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    return np.exp(-squared / bandwidth**2) if kernel == "rbf" else (squared < bandwidth**2).astype(float)


def coverage_greedy(
    x, k, *, bandwidth, kernel="rbf", weights=None, free=None, centers=None, targets=None, mutant=""
):
    """Greedy coverage of points [n, d]: every gain anew for every pick. Where nothing is gained, the row
    furthest from centres and picks. Mutants are defects of public implementations."""
    n = len(x)
    free = np.ones(n, bool) if free is None else np.array(free)
    centers = np.zeros(n, bool) if centers is None else np.asarray(centers)
    found = similarities(x, bandwidth, kernel)
    worth = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    worth = np.where((free | centers) & (True if targets is None else np.isin(np.arange(n), targets)), worth, 0)
    known, chosen, free = list(np.flatnonzero(centers)), [], free & ~centers
    while len(chosen) < min(k, len(chosen) + free.sum()):
        covered = found[:, known].max(axis=1) if known else np.zeros(n)
        if mutant == "per candidate":  # weights and coverage belong to the candidate: not the objective
            gains = (worth[None] * np.maximum(found - covered[None], 0)).sum(axis=0)
        else:
            gains = (worth[:, None] * np.maximum(found - covered[:, None], 0)).sum(axis=0)
        pick = int(np.argmax(np.where(free, gains, -1)))
        if gains[pick] <= 1e-6 * worth.sum() and mutant != "argmax of zeros":
            nearest = _squared_to(x, known)
            pick = int(np.argmax(np.where(free, nearest, -1)))
        chosen.append(pick)
        known.append(pick)
        free[pick] = mutant == "argmax of zeros"
    return chosen + [-1] * (k - len(chosen))


def _squared_to(x, known):
    x = np.asarray(x, np.float64)
    return ((x[:, None] - x[None, known]) ** 2).sum(-1).min(axis=1) if known else np.full(len(x), np.inf)


def gram(points):
    points = np.asarray(points, np.float64)
    return points @ points.T


def k_dpp_law(kernel, k):
    """{k-subset, ascending: probability} of the k-DPP with this kernel [n, n], by enumeration."""
    sets = list(itertools.combinations(range(len(kernel)), k))
    determinants = np.array([np.linalg.det(kernel[np.ix_(s, s)]) for s in sets])
    return dict(zip(sets, np.maximum(determinants, 0) / np.maximum(determinants, 0).sum(), strict=True))


def draw_k_dpp(rng, kernel, k):
    """An exact draw: eigenvectors by elementary symmetric polynomials, then rows by projection (Kulesza and
    Taskar 2011, algorithm 1 for k-DPPs)."""
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0)
    sums = np.zeros((k + 1, len(values) + 1))
    sums[0] = 1
    for size in range(1, k + 1):
        for m in range(1, len(values) + 1):
            sums[size, m] = sums[size, m - 1] + values[m - 1] * sums[size - 1, m - 1]
    taken, left = [], k
    for m in range(len(values), 0, -1):
        if left and rng.random() < values[m - 1] * sums[left - 1, m - 1] / sums[left, m]:
            taken.append(m - 1)
            left -= 1
    basis, chosen = vectors[:, taken], []
    for _ in range(k):
        weights = (basis**2).sum(axis=1)
        weights[chosen] = 0
        row = int(rng.choice(len(kernel), p=weights / weights.sum()))
        chosen.append(row)
        pivot = int(np.argmax(np.abs(basis[row])))
        basis = basis - np.outer(basis[:, pivot] / basis[row, pivot], basis[row])
        basis = np.linalg.qr(np.delete(basis, pivot, axis=1))[0]
    return sorted(chosen)
