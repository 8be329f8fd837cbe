"""`nearest_members` beside the rule written out as a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import nearest_members
from badge_jax.samplers import Clusters

N, K, NUM_CLUSTERS = 61, 30, 9


def literal(points, assignment, centers, candidates, order, defect=None):
    """Cluster by cluster the nearest member that is free, else the nearest free row."""
    points, centers, free, taken = np.asarray(points, float), np.asarray(centers, float), candidates.copy(), []
    for number in order:
        squared = ((points - centers[number]) ** 2).sum(1)
        members = free & (assignment == number)
        if defect == "any row":
            members = free
        if not members.any():
            members = free
        if not members.any():
            taken.append(-1)
            continue
        best = int(np.argmin(np.where(members, squared, np.inf)))
        taken.append(best)
        free[best] = defect == "repeats"
    return taken


def random_case(seed):
    """Whole numbers, so that ties are ties; clusters without members, some without candidates."""
    rng = np.random.default_rng(seed)
    points = rng.integers(-3, 4, size=(N, 2)).astype(np.float32)
    assignment = rng.integers(-1, NUM_CLUSTERS - 2, N).astype(np.int32)
    centers = rng.integers(-3, 4, size=(NUM_CLUSTERS, 2)).astype(np.float32)
    candidates = (rng.random(N) < 0.7) & (assignment != 3)
    return points, assignment, centers, candidates, rng.integers(0, NUM_CLUSTERS, K).astype(np.int32)


def found_by(points, assignment, centers, candidates, order):
    sizes = np.bincount(assignment[assignment >= 0], minlength=len(centers)).astype(np.int32)
    clusters = Clusters(*map(jnp.asarray, (centers, assignment, sizes)))
    picks = nearest_members(jnp.asarray(points), clusters, jnp.asarray(candidates), jnp.asarray(order))
    assert picks.dtype == jnp.int32
    return picks.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_literal_loop(seed):
    case = random_case(seed)
    assert found_by(*case) == literal(*case)


@pytest.mark.parametrize("defect", ["any row", "repeats"])
def test_defects_of_public_code_are_rejected(defect):
    cases = [random_case(seed) for seed in range(20)]
    assert sum(literal(*case, defect) != literal(*case) for case in cases) == 20


def test_every_candidate_comes_once_then_none():
    points, assignment, centers, candidates, _ = random_case(0)
    candidates &= np.arange(N) < 25
    picks = found_by(points, assignment, centers, candidates, np.arange(K, dtype=np.int32) % NUM_CLUSTERS)
    count = int(candidates.sum())
    assert sorted(picks[:count]) == np.flatnonzero(candidates).tolist()
    assert picks[count:] == [-1] * (K - count)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_no_candidate_has_no_influence(value):
    points, *rest = random_case(1)
    candidates = rest[2]
    others = np.where(candidates[:, None], points, np.float32(value))
    assert found_by(others, *rest) == found_by(points, *rest)


def test_rows_of_a_pair_are_as_near_to_their_mean():
    """In float32 one of them seems nearer to the mean: 40 pairs, far from 0, the lower index of each."""
    rng = np.random.default_rng(0)
    points = (100 + rng.normal(size=(80, 7))).astype(np.float32)
    centers = points.reshape(40, 2, 7).mean(1)
    assignment = np.repeat(np.arange(40, dtype=np.int32), 2)
    order = np.arange(40, dtype=np.int32)
    assert found_by(points, assignment, centers, np.ones(80, bool), order) == list(range(0, 80, 2))
    distances = np.linalg.norm(points - centers[assignment], axis=1).reshape(40, 2)
    assert (distances[:, 1] < distances[:, 0]).any(), "what a plain argmin would see"


@pytest.mark.parametrize("exponent", [-50, 50])
def test_the_scale_does_not_matter(exponent):
    points, assignment, centers, *rest = random_case(2)
    scaled = np.ldexp(points, exponent), assignment, np.ldexp(centers, exponent), *rest
    assert found_by(*scaled) == found_by(points, assignment, centers, *rest)


def test_masks_compile_nothing_anew(compilations):
    case = random_case(3)
    found_by(*case)
    compilations.clear()
    found_by(*random_case(4))
    assert compilations == []


def test_jit_equals_eager():
    points, assignment, centers, candidates, order = map(jnp.asarray, random_case(5))
    clusters = Clusters(centers, assignment, jnp.zeros(NUM_CLUSTERS, jnp.int32))
    plain = nearest_members(points, clusters, candidates, order)
    assert (jax.jit(nearest_members)(points, clusters, candidates, order) == plain).all()


def test_clusters_of_other_rows_are_refused():
    points, assignment, centers, candidates, order = random_case(6)
    with pytest.raises(ValueError, match=r"points have shape \(60, 2\), but the clusters are of 61 rows"):
        found_by(points[:60], assignment, centers, candidates[:60], order)
