import numpy as np
import pytest

from badge_jax.analysis import (
    MissingRun,
    Run,
    beats,
    column_means,
    compare,
    gains_over_baseline,
    mean_curves,
    missing_runs,
    normalized_errors,
    num_compared,
    penalty_matrix,
    zoom_range,
)
from badge_jax.runs.setting import Setting

SETTING = Setting("d", "m", 10)


def make_run(strategy, seed, accuracies, **changes):
    config = {"dataset": "d", "model": "m", "batch_size": 10, "strategy": strategy, "seed": seed, **changes}
    rounds = [
        {"round": i, "num_labeled": 5 + 10 * i, "test_accuracy": accuracy}
        for i, accuracy in enumerate(accuracies)
    ]
    return Run(config, rounds)


def test_means_and_deviations_by_labels():
    curves = mean_curves(
        [
            make_run("b", 0, [0.2, 0.5]),
            make_run("b", 1, [0.4, 0.9]),
            make_run("b", 2, [0.6]),
            make_run("a", 0, [0.1]),
        ]
    )
    assert list(curves) == [SETTING]
    assert list(curves[SETTING]) == ["a", "b"]
    first, second = curves[SETTING]["b"]
    assert (first.num_labeled, first.runs) == (5, 3)
    assert first.mean == pytest.approx(0.4)
    assert first.std == pytest.approx(np.sqrt(0.08 / 2))
    assert first.standard_error == pytest.approx(np.sqrt(0.08 / 6))
    assert (second.num_labeled, second.runs, second.mean) == (15, 2, pytest.approx(0.7))
    assert np.isnan(curves[SETTING]["a"][0].std), "one run has no deviation"


def test_gains_are_paired_by_seed_and_positive_where_a_strategy_is_better():
    values = {
        "random": {5: {0: 0.5, 1: 0.75}, 15: {0: 0.5}},
        "good": {5: {1: 1.0, 2: 0.0}, 15: {1: 1.0}, 25: {0: 1.0}},
    }
    assert gains_over_baseline(values) == {"good": {5: {1: 0.25}}}
    assert gains_over_baseline(values, -1) == {"good": {5: {1: -0.25}}}
    assert gains_over_baseline({"good": values["good"]}) == {}


def test_settings_are_kept_apart():
    runs = [
        make_run("a", 0, [0.1]),
        make_run("a", 0, [0.3], batch_size=20),
        make_run("a", 0, [0.5], model="n"),
    ]
    curves = mean_curves(runs)
    assert list(curves) == [SETTING, SETTING._replace(batch_size=20), SETTING._replace(model="n")]
    assert [by_strategy["a"][0].mean for by_strategy in curves.values()] == [0.1, 0.3, 0.5]


def test_other_quantities_begin_with_the_first_query_and_have_gaps():
    run = make_run("a", 0, [0.1, 0.2, 0.3])
    for line, log_det in zip(run.rounds, (None, 4.0, None), strict=True):
        line |= {"gram_log_det": log_det, "query_seconds": 2.0}
    points = mean_curves([run, run], "gram_log_det")[SETTING]["a"]
    assert [point.num_labeled for point in points] == [15, 25]
    assert points[0].mean == 4.0
    assert np.isnan(points[1].mean)
    points = mean_curves([run], "query_seconds")[SETTING]["a"]
    assert [point.mean for point in points] == [2.0, 2.0]
    start = make_run("a", 1, [0.1])
    assert mean_curves([start], "query_seconds") == {}


# wins of row over column as figure 4 of Ash et al. prints them, and its last line
PRINTED = np.array(
    [
        [0, 9.18, 10.97, 12.56, 3.88, 13.16, 10.04],
        [0.34, 0, 5.18, 3.15, 0.31, 6.81, 4.95],
        [1.65, 2.02, 0, 6.55, 3.08, 8.13, 6.56],
        [0.54, 2.78, 7.61, 0, 0.33, 5.96, 6.08],
        [0.96, 7.14, 10.87, 9.34, 0, 11.33, 9.34],
        [0.31, 1.79, 6.05, 1.25, 0.35, 0, 5.12],
        [0.84, 5.63, 7.61, 8.67, 2.98, 10.65, 0],
    ]
)
PRINTED_MEANS = [0.66, 4.08, 6.9, 5.93, 1.56, 8.01, 6.01]


def test_printed_column_means():
    np.testing.assert_allclose(column_means(PRINTED), PRINTED_MEANS, atol=0.006)


BASELINE_CURVE = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]  # at 5, 15, … 85 labels: n_0 = 85


def repeats(strategy, curve, noise=(0.0, 0.01, -0.01, 0.02, -0.02), **changes):
    return [make_run(strategy, seed, np.array(curve) + e, **changes) for seed, e in enumerate(noise)]


def test_label_counts():
    (comparison,) = compare(repeats("random", BASELINE_CURVE))
    assert comparison.setting == SETTING
    assert (comparison.saturation, comparison.last, comparison.counts) == (85, 85, (15, 25, 45))
    (with_initial,) = compare(repeats("random", BASELINE_CURVE), include_initial=True)
    assert with_initial.counts == (5, 15, 25, 45)
    (early,) = compare(repeats("random", [0.1, 0.2, 0.3, 0.9, 0.9, 0.905]))
    assert (early.saturation, early.counts) == (35, (15, 25))  # log2(30 / 10) = 1.58…


@pytest.mark.parametrize("curve", [[0.9, 0.9, 0.9], [0.5, 0.9, 0.9]])
def test_a_setting_that_is_saturated_at_once_has_no_label_counts(curve):
    for include_initial in (False, True):
        (comparison,) = compare(repeats("random", curve), include_initial=include_initial)
        assert comparison.counts == ()
        assert np.isnan(penalty_matrix([comparison], ["random", "other"])).all()


def test_a_baseline_run_that_ends_early_does_not_move_the_label_counts():
    runs = repeats("random", BASELINE_CURVE)
    runs[3] = make_run("random", 3, [0.9])
    (comparison,) = compare(runs)
    assert (comparison.last, comparison.saturation, comparison.counts) == (85, 85, (15, 25, 45))


def test_a_baseline_run_that_was_extended_does_not_move_the_label_counts():
    runs = repeats("random", BASELINE_CURVE)
    runs[0] = make_run("random", 0, [*BASELINE_CURVE, 0.95, 0.97, 0.99])
    (comparison,) = compare(runs)
    assert (comparison.last, comparison.saturation, comparison.counts) == (85, 85, (15, 25, 45))


def test_without_the_baseline_nothing_is_compared():
    assert compare(repeats("badge", BASELINE_CURVE)) == []


def test_matrix_of_known_winners():
    """In the first setting L is 15, 25, 45: `good` is better at 15 and 25 by the same amount in every repeat,
    and equal at 45; `wild` is better on the mean, but not significantly. In the second `good` is worse."""
    good = [0.1, 0.25, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    runs = repeats("random", BASELINE_CURVE) + repeats("good", good)
    runs += [
        make_run("wild", seed, np.array(BASELINE_CURVE) + e)
        for seed, e in enumerate((0.09, -0.07, 0.01, 0.06, -0.06))
    ]
    second = [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    for strategy, curve in (("random", BASELINE_CURVE), ("good", second), ("wild", BASELINE_CURVE)):
        runs += repeats(strategy, curve, batch_size=10, model="n")
    names = ["random", "good", "wild"]
    matrix = penalty_matrix(compare(runs), names)
    expected = np.array([[0, 1, 0], [2 / 3, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(matrix, expected)
    # the sentence in the paper, taken literally, has the signs the other way round
    assert not np.allclose(matrix, expected.T)
    np.testing.assert_allclose(column_means(matrix), [2 / 9, 2 / 3, 0])


@pytest.mark.parametrize(
    ("gains", "wins"),
    [
        ([0.01] * 5, True),  # no variance: the t-test has no answer
        ([0.0] * 5, False),
        ([-0.01] * 5, False),
        ([3, 1, 2, 2, 2], True),
        ([-3, -1, -2, -2, -2], False),
        # t is mean·√5/sd; at 4 degrees of freedom the bound is 2.776
        ([1, 1, 1, 1, 5.75], False),  # t = 2.053
        ([2, 1, 0, 1, 1], True),  # t = 3.162
        ([2.25, 1, -0.25, 1, 1], False),  # t = 2.530
        ([2.1, 1, -0.1, 1, 1], True),  # t = 2.875
    ],
)
def test_a_win_is_a_significant_paired_difference(gains, wins):
    base = np.array([0.3, 0.5, 0.4, 0.2, 0.6])
    ours = dict(enumerate(base + np.array(gains) / 100))
    assert beats(ours, dict(enumerate(base))) is wins


def test_repeats_are_paired_by_seed_and_four_pairs_are_not_tested():
    ours = {0: 0.5, 1: 0.61, 2: 0.4, 3: 0.7, 4: 0.6, 7: 0.0}
    theirs = {0: 0.4, 1: 0.5, 2: 0.31, 3: 0.6, 4: 0.49, 9: 0.9}
    assert beats(ours, theirs) is True
    assert beats(theirs, ours) is False
    del ours[3]
    assert beats(ours, theirs) is None


def test_a_pair_that_was_not_compared_is_empty():
    """`good` has two seeds in the first setting; `late` has five there, but not at all label counts."""
    runs = repeats("random", BASELINE_CURVE) + repeats("good", BASELINE_CURVE)[:2]
    runs += [*repeats("late", BASELINE_CURVE)[:4], make_run("late", 4, BASELINE_CURVE[:4])]
    names = ["random", "good", "late"]
    assert np.isnan(penalty_matrix(compare(runs), names)).all()
    assert not num_compared(compare(runs), names).any()
    runs += repeats("random", BASELINE_CURVE, model="n") + repeats("good", [0.0] * 9, model="n")
    comparisons = compare(runs)
    matrix, compared = penalty_matrix(comparisons, names), num_compared(comparisons, names)
    np.testing.assert_array_equal(matrix, [[0, 1, np.nan], [0, 0, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(compared, [[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(column_means(matrix, compared), [0, 0.5, np.nan])
    assert normalized_errors(comparisons, "late")[0].size == 0
    assert len(normalized_errors(comparisons, "good")[0]) == 3


def test_means_over_unlike_settings_are_not_given():
    runs = []
    for model in ("m", "n"):
        runs += repeats("random", BASELINE_CURVE, model=model) + repeats("good", BASELINE_CURVE, model=model)
    runs += repeats("new", [0.0] * 9)
    names, comparisons = ["random", "good", "new"], compare(runs)
    matrix, compared = penalty_matrix(comparisons, names), num_compared(comparisons, names)
    assert compared.tolist() == [[2, 2, 1], [2, 2, 1], [1, 1, 1]]
    assert matrix[:, 2].tolist() == [1, 1, 0]
    assert np.isnan(column_means(matrix, compared)).all()


def test_normalized_errors_by_hand():
    runs = repeats("random", BASELINE_CURVE) + repeats("good", [0.1, 0.6, 0.3, 0.4, 0.7, 0.6, 0.7, 0.8, 0.9])
    short = [0.1, 0.2, 0.9, 0.9]  # n_0 = 25, so L = 15 alone, with the weight of the other three
    runs += repeats("random", short, model="n") + repeats("good", [0.1, 0.36, 0.9, 0.9], model="n")
    ratios, weights = normalized_errors(compare(runs), "good")
    np.testing.assert_allclose(ratios, [0.4 / 0.8, 0.3 / 0.5, 0.64 / 0.8, 1.0])
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 2, 1 / 6])
    np.testing.assert_allclose(normalized_errors(compare(runs), "random")[0], 1.0)
    assert normalized_errors(compare(runs), "absent")[0].size == 0


def test_zoom():
    runs = repeats("random", BASELINE_CURVE) + repeats("a", [0.1, 0.2, 0.33, 0.4, 0.5, 0.6])
    by_strategy = mean_curves(runs)[SETTING]
    assert zoom_range(by_strategy, 85, 10) == (15, 85)
    assert zoom_range(by_strategy, 85, 10_000) is None
    assert zoom_range(by_strategy, 25, 10) is None, "two points"
    assert zoom_range({"random": by_strategy["random"]}, 65, 10) == (5, 65)
    assert zoom_range({"random": by_strategy["random"]}, 85, 10) is None, "all of it"


def test_missing_runs_are_named():
    runs = [*repeats("random", [0.1, 0.2]), *repeats("a", [0.1, 0.2])[:3], make_run("a", 3, [0.1])]
    assert missing_runs(runs) == [
        MissingRun(SETTING, "a", 3, "ends at 5 labels, others at 15"),
        MissingRun(SETTING, "a", 4, "no run"),
    ]
    assert missing_runs(repeats("random", [0.1])) == []
