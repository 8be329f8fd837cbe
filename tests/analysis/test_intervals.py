"""Intervals that cover, a family error that holds, ranks as published: by simulation, enumeration and print."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from badge_jax.analysis.intervals import (
    Interval,
    holm,
    mean_is_zero,
    mean_of_means_interval,
    rank,
    t_interval,
)

SWEEPS = 2000
COVERED = pytest.approx(0.95, abs=0.015)  # three standard errors of 2,000 sweeps


def covers(interval, truth):
    return np.mean((interval.low <= truth) & (truth <= interval.high))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_of_synthetic_sweeps_cover(seeds):
    """Of a mean, and of a difference paired by seed; what a seed has in common is larger than the noise."""
    rng = np.random.default_rng(seeds)
    common = 0.7 + 0.05 * rng.normal(size=(SWEEPS, seeds))
    ours, theirs = (common + gain + 0.01 * rng.normal(size=(SWEEPS, seeds)) for gain in (0.02, 0.0))
    assert covers(t_interval(ours), 0.72) == COVERED
    assert covers(t_interval(ours - theirs), 0.02) == COVERED
    # what was drawn before: one standard error each way, and a normal interval of standard deviations by n
    half = ours.std(axis=-1) / seeds**0.5
    assert covers(Interval(0, ours.mean(-1) - half, ours.mean(-1) + half), 0.72) < 0.68


def test_an_interval_is_students():
    values = np.array([0.2, 0.5, 0.4, 0.9])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((0.5, *expected))
    rows = t_interval(np.stack([values, values + 1]))
    np.testing.assert_allclose(rows.low, [expected.low, expected.low + 1])


def test_one_value_has_no_interval():
    one, none = t_interval(np.array([0.5])), t_interval(np.array([]))
    assert (one.mean, one.is_known, one.excludes_zero) == (0.5, False, False)
    assert np.isnan(none.mean)
    assert not mean_of_means_interval([{0: 0.5}, {0: 0.4, 1: 0.5}]).is_known
    assert not mean_of_means_interval([]).is_known


def test_equal_values_have_no_interval():
    rows = t_interval(np.array([[0.5, 0.5], [0.4, 0.5]]))
    np.testing.assert_array_equal(np.isnan(rows.low), [True, False])
    assert t_interval(np.array([0.0, 0.0, 0.0])).mean == 0
    same = dict.fromkeys(range(3), 1.0)
    found = mean_of_means_interval([same, same])
    assert (found.mean, found.is_known) == (1, False)


def test_the_interval_over_settings_covers_the_mean_of_these_settings():
    """Settings differ in their gain and their noise, and what a seed has in common is in all of them. The
    mutant takes them for independent."""
    rng = np.random.default_rng(0)
    gains, noises = np.array([0.1, -0.02, 0.03, 0.0]), np.array([0.01, 0.02, 0.01, 0.03])
    values = gains[:, None] + noises[:, None] * (
        rng.normal(size=(SWEEPS, 1, 5)) + rng.normal(size=(SWEEPS, 4, 5))
    )
    found = [mean_of_means_interval([dict(enumerate(row)) for row in sweep]) for sweep in values]
    low, high = np.array([interval[1:] for interval in found]).T
    assert covers(Interval(0, low, high), gains.mean()) == COVERED
    np.testing.assert_allclose(low, t_interval(values.mean(axis=1)).low)
    half = stats.t.ppf(0.975, 16) * (values.var(axis=-1, ddof=1) / 5).sum(axis=1) ** 0.5 / 4
    assert covers(Interval(0, values.mean((1, 2)) - half, values.mean((1, 2)) + half), gains.mean()) < 0.9


@pytest.mark.parametrize("seeds", [((0, 5), (0, 20)), ((0, 5), (5, 10)), ((0, 5), (3, 8), (0, 10))], ids=str)
def test_with_other_seeds_in_each_setting_it_covers_at_least_as_often(seeds):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(SWEEPS):
        common = rng.normal(size=20)
        groups = [{seed: common[seed] + rng.normal() for seed in range(*some)} for some in seeds]
        found.append(mean_of_means_interval(groups)[1:])
    low, high = np.array(found).T
    assert 0.935 <= covers(Interval(0, low, high), 0.0) <= 0.995


def test_p_values_are_those_of_the_paired_test():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, 7, 5))
    np.testing.assert_allclose(mean_is_zero(ours - theirs), stats.ttest_rel(ours, theirs, axis=-1).pvalue)
    assert mean_is_zero(np.array([[0.1] * 5, [0.0] * 5, [-0.1] * 5])).tolist() == [1 / 16, 1, 1 / 16]
    with pytest.raises(ValueError, match="has 1 in its last axis"):
        mean_is_zero(np.array([0.1]))


def closed_testing(p_values):
    """Holm's values by their definition as a closed test: the largest Bonferroni value of a family with it."""
    m = len(p_values)
    families = [family for size in range(1, m + 1) for family in combinations(range(m), size)]
    return [max(min(1, len(f) * min(p_values[j] for j in f)) for f in families if i in f) for i in range(m)]


def test_holm_is_bonferroni_over_all_families():
    rng = np.random.default_rng(0)
    p_values = rng.random((20, 6)) ** 3
    p_values[0, :3] = 0.01
    np.testing.assert_allclose(holm(p_values), [closed_testing(row) for row in p_values])


def pairwise_p_values(means, seeds=5):
    """[sweeps, pairs]: all pairs of strategies of synthetic sweeps with these mean areas."""
    rng = np.random.default_rng(1)
    areas = (
        means + 0.05 * rng.normal(size=(SWEEPS, seeds, 1)) + 0.01 * rng.normal(size=(SWEEPS, seeds, len(means)))
    )
    pairs = list(combinations(range(len(means)), 2))
    return np.stack([mean_is_zero(areas[..., i] - areas[..., j]) for i, j in pairs], axis=-1), pairs


@pytest.mark.parametrize("means", [np.zeros(6), np.array([0, 0, 0, 0.03, 0.03, 0.1])], ids=["all", "some"])
def test_the_family_error_is_five_percent_at_most(means):
    """Whether all strategies are alike or only some; without the correction it is far more."""
    p_values, pairs = pairwise_p_values(means)
    is_true = np.array([means[i] == means[j] for i, j in pairs])
    assert np.mean((holm(p_values) < 0.05)[:, is_true].any(axis=1)) <= 0.05
    assert np.mean((p_values < 0.05)[:, is_true].any(axis=1)) > 0.1
    assert is_true.all() or np.mean((holm(p_values) < 0.05)[:, ~is_true]) > 0.5


def test_critical_differences_are_those_of_the_published_table():
    """Table 5a of Demšar 2006, which has three digits."""
    table = [2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for s, quantile in zip(range(3, 11), table, strict=True):
        found = rank(np.zeros((10, s))).critical_difference
        assert found == pytest.approx(quantile * (s * (s + 1) / 60) ** 0.5, abs=2e-3)


def test_ranks_and_their_test():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(14, 4)) + np.array([0.5, 0, 0, 0])
    found = rank(scores)
    order = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1
    np.testing.assert_allclose(found.mean_ranks, order.mean(axis=0))
    chi = stats.friedmanchisquare(*scores.T).statistic
    assert found.p_value == pytest.approx(stats.f.sf(13 * chi / (14 * 3 - chi), 3, 39))
    assert rank(np.ones((5, 3))).p_value == 1
    assert rank(np.arange(3) + np.zeros((5, 3))).p_value == 0
    assert rank(np.array([[2.0, 2.0, 1.0], [3.0, 2.0, 1.0]])).mean_ranks.tolist() == [1.25, 1.75, 3]
    with pytest.raises(ValueError, match="two blocks and two treatments"):
        rank(np.ones((1, 3)))


@pytest.mark.parametrize("s", [3, 5, 7])
def test_few_blocks_seldom_differ_by_a_critical_difference(s):
    """Five settings, the fewest that are ranked, of strategies that are alike."""
    rng = np.random.default_rng(s)
    limit = rank(rng.normal(size=(5, s))).critical_difference
    means = stats.rankdata(rng.normal(size=(SWEEPS, 5, s)), axis=-1).mean(axis=1)
    assert np.mean(np.ptp(means, axis=-1) >= limit - 1e-9) <= 0.05
