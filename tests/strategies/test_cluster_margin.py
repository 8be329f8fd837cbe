"""Cluster-Margin beside the literal round robin, its law, and what its state keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import chi_square_p, softmax
from pools import make_pool

from badge_jax import STRATEGIES

N = 211  # a prime


def margins(pool):
    ordered = np.sort(softmax(pool.logits), axis=1)
    return ordered[:, -1] - ordered[:, -2]


def literal(pool, clusters, k, num_margin, preference, defect=None):
    """The round robin as a loop over queues. ``preference`` [num_margin] orders the candidates of a cluster."""
    values = np.where(pool.available, margins(pool), np.inf)
    candidates = np.argsort(values, kind="stable")[: min(num_margin, int(pool.available.sum()))]
    if defect == "no candidates":  # all available rows are
        candidates = np.argsort(values, kind="stable")[: int(pool.available.sum())]
        preference = np.arange(len(candidates))
    queues = {}
    for i in np.argsort(preference[: len(candidates)], kind="stable"):
        queues.setdefault(int(clusters[candidates[i]]), []).append(int(candidates[i]))
    order = sorted(queues, key=lambda c: (len(queues[c]), c))
    if defect == "largest first":
        order = sorted(queues, key=lambda c: (-len(queues[c]), c))
    picks = []
    while len(picks) < k and any(queues.values()):
        for c in order:
            if defect == "restarts":
                c = next((c for c in order if queues[c]), c)
            if queues[c] and len(picks) < k:
                picks.append(queues[c].pop(0))
    return picks + [-1] * (k - len(picks))


def some_pool(seed):
    pool, rng = make_pool(n=N, num_labeled=30, seed=seed), np.random.default_rng(seed)
    return pool._replace(available=pool.available & jnp.asarray(rng.random(N) < 0.9))


def some_clusters(seed):
    """Of very different sizes."""
    return np.minimum(np.random.default_rng(seed).geometric(0.2, N), 15).astype(np.int32)


def query(strategy, seed, state, pool, k):
    return strategy.query(jax.random.key(seed), state, pool, k)


def bits_of(seed, number):
    """The random numbers that order the candidates of a cluster."""
    return np.asarray(jax.random.bits(jax.random.split(jax.random.key(seed))[1], (number,), jnp.uint32))


DEFECTS = ("no candidates", "largest first", "restarts")


@pytest.mark.parametrize(("k", "num_margin"), [(20, 60), (20, 20), (170, 200), (10, None)])
def test_equals_the_literal_round_robin(k, num_margin):
    """With the same random numbers, also where a cluster drops out, and where candidates run out."""
    most, wrong = num_margin or 10 * k, dict.fromkeys(DEFECTS, 0)
    for seed in range(4):
        pool, clusters = some_pool(seed), some_clusters(seed)
        for pick, preference in (("random", bits_of(seed, most)), ("margin", np.arange(most))):
            strategy = STRATEGIES["cluster_margin"](num_margin=num_margin, pick=pick, clusters=clusters)
            picks, _ = query(strategy, seed, (), pool, k)
            assert picks.dtype == jnp.int32
            assert picks.tolist() == literal(pool, clusters, k, most, preference), (seed, pick)
            for defect in DEFECTS:
                wrong[defect] += picks.tolist() != literal(pool, clusters, k, most, preference, defect)
    if num_margin == 60:
        assert min(wrong.values()) == 8, wrong


def test_every_cluster_of_the_candidates_is_there():
    pool, clusters = some_pool(0), some_clusters(0)
    strategy = STRATEGIES["cluster_margin"](num_margin=100, clusters=clusters)
    candidates = np.argsort(np.where(pool.available, margins(pool), np.inf))[:100]
    number = len(np.unique(clusters[candidates]))
    picks = query(strategy, 0, (), pool, number)[0]
    assert len(np.unique(clusters[picks])) == number


def test_a_member_is_drawn_uniformly():
    """Three clusters with 2, 3 and 4 candidates, and rows that are none: each member with the same chance, and
    two members of a cluster in any order."""
    gaps = np.array([0.1, 5, 0.2, 0.15, 0.3, 5, 0.12, 0.22, 0.25, 0.31, 0.14])
    clusters = np.array([7, 7, 2, 7, 2, 2, 4, 4, 2, 4, 2])
    logits = jnp.asarray(np.stack([gaps, 0 * gaps], axis=1), jnp.float32)
    everything = jnp.ones(11, bool)
    pool = make_pool(n=11, num_labeled=0)._replace(logits=logits, labeled=~everything, available=everything)
    strategy = STRATEGIES["cluster_margin"](num_margin=9, clusters=clusters)

    @jax.jit
    def draw_all(keys):
        return jax.vmap(lambda key: strategy.query(key, (), pool, 6)[0])(keys)

    draws = np.asarray(draw_all(jax.random.split(jax.random.key(1), 10_000)))
    members = [(0, 3), (6, 7, 9), (2, 4, 8, 10)]  # the smallest cluster first
    for place in range(3):
        pairs = draws[:, [place, place + 3]]
        law = {
            (a, b): 1 / len(members[place]) / (len(members[place]) - 1)
            for a in members[place]
            for b in members[place]
            if a != b
        }
        assert chi_square_p(pairs, law) > 1e-4
        by_margin = np.sort(pairs, axis=1)  # a mutant: of two members the one of lower index comes first
        assert chi_square_p(by_margin, law) < 1e-4


def test_clusters_are_made_once_and_kept():
    """By the first query, of all rows that are labeled or available then, whatever the others hold."""
    pool = some_pool(0)
    strategy = STRATEGIES["cluster_margin"](num_clusters=6)
    first = strategy.init(N, 5)
    assert first.tolist() == [-1] * N
    counted = np.asarray(pool.labeled | pool.available)
    assert 0 < (~counted).sum() < N
    picks, state = query(strategy, 0, first, pool, 10)
    assert ((np.asarray(state) >= 0) == counted).all()
    assert len(np.unique(state[counted])) == 6
    other = pool._replace(features=jnp.where(counted[:, None], pool.features, jnp.nan))
    assert (query(strategy, 0, first, other, 10)[1] == state).all()
    # later features make no difference, and rows that were out are one more cluster
    later = pool._replace(features=pool.features[::-1], available=~pool.labeled)
    picks, again = query(strategy, 1, state, later, 100)
    assert (again == state).all()
    clusters = np.where(counted, state, 6)
    assert picks.tolist() == literal(later, clusters, 100, N, bits_of(1, N))


def test_first_picks_do_not_depend_on_k_where_the_candidates_do_not():
    pool = some_pool(1)
    strategy = STRATEGIES["cluster_margin"](num_margin=80, num_clusters=6)
    assert strategy.is_prefix_consistent
    assert not STRATEGIES["cluster_margin"]().is_prefix_consistent
    state = strategy.init(N, 1)
    many = query(strategy, 0, state, pool, 40)[0].tolist()
    assert query(strategy, 0, state, pool, 9)[0].tolist() == many[:9]


def test_clusters_of_the_user_make_it_stateless():
    pool, clusters = some_pool(2), some_clusters(2)
    own = STRATEGIES["cluster_margin"](clusters=1000 * clusters.astype(np.int64) - 3)
    assert own.needs == ("logits",)
    assert own.init(N, 1) == ()
    picks, state = query(own, 0, (), pool._replace(features=None), 30)
    assert state == ()
    kept = STRATEGIES["cluster_margin"](num_clusters=6)
    assert picks.tolist() == query(kept, 0, jnp.asarray(clusters), pool, 30)[0].tolist()
    with pytest.raises(ValueError, match="clusters are of 211 rows; wanted 60"):
        own.query(jax.random.key(0), (), make_pool(), 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": "logits"}, "embedding is 'logits'; wanted one of features, representation"),
        ({"pick": "first"}, "pick is 'first'; wanted one of random, margin"),
        ({"num_clusters": 0}, "num_clusters is 0; wanted 1 or more"),
        ({"num_margin": 1.5}, "num_margin is 1.5; wanted 1 or more"),
        ({"clusters": [0.5]}, r"clusters are float64 of shape \(1,\); wanted integers \[n\]"),
        ({"clusters": [[1]]}, r"clusters are int64 of shape \(1, 1\)"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES["cluster_margin"](**options)


def test_more_picks_than_candidates_are_refused():
    strategy = STRATEGIES["cluster_margin"](num_margin=5)
    with pytest.raises(ValueError, match="num_margin is 5; wanted 6, the rows asked for, or more"):
        strategy.query(jax.random.key(0), strategy.init(60, 1), make_pool(), 6)
