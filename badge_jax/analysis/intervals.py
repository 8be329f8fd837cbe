"""Intervals, corrected p-values, ranks: statistics of numbers, whatever they measure. Arrays in, arrays out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
"""Of every interval of a report."""

EQUAL = 1e-9
"""Scores closer than this are equal: a difference of accuracies is a multiple of 1 / (number of test rows)."""


class Interval(NamedTuple):
    """A mean with its interval. Every field is a float, or a float64 array of one shape.

    Attributes:
        mean: Mean of the values.
        low: Lower end; NaN where there are fewer than two values, or all are equal.
        high: Upper end; NaN likewise.
    """

    mean: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether there were two different values or more."""
        return not np.isnan(self.low)

    @property
    def excludes_zero(self) -> bool:
        """Whether zero is outside; False if the interval is not known."""
        return bool(self.low > 0 or self.high < 0)


def t_interval(values: np.ndarray) -> Interval:
    """The mean and its two-sided 95 % interval by Student's t, over the last axis.

    It covers the mean of the law of the values in 95 % of cases if they are independent and normal.

    Args:
        values: [..., n] float64, one a seed, say.

    Returns:
        Floats for [n], else arrays [...]. With one value, low and high are NaN: one value has no interval. Nor
        have values that are all equal: they do not say how others would vary. With none, the mean is NaN too.

    References:
        Student, "The probable error of a mean", Biometrika 1908.

    Example:
        >>> low, high = t_interval(np.array([1.0, 2.0, 3.0]))[1:]
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    from scipy import special  # stats takes a second to load

    values = np.asarray(values, np.float64)
    n = values.shape[-1]
    mean = values.mean(axis=-1) if n else np.full(values.shape[:-1], np.nan)
    if n < 2:
        nothing = np.full_like(mean, np.nan)
        return _interval(mean, nothing, nothing)
    half = special.stdtrit(n - 1, (1 + CONFIDENCE) / 2) * values.std(axis=-1, ddof=1) / n**0.5
    half = np.where(np.ptp(values, axis=-1) < EQUAL, np.nan, half)
    return _interval(mean, mean - half, mean + half)


def mean_of_means_interval(groups: Sequence[Mapping[int, float]]) -> Interval:
    """The mean of the means of several groups, each of equal weight, and its 95 % interval *for these groups*.

    The members (seeds) are a sample, the groups (settings) are not: the interval speaks of the average over
    just these groups. The values of one member may depend on one another, as runs of one seed do that share
    their first labels. So a member counts once, by the sum of what it adds to the mean. If all groups have the
    same members, this is Student's t interval of the members' means. Else the degrees of freedom are the fewer
    of Satterthwaite's, for groups that do not depend on one another, and those of members with the same value
    in all of their groups.

    Args:
        groups: Each member → value.

    Returns:
        The interval; its ends are NaN if a group has fewer than two members, or all values of each are equal.

    References:
        Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 1986 (the
        variance of dependent values, by clusters). Satterthwaite, "An approximate distribution of estimates of
        variance components", Biometrics 1946.

    Example:
        >>> one = {0: 1.0, 1: 2.0, 2: 3.0}
        >>> np.allclose(mean_of_means_interval([one, one]), t_interval(np.array([1.0, 2.0, 3.0])))
        True
    """
    from scipy import special

    if not groups:
        return Interval(np.nan, np.nan, np.nan)
    members = sorted({member for group in groups for member in group})
    values = np.array([[group.get(member, np.nan) for member in members] for group in groups], np.float64)
    is_there = np.isfinite(values)
    numbers = is_there.sum(axis=1, keepdims=True)
    mean = float(np.mean(np.nanmean(values, axis=1)))
    if numbers.min() < 2:
        return Interval(mean, np.nan, np.nan)
    shares = is_there / numbers / len(groups)  # of each value in the mean
    residuals = np.where(is_there, values - np.nanmean(values, axis=1, keepdims=True), 0.0)
    residuals *= np.sqrt(numbers / (numbers - 1))  # so that their squares are right on average
    variance = ((shares * residuals).sum(axis=0) ** 2).sum()
    if variance < EQUAL**2:
        return Interval(mean, np.nan, np.nan)
    of_groups = ((shares * residuals) ** 2).sum(axis=1)
    independent = of_groups.sum() ** 2 / (of_groups**2 / (numbers[:, 0] - 1)).sum()
    weights = shares.sum(axis=0) ** 2
    alike = weights.sum() ** 2 / (weights**2).sum() - 1
    half = special.stdtrit(min(independent, alike), (1 + CONFIDENCE) / 2) * variance**0.5
    return Interval(mean, float(mean - half), float(mean + half))


def mean_is_zero(values: np.ndarray) -> np.ndarray:
    """The p-value of the two-sided t-test that the mean is zero, over the last axis.

    Args:
        values: [..., n] float64, differences of pairs, say; n of at least 2.

    Returns:
        [...] float64. Where all values are equal the t-test is not defined: then 1 if they are zero, else that
        of the sign test, 2^(1 − n).

    Raises:
        ValueError: If n is below 2.

    Example:
        >>> float(mean_is_zero(np.array([-1.0, 1.0])))
        1.0
    """
    from scipy import stats

    values = np.asarray(values, np.float64)
    if values.shape[-1] < 2:
        raise ValueError(f"values has {values.shape[-1]} in its last axis; a test needs 2 or more")
    is_constant = np.ptp(values, axis=-1) < EQUAL
    safe = np.where(is_constant[..., None], np.arange(values.shape[-1]), values)
    p = stats.ttest_1samp(safe, 0.0, axis=-1).pvalue
    of_signs = 2.0 ** (1 - values.shape[-1])
    return np.where(is_constant, np.where(np.abs(values[..., 0]) < EQUAL, 1.0, of_signs), p)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction of p-values for the number of tests, over the last axis.

    Rejecting where the corrected value is below α rejects any true hypothesis of the family with probability α
    at most, however the tests depend on one another.

    Args:
        p_values: [..., m] float64.

    Returns:
        [..., m] float64, each at least as large as before and at most 1.

    References:
        Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 1979.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values, axis=-1, kind="stable")
    m = p_values.shape[-1]
    steps = np.take_along_axis(p_values, order, axis=-1) * np.arange(m, 0, -1)
    corrected = np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0)
    result = np.empty_like(corrected)
    np.put_along_axis(result, order, corrected, axis=-1)
    return result


class Ranks(NamedTuple):
    """Mean ranks of treatments over blocks. Rank 1 is the best; equal scores share the mean of their ranks.

    Attributes:
        mean_ranks: [s] float64.
        num_blocks: Number of blocks.
        p_value: Of the test that all treatments are alike: Friedman's, in Iman and Davenport's form.
        critical_difference: Nemenyi's: two mean ranks differ at the 5 % level, corrected for all pairs, if they
            are at least this far apart.
    """

    mean_ranks: np.ndarray
    num_blocks: int
    p_value: float
    critical_difference: float


def rank(scores: np.ndarray) -> Ranks:
    """Ranks treatments within blocks, and tests whether they differ.

    Args:
        scores: [b, s] float64, higher is better: of s treatments in each of b independent blocks.

    Returns:
        Mean ranks, the test and the critical difference.

    Raises:
        ValueError: Unless there are two blocks and two treatments or more.

    References:
        Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006, section 3.2.

    Example:
        >>> found = rank(np.array([[0.9, 0.8, 0.1], [0.7, 0.6, 0.2]]))
        >>> found.mean_ranks.tolist(), round(found.critical_difference, 3)
        ([1.0, 2.0, 3.0], 2.344)
    """
    from scipy import special, stats

    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or min(scores.shape) < 2:
        raise ValueError(f"scores is {scores.shape}; give [b, s] with two blocks and two treatments or more")
    b, s = scores.shape
    ranks = stats.rankdata(-scores, axis=-1)
    mean_ranks = ranks.mean(axis=0)
    # the F test on ranks: equal to Iman and Davenport's without ties, and right with them
    between = b * ((mean_ranks - (s + 1) / 2) ** 2).sum()
    within = ((ranks - (s + 1) / 2) ** 2).sum() - between
    freedom = (b - 1) * (s - 1)
    if within < 1e-9:  # the same ranks in every block
        p = 1.0 if between < 1e-9 else 0.0
    else:
        p = float(special.fdtrc(s - 1, freedom, between / (s - 1) / (within / freedom)))
    quantile = float(stats.studentized_range.ppf(0.95, s, np.inf)) / 2**0.5
    return Ranks(mean_ranks, b, p, quantile * (s * (s + 1) / (6 * b)) ** 0.5)


def _interval(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> Interval:
    """Floats instead of arrays of no axis."""
    if np.ndim(mean) == 0:
        return Interval(float(mean), float(low), float(high))
    return Interval(mean, low, high)  # type: ignore[arg-type]
