"""The tables of strategies against one another, as CSV."""

from collections.abc import Iterable

from badge_jax.analysis._contrasts import Overall
from badge_jax.analysis.results import Results
from badge_jax.csv_files import csv_text
from badge_jax.runs.setting import Setting


def pairs_csv(results: Results) -> str:
    """The content of pairs.csv: every pair of strategies of every setting, each in both orders.

    ``difference`` is by how much the first's area under the curve is better than the second's, a mean over the
    seeds in the unit of the metric: of a loss, the second's less the first's. ``low`` and ``high`` are its 95 %
    interval.
    """
    header = [*Setting._fields, "metric", "first_labels", "last_labels", "strategy", "other", "seeds"]
    header += ["seeds_won", "difference", "low", "high", "p_value", "p_holm"]
    rows = []
    for setting, found in results.settings.items():
        labels = found.scores.labels
        for pair in found.contrasts.values():
            row = [*setting, results.metric.name, labels[0], labels[-1], pair.strategy, pair.other]
            row += [len(pair.differences), pair.wins, *pair.interval, pair.p_value, pair.p_holm]
            rows.append(row)
    return csv_text(header, rows)


def overall_csv(results: Results) -> str:
    """The content of overall.csv: every pair of strategies over the settings that have both.

    The interval ``_seeds`` is for the average over just these settings, ``_settings`` for settings like these.
    """
    header = [
        "metric",
        "strategy",
        "other",
        "settings",
        "settings_won",
        "difference",
        "low_seeds",
        "high_seeds",
    ]
    header += ["low_settings", "high_settings", "p_value", "p_holm"]
    name = results.metric.name
    return csv_text(header, ([name, *_overall_row(pair)] for pair in results.overall.values()))


def _overall_row(pair: Overall) -> Iterable[object]:
    ends = [*pair.over_seeds[1:], *pair.over_settings[1:]]
    return [
        pair.strategy,
        pair.other,
        len(pair.means),
        pair.wins,
        pair.over_settings.mean,
        *ends,
        pair.p_value,
        pair.p_holm,
    ]


def savings_csv(results: Results) -> str:
    """The content of labels_saved.csv: labels saved against the baseline at equal score, by setting and
    strategy."""
    header = [*Setting._fields, "metric", "strategy", "seeds", "seeds_reaching", "saved", "low", "high"]
    return csv_text(
        header,
        (
            [*setting, results.metric.name, strategy, len(one.saved), one.reached, *one.interval]
            for setting, found in results.settings.items()
            for strategy, one in found.savings.items()
        ),
    )
