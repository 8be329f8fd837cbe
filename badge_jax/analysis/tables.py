"""The tables of a report: CSV files, and one as text for a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from badge_jax.analysis.load import Run, is_scalar, scalar_options
from badge_jax.analysis.quantities import METRICS, Metric
from badge_jax.analysis.statistics import (
    Comparison,
    CurvePoint,
    Curves,
    column_means,
    normalized_errors,
    num_compared,
    penalty_matrix,
)
from badge_jax.csv_files import csv_text
from badge_jax.runs.setting import Setting


def summary_csv(curves: Curves) -> str:
    """The content of summary.csv: every point of every learning curve, one a row.

    Args:
        curves: Setting → strategy → points.

    Returns:
        CSV text with a header.

    Example:
        >>> curves = {Setting("letter", "mlp", 100): {"badge": [CurvePoint(100, 5, 0.5, 0.01)]}}
        >>> print(summary_csv(curves), end="")
        dataset,model,batch_size,strategy,num_labeled,runs,mean_accuracy,std_accuracy
        letter,mlp,100,badge,100,5,0.5,0.01
    """
    return csv_text(
        [*Setting._fields, "strategy", "num_labeled", "runs", "mean_accuracy", "std_accuracy"],
        (
            [*setting, strategy, *point]
            for setting, by_strategy in curves.items()
            for strategy, points in by_strategy.items()
            for point in points
        ),
    )


def penalty_csv(comparisons: Sequence[Comparison], strategies: Sequence[str]) -> str:
    """The content of penalty_matrix.csv: how often the row's strategy beats the column's, and the column means.

    Args:
        comparisons: The settings. The cell of a pair that was never compared is empty.
        strategies: In the order of rows and columns.

    Returns:
        CSV text with a header.

    Example:
        >>> accuracies = {n: {20: dict.fromkeys(range(5), a)} for n, a in (("badge", 0.8), ("random", 0.7))}
        >>> comparison = Comparison(Setting("letter", "mlp", 10), accuracies, 40, 40, (20,))
        >>> print(penalty_csv([comparison], ["badge", "random"]), end="")
        strategy,badge,random
        badge,0.0,1.0
        random,0.0,0.0
        mean,0.0,0.5
    """
    matrix = penalty_matrix(comparisons, strategies)
    means = column_means(matrix, num_compared(comparisons, strategies))
    rows = [*zip(strategies, matrix.tolist(), strict=True), ("mean", means.tolist())]
    return csv_text(
        ["strategy", *strategies],
        ([name, *values] for name, values in rows),
    )


def cdf_csv(comparisons: Iterable[Comparison], strategies: Iterable[str]) -> str:
    """The content of cdf.csv: the steps of every strategy's distribution of normalized errors.

    Args:
        comparisons: The settings.
        strategies: In the order of the rows.

    Returns:
        CSV text with a header.

    Example:
        >>> accuracies = {n: {20: dict.fromkeys(range(5), a)} for n, a in (("badge", 0.75), ("random", 0.5))}
        >>> comparison = Comparison(Setting("letter", "mlp", 10), accuracies, 40, 40, (20,))
        >>> print(cdf_csv([comparison], ["badge"]), end="")
        strategy,normalized_error,cumulative_weight
        badge,0.5,1.0
    """
    comparisons = list(comparisons)
    rows = []
    for strategy in strategies:
        ratios, weights = normalized_errors(comparisons, strategy)
        rows += [(strategy, ratio, share) for ratio, share in zip(ratios, weights.cumsum(), strict=True)]
    return csv_text(["strategy", "normalized_error", "cumulative_weight"], rows)


def rounds_csv(runs: Sequence[Run]) -> str:
    """The content of rounds.csv: one row a run and round, for ``pandas.read_csv``.

    The columns are data set, model, batch size, strategy and seed; the fields of a round, but for the lists of
    rows; then the other options of the run. A cell is empty where a run does not record what others do.

    Args:
        runs: As `read_runs` gives them.

    Returns:
        CSV text with a header.

    Example:
        >>> config = {"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge", "seed": 0}
        >>> line = {"round": 0, "num_labeled": 100, "test_accuracy": 0.5, "indices": [4, 1]}
        >>> print(rounds_csv([Run({**config, "clip": 0.1}, [line])]), end="")
        dataset,model,batch_size,strategy,seed,round,num_labeled,test_accuracy,clip
        letter,mlp,100,badge,0,0,100,0.5,0.1
    """
    fields = (name for run in runs for line in run.rounds for name, value in line.items() if is_scalar(value))
    options = (name for run in runs for name in scalar_options(run.config))
    names = list(dict.fromkeys([*Setting._fields, "strategy", "seed", *fields, *options]))
    rows = (
        [cells.get(name) for name in names]
        for run in runs
        for cells in ({**run.config, **line} for line in run.rounds)
    )
    return csv_text(names, rows)


def accuracy_table(curves: Curves, metric: Metric = METRICS["accuracy"]) -> str:
    """Mean test accuracies in percent, or means of another metric, as text, one table a setting.

    Args:
        curves: Setting → strategy → points.
        metric: What they are of.

    Returns:
        Lines for a terminal: a row for each number of labels, a column for each strategy. A mean of fewer runs
        than others of the setting has a star.

    Example:
        >>> curves = {Setting("letter", "mlp", 100): {"badge": [CurvePoint(100, 5, 0.5, 0.01)]}}
        >>> print(accuracy_table(curves))
        letter, mlp, batches of 100: mean test accuracy (%)
          labels   badge
             100    50.0
    """
    return "\n\n".join(
        f"{setting.title}: mean {metric.axis}\n{_columns(by_strategy, metric)}"
        for setting, by_strategy in curves.items()
    )


def _columns(by_strategy: Mapping[str, Sequence[CurvePoint]], metric: Metric) -> str:
    """The aligned lines of one setting: header and a row for each number of labels."""
    digits = 1 if metric.scale == 100 else 3
    most = max(point.runs for points in by_strategy.values() for point in points)
    is_marked = any(point.runs < most for points in by_strategy.values() for point in points)
    marks = ("", "") if not is_marked else (" ", "*")
    cells = {
        name: {
            point.num_labeled: f"{metric.scale * point.mean:.{digits}f}{marks[point.runs < most]}"
            for point in points
        }
        for name, points in by_strategy.items()
    }
    counts = sorted({count for column in cells.values() for count in column})
    rows = [["labels", *cells]]
    rows += [[str(count), *(column.get(count, "–") for column in cells.values())] for count in counts]
    widths = [8, *(max(8, len(name) + 2) for name in cells)]
    lines = ["".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    if is_marked:
        lines.append(f"  * of fewer than {most} runs, so not of the same seeds as the others")
    return "\n".join(lines)
