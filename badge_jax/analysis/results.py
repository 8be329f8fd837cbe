"""All that a report says about its runs, as numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from badge_jax.analysis._contrasts import (
    Contrasts,
    Overall,
    Ranking,
    Saving,
    Scores,
    contrasts,
    overall,
    ranking,
    savings,
    scores,
)
from badge_jax.analysis.load import Run
from badge_jax.analysis.quantities import Metric
from badge_jax.analysis.statistics import (
    Comparison,
    MissingRun,
    Values,
    compare,
    missing_runs,
    num_compared,
    values_of,
)
from badge_jax.analysis.styles import in_order
from badge_jax.runs.setting import Setting, setting_of

TIMES = {"query_seconds": "seconds a query", "fit_seconds": "seconds of training"}
DIAGNOSTICS = {
    "gram_log_det": "log determinant of the batch",
    "mean_embedding_norm": "mean length of its gradients",
}


class SettingResults(NamedTuple):
    """One setting.

    Attributes:
        values: Of the metric.
        scores: The curves over a common range of labels.
        contrasts: Every pair of strategies.
        savings: Strategy → labels saved against the baseline.
        others: Field of rounds.jsonl → values, of times and diagnostics; only those that are recorded.
        stopped: Strategy → fits that ended at max_epochs, short of the target accuracy, and all of its fits; of
            runs that record it.
    """

    values: Values
    scores: Scores
    contrasts: Contrasts
    savings: Mapping[str, Saving]
    others: Mapping[str, Values]
    stopped: Mapping[str, tuple[int, int]]


class Results(NamedTuple):
    """All settings.

    Attributes:
        metric: What is compared.
        strategies: All of them, in the order of tables and figures.
        settings: Setting → its results, sorted.
        overall: (strategy, other) → their comparison over settings; empty with one setting.
        ranking: Over settings, or why there is none.
        comparisons: The paper's, of accuracy: of the settings in which the baseline ran.
        compared: Those of them in which at least one pair has seeds enough.
        missing: Runs that others lead one to expect.
    """

    metric: Metric
    strategies: Sequence[str]
    settings: Mapping[Setting, SettingResults]
    overall: Mapping[tuple[str, str], Overall]
    ranking: Ranking | str
    comparisons: Sequence[Comparison]
    compared: Sequence[Comparison]
    missing: Sequence[MissingRun]


def results_of(runs: Sequence[Run], metric: Metric, everything: Sequence[Run] | None = None) -> Results:
    """Computes everything.

    Args:
        runs: Comparable runs, see `read_runs`, that record the metric in every round.
        metric: What is compared.
        everything: Also the runs that do not record the metric, for the paper's comparison, which is of
            accuracy; None: there are none.

    Returns:
        The numbers.

    Example:
        >>> from badge_jax.analysis.quantities import METRICS
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 10, "strategy": "badge", "seed": 0}
        >>> run = Run(config, [{"round": 0, "num_labeled": 10, "test_accuracy": 0.5}])
        >>> results_of([run], METRICS["accuracy"]).ranking
        'ranks need five settings or more (here: 1)'
    """
    found, all_scores = values_of(runs, metric.field), scores(runs, metric)
    others: dict[Setting, dict[str, Values]] = {setting: {} for setting in found}
    for field in (*TIMES, *DIAGNOSTICS):
        recorded = [run for run in runs if all(field in line for line in run.rounds if line["round"])]
        for setting, values in values_of([run for run in recorded if _has_start(run, field)], field).items():
            others[setting][field] = values
    settings = {
        setting: SettingResults(
            values,
            all_scores[setting],
            contrasts(all_scores[setting]),
            savings(all_scores[setting]),
            others[setting],
            _stopped([run for run in runs if setting_of(run.config) == setting]),
        )
        for setting, values in found.items()
    }
    everything = runs if everything is None else everything
    strategies = in_order(run.config["strategy"] for run in everything)
    comparisons = compare(everything)
    return Results(
        metric,
        strategies,
        settings,
        overall(result.contrasts for result in settings.values()) if len(settings) > 1 else {},
        ranking(all_scores.values()),
        comparisons,
        [one for one in comparisons if num_compared([one], strategies).any()],
        missing_runs(runs),
    )


def _stopped(runs: Sequence[Run]) -> dict[str, tuple[int, int]]:
    fits: dict[str, list[bool]] = defaultdict(list)
    for run in runs:
        fits[run.config["strategy"]] += [line["converged"] for line in run.rounds if "converged" in line]
    return {strategy: (found.count(False), len(found)) for strategy, found in fits.items()}


def _has_start(run: Run, field: str) -> bool:
    """Whether a quantity that begins with round 0 is there."""
    return field != "fit_seconds" or field in run.rounds[0]
