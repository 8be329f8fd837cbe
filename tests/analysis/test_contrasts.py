"""Strategies against one another: areas, labels saved, ranks."""

import numpy as np
import pytest

from badge_jax.analysis import Run
from badge_jax.analysis._contrasts import (
    Scores,
    area,
    contrasts,
    labels_saved,
    overall,
    ranking,
    savings,
    scores,
)
from badge_jax.analysis.intervals import t_interval
from badge_jax.analysis.quantities import METRICS, metric_named, with_metric
from badge_jax.errors import InputError
from badge_jax.runs.setting import Setting

SETTING = Setting("d", "m", 10)
LABELS = np.arange(100, 1100, 100)


def make_run(strategy, seed, values, field="test_accuracy", **changes):
    config = {"dataset": "d", "model": "m", "batch_size": 10, "strategy": strategy, "seed": seed, **changes}
    rounds = [{"round": i, "num_labeled": 5 + 10 * i, field: value} for i, value in enumerate(values)]
    return Run(config, rounds)


def test_runs_that_end_early_are_left_out_and_named():
    runs = [make_run("random", seed, [0.1, 0.2, 0.3, 0.4]) for seed in range(2)]
    runs += [make_run("good", 0, [0.1, 0.4, 0.6]), make_run("good", 1, [0.1, 0.4])]
    found = scores(runs)[SETTING]
    assert found.labels.tolist() == [5, 15, 25], "as far as one run of every strategy reached"
    assert {name: sorted(by_seed) for name, by_seed in found.curves.items()} == {"good": [0], "random": [0, 1]}
    assert found.left_out == [("good", 1, 15)]
    pair = contrasts(found)["good", "random"]
    np.testing.assert_allclose(pair.differences, [(0.05 + 0.4 + 0.3) / 2 - (0.05 + 0.2 + 0.15) / 2])
    assert not pair.interval.is_known


def test_a_strategy_that_has_just_begun_does_not_end_all_curves():
    runs = [make_run(name, 0, [0.1, 0.2, 0.3]) for name in ("random", "good")] + [make_run("new", 0, [0.1])]
    found = scores(runs)[SETTING]
    assert found.labels.tolist() == [5, 15, 25]
    assert found.left_out == [("new", 0, 5)]
    assert ("new", "random") not in contrasts(found)
    short = [make_run("random", 0, [0.1, 0.2]), *(make_run(name, 0, [0.1, 0.2, 0.3]) for name in "abc")]
    assert scores(short)[SETTING].labels.tolist() == [5, 15], "as far as there is a baseline"


def test_areas_by_hand():
    assert area(np.array([0, 10, 30]), np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])).tolist() == [25 / 30, 1.0]
    assert area(np.array([5]), np.array([0.3])) == 0.3


def test_a_lower_loss_is_a_higher_score():
    runs = [make_run("random", seed, [2.0, 1.0 + seed / 10], "test_log_loss") for seed in range(2)]
    runs += [make_run("good", seed, [2.0, 0.5 + seed / 10], "test_log_loss") for seed in range(2)]
    found = scores(runs, METRICS["log_loss"])[SETTING]
    assert contrasts(found)["good", "random"].interval.mean == pytest.approx(0.25)
    assert savings(found)["good"].saved.tolist() == pytest.approx([10 - 10 / 1.5, 10 - 9 / 1.4])


def test_pairs_in_both_orders():
    curves = {
        "a": {i: np.array([0.1, 0.5 + i / 10]) for i in range(6)},
        "b": {i: np.array([0.1, 0.6]) for i in range(5)},
    }
    found = contrasts(Scores(SETTING, np.array([5, 15]), curves, []))
    ours, theirs = found["a", "b"], found["b", "a"]
    np.testing.assert_allclose(ours.differences, -theirs.differences)
    np.testing.assert_allclose(ours.differences, [-0.05, 0, 0.05, 0.1, 0.15], atol=1e-12)
    assert ours.interval == t_interval(ours.differences)
    assert theirs.interval == pytest.approx((-ours.interval.mean, -ours.interval.high, -ours.interval.low))
    assert ours.p_holm == ours.p_value == theirs.p_value, "one pair needs no correction"


def test_fewer_than_five_seeds_are_not_tested_and_do_not_count_for_the_correction():
    rng = np.random.default_rng(0)
    curves = {name: {seed: rng.random(3) for seed in range(5)} for name in ("a", "b", "c")}
    curves["few"] = {seed: rng.random(3) for seed in range(4)}
    curves["none"] = {9: rng.random(3)}
    found = contrasts(Scores(SETTING, np.array([5, 15, 25]), curves, []))
    assert ("none", "a") not in found
    assert found["few", "a"].p_value is None
    assert found["few", "a"].interval.is_known
    smallest = min(
        (found[pair] for pair in (("a", "b"), ("a", "c"), ("b", "c"))), key=lambda pair: pair.p_value
    )
    assert smallest.p_holm == pytest.approx(min(1, 3 * smallest.p_value))


def test_labels_saved_by_hand():
    labels = np.array([100, 200, 300, 400])
    random = np.array([0.2, 0.4, 0.6, 0.7])
    assert labels_saved(labels, np.array([0.2, 0.7, 0.8, 0.9]), random) == pytest.approx(200)
    assert labels_saved(labels, random, np.array([0.2, 0.7, 0.8, 0.9])) == pytest.approx(-200)
    assert labels_saved(labels, np.array([0.2, 0.3, 0.4, 0.5]), random) == pytest.approx(-150), "it needs more"
    assert labels_saved(labels, random, random) == 0
    # 0.75, 0.65 → 0.7 from 300 labels on: the peak is no arrival. Noise: two of six values are 0.05 off. At
    # this score the baseline is between 300 and 400 labels, the strategy between 200 and 300.
    early, score = np.array([0.2, 0.4, 0.75, 0.65]), 0.7 - 3 * 0.05 * (2 / 6) ** 0.5
    assert labels_saved(labels, early, random) == pytest.approx(
        (300 + 100 * (score - 0.6) / 0.1) - (200 + 100 * (score - 0.4) / 0.3)
    )


def test_a_curve_that_does_not_rise_neither_saves_labels_nor_loses_them():
    labels = np.array([100, 200, 300, 400])
    rising, falling = np.array([0.75, 0.8, 0.9, 0.95]), np.array([0.75, 0.6, 0.65, 0.7])
    for ours, theirs in ((rising, falling), (falling, rising), (falling, falling)):
        assert np.isnan(labels_saved(labels, ours, theirs))
    lost = np.array([0.75, 0.6, 0.9, 0.5])  # no more than its noise
    assert np.isnan(labels_saved(labels, lost, rising))
    curves = {
        "bad": {0: falling, 1: np.array([0.75, 0.8, 0.85, 0.9])},
        "random": dict.fromkeys(range(2), rising),
    }
    saving = savings(Scores(SETTING, labels, curves, []))["bad"]
    assert np.isnan(saving.interval).all(), "one seed has no number"
    assert saving.reached == 0, "though, made monotone, the falling curve ends where it begins"
    fallen = {"less bad": {0: falling}, "random": {0: falling - [0, 0, 0, 0.1]}}
    assert savings(Scores(SETTING, labels, fallen, []))["less bad"].reached == 1


@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_a_plateau_does_not_shrink_labels_saved(noise):
    """A strategy that needs 200 labels less for every score, on a curve that is flat from 500 labels on."""
    labels, rng = np.arange(100, 1100, 100), np.random.default_rng(0)
    flat = np.minimum(0.9, 0.5 + 0.4 * (labels - 100) / 500)
    ahead = np.minimum(0.9, 0.5 + 0.4 * (labels + 100 * (labels > 100) - 100 + 100 * (labels > 100)) / 500)
    saved = []
    for _ in range(200):
        ours, theirs = (curve + noise * rng.normal(size=10) for curve in (ahead, flat))
        ours[0] = theirs[0]
        saved.append(labels_saved(labels, ours, theirs))
    assert np.mean(saved) == pytest.approx(200, abs=15)
    assert np.std(saved) < 60


def test_one_seed_that_went_further_does_not_cut_the_others():
    runs = [
        make_run(name, seed, [0.5] * (9 if seed == 0 else 5))
        for name in ("badge", "random")
        for seed in range(5)
    ]
    (found,) = scores(runs).values()
    assert found.labels.tolist() == [5, 15, 25, 35, 45]
    assert [len(by_seed) for by_seed in found.curves.values()] == [5, 5]
    assert found.left_out == []


def test_scores_that_differ_by_rounding_are_equal():
    curves = {"badge": {0: np.array([0.1 + 0.2, 0.3])}, "random": {0: np.array([0.3, 0.3])}}
    found = contrasts(Scores(SETTING, np.array([10, 20]), curves, []))
    assert found["badge", "random"].wins == found["random", "badge"].wins == 0.5
    same = {name: {0: np.array([0.3, 0.3])} for name in ("badge", "random")}
    for pair in contrasts(Scores(SETTING, np.array([10, 20]), same, [])).values():
        assert not np.signbit(pair.interval.mean)
        assert not np.signbit(pair.differences).any()


def test_labels_saved_have_no_number_where_no_score_is_reached_by_both():
    labels = np.array([100, 200])
    assert np.isnan(labels_saved(labels, np.array([0.7, 0.8]), np.array([0.2, 0.6])))
    curves = {
        "good": {0: np.array([0.7, 0.8]), 1: np.array([0.2, 0.8])},
        "random": dict.fromkeys(range(2), np.array([0.2, 0.6])),
    }
    saving = savings(Scores(SETTING, labels, curves, []))["good"]
    assert np.isnan(saving.interval).all(), "and a mean over the others would mislead"
    assert saving.reached == 2


def synthetic(rng, rate, seeds, sweeps=2000):
    """[sweeps, seeds, m]: curves 0.9 − 0.6 exp(−rate·x) with what a seed has in common, and noise."""
    exact = 0.9 - 0.6 * np.exp(-rate * (LABELS - 100) / 400)
    return exact, exact + 0.008 * rng.normal(size=(sweeps, seeds, len(LABELS)))


def coverage(interval, truth):
    return np.mean((interval.low <= truth) & (truth <= interval.high))


@pytest.mark.parametrize("seeds", [2, 5])
def test_intervals_of_area_differences_cover(seeds):
    rng = np.random.default_rng(seeds)
    (slow, random), (fast, ours) = synthetic(rng, 1.0, seeds), synthetic(rng, 1.6, seeds)
    common = 0.02 * rng.normal(size=(2000, seeds, 1))
    interval = t_interval(area(LABELS, ours + common) - area(LABELS, random + common))
    assert coverage(interval, area(LABELS, fast) - area(LABELS, slow)) == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow  # 40,000 monotone fits
@pytest.mark.parametrize(("rate", "seeds"), [(1.0, 2), (1.0, 5), (1.6, 2), (1.6, 5)])
def test_intervals_of_labels_saved_cover(rate, seeds):
    """Of what is saved on average. That is near the saving between curves without noise, a little less since
    it is measured a little below their ends."""
    rng = np.random.default_rng(seeds)
    (slow, random), (fast, ours) = synthetic(rng, 1.0, seeds), synthetic(rng, rate, seeds)
    truth = labels_saved(LABELS, fast, slow)
    assert (truth == 0) == (rate == 1.0)
    saved = np.array(
        [
            [labels_saved(LABELS, a, b) for a, b in zip(*pair, strict=True)]
            for pair in zip(ours, random, strict=True)
        ]
    )
    assert saved.mean() == pytest.approx(truth, rel=0.05, abs=5)
    assert coverage(t_interval(saved), saved.mean()) == pytest.approx(0.95, abs=0.015)


def first_arrival(labels, ours, baseline):
    """A mutant: the first label count at which the strategy's curve reaches the baseline's last value."""
    return labels[-1] - labels[np.argmax(ours >= min(baseline[-1], ours.max()))]


def test_noise_is_not_an_early_arrival():
    """Two strategies of one law on a plateau: nothing is saved. The mutant saves labels there."""
    rng = np.random.default_rng(0)
    curves = np.minimum(0.9, 0.3 + 0.1 * np.arange(10)) + 0.01 * rng.normal(size=(2, 400, 10))
    saved = t_interval(np.array([labels_saved(LABELS, a, b) for a, b in zip(*curves, strict=True)]))
    assert saved.low < 0 < saved.high
    wrong = t_interval(np.array([first_arrival(LABELS, a, b) for a, b in zip(*curves, strict=True)]))
    assert wrong.low > 100


def test_over_settings_each_has_equal_weight():
    def setting(gains):
        curves = {
            "a": {seed: np.array([gain, gain]) for seed, gain in enumerate(gains)},
            "b": {seed: np.zeros(2) for seed in range(9)},
        }
        return contrasts(Scores(SETTING, np.array([5, 15]), curves, []))

    found = overall([setting([0.1, 0.3]), setting([0.4] * 5), setting([-0.1])])
    pair = found["a", "b"]
    np.testing.assert_allclose(pair.means, [0.2, 0.4, -0.1])
    assert pair.over_settings == t_interval(np.array([0.2, 0.4, -0.1]))
    assert pair.over_seeds.mean == pytest.approx(0.5 / 3)
    assert not pair.over_seeds.is_known, "a setting has one seed"
    assert (pair.wins, found["b", "a"].wins) == (2, 1)
    assert pair.p_value is None
    many = overall([setting([0.1 + i / 100, 0.2]) for i in range(5)])
    assert many["a", "b"].p_holm == many["b", "a"].p_holm == pytest.approx(many["a", "b"].p_value)
    assert many["a", "b"].p_value < 0.01


def test_ranking_needs_settings_and_strategies_and_says_so():
    rng = np.random.default_rng(0)

    def setting(names, batch_size):
        curves = {
            name: {seed: rng.random(2) + 2 * place for seed in range(2)} for place, name in enumerate(names)
        }
        return Scores(SETTING._replace(batch_size=batch_size), np.array([5, 15]), curves, [])

    found = ranking([setting("abcd", 10), *(setting("abc", size) for size in range(4))])
    assert found.strategies == ["c", "b", "a"]
    assert found.ranks.mean_ranks.tolist() == [1, 2, 3]
    assert found.ranks.num_blocks == len(found.settings) == 5
    assert ranking([setting("abc", 1)] * 4) == "ranks need five settings or more (here: 4)"
    assert ranking([setting("ab", 1)] * 5) == "ranks need three strategies that ran in every setting (here: 2)"


def test_metrics_that_no_run_records():
    new = make_run("a", 0, [0.5], "test_log_loss")
    old = make_run("a", 1, [0.5])
    assert with_metric([new, old], METRICS["log_loss"]) == ([new], [old])
    with pytest.raises(InputError, match=r"no run records macro-F1 \(test_macro_f1\)"):
        with_metric([new, old], METRICS["macro_f1"])
    with pytest.raises(InputError, match="--metric auc is unknown; give one of accuracy, balanced_accuracy"):
        metric_named("auc")
