"""The pictures of a report: which there are, what each shows, and their files."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from badge_jax.analysis.drawing import FORMATS, render
from badge_jax.analysis.figures import draw_groups
from badge_jax.analysis.report_figures import draw_curves, draw_intervals, draw_pairs, draw_ranks
from badge_jax.analysis.results import DIAGNOSTICS, TIMES, Results, SettingResults
from badge_jax.analysis.statistics import Comparison, gains_over_baseline
from badge_jax.analysis.styles import Style, in_order, styles_of
from badge_jax.paper import BASELINE, SIGNIFICANT
from badge_jax.runs.setting import Setting, unique_slugs

_LATE = 4  # a late part is drawn where it has so many label counts


class Picture(NamedTuple):
    """A figure as files.

    Attributes:
        name: Of the files, without suffix.
        files: Suffix → content, one of each of `FORMATS`.
        caption: What it shows.
    """

    name: str
    files: dict[str, bytes]
    caption: str

    @property
    def png(self) -> bytes:
        """The content of the PNG file."""
        return self.files[".png"]


class Pictures(NamedTuple):
    """All pictures of a report.

    Attributes:
        of_settings: Setting → learning curves and what is made of them.
        of_times: Setting → times and diagnostics.
        overall: Ranks and pairs over all settings.
        of_paper: The comparison of the paper.
    """

    of_settings: dict[Setting, list[Picture]]
    of_times: dict[Setting, list[Picture]]
    overall: list[Picture]
    of_paper: list[Picture]

    def every(self) -> list[Picture]:
        """Each of them once, the most general first."""
        by_setting = (*self.of_settings.values(), *self.of_times.values())
        return [*self.of_paper, *self.overall, *(picture for some in by_setting for picture in some)]


def pictures_of(results: Results) -> Pictures:
    """Draws what the results have numbers for.

    Raises:
        EnvironmentFailure: Without matplotlib.
    """
    styles, slugs = styles_of(results.strategies), unique_slugs(results.settings)
    found = results.settings.items()
    return Pictures(
        {setting: list(_of_setting(setting, one, results, styles, slugs[setting])) for setting, one in found},
        {setting: list(_of_times(setting, one, styles, slugs[setting])) for setting, one in found},
        list(_overall(results)),
        list(_of_paper(results)),
    )


def _picture(name: str, figure: Any, caption: str) -> Picture:
    """The files of a figure of matplotlib."""
    return Picture(name, {suffix: render(figure, suffix) for suffix in FORMATS}, caption)


def _of_setting(
    setting: Setting, found: SettingResults, results: Results, styles: dict[str, Style], slug: str
) -> Iterator[Picture]:
    """Learning curves, the difference to the baseline, their late part, and the comparisons by area."""
    metric, values = results.metric, found.values
    counts = sorted({count for by_labels in values.values() for count in by_labels})
    several = any(len(by_seed) > 1 for by_labels in values.values() for by_seed in by_labels.values())
    band = ", mean with 95 % interval over the seeds, single seeds faintly" if several else ", one run each"
    yield _picture(
        f"learning_curves_{slug}",
        draw_curves(setting.title, metric.axis, values, styles, scale=metric.scale, bounds=metric.bounds),
        f"{_sentence(metric.title)} against labels{band}: {setting.title}.",
    )
    gains = gains_over_baseline(values, metric.sign)
    if len(counts) > 1 and gains:
        yield _picture(
            f"difference_{slug}",
            draw_curves(
                f"difference to {BASELINE}, paired by seed",
                metric.lead_over(BASELINE),
                gains,
                styles,
                scale=metric.scale,
                has_zero=True,
            ),
            f"How much better than {BASELINE} in the same seed{band}: {setting.title}.",
        )
    yield from _of_advantages(setting, found, results, styles, slug)
    late = [count for count in counts if 2 * count >= counts[0] + counts[-1]]
    if len(late) >= _LATE and len(values) > 1:
        yield _picture(
            f"late_{slug}",
            draw_curves(
                f"enlarged: from {late[0]:,} labels on",
                metric.axis,
                values,
                styles,
                scale=metric.scale,
                first=late[0],
                bounds=metric.bounds,
            ),
            f"The late part of the learning curves, enlarged{band}: {setting.title}.",
        )
    yield from _of_pairs(setting, found, results, slug)


def _of_advantages(
    setting: Setting, found: SettingResults, results: Results, styles: dict[str, Style], slug: str
) -> Iterator[Picture]:
    """Areas and labels saved against the baseline."""
    metric, labels = results.metric, found.scores.labels
    if len(labels) < 2:
        return
    pairs = {
        name: found.contrasts[name, BASELINE]
        for name in results.strategies
        if (name, BASELINE) in found.contrasts
    }
    order = sorted(pairs, key=lambda name: -pairs[name].interval.mean)
    span = f"{labels[0]:,} to {labels[-1]:,} labels"
    if pairs:
        yield _picture(
            f"areas_{slug}",
            draw_intervals(
                f"mean over {span}",
                metric.lead_over(BASELINE),
                {name: (pairs[name].differences, pairs[name].interval) for name in order},
                styles,
                metric.scale,
            ),
            f"Mean {metric.title} over {span}, by how much it is better than {BASELINE} in the same seed: "
            f"mean, 95 % interval and single seeds: {setting.title}.",
        )
    if found.savings:
        yield _picture(
            f"labels_saved_{slug}",
            draw_intervals(
                f"labels saved, up to {labels[-1]:,}",
                f"fewer labels than {BASELINE} for the same {metric.title}",
                {name: (found.savings[name].saved, found.savings[name].interval) for name in order},
                styles,
            ),
            f"Labels saved against {BASELINE} at equal score: mean, 95 % interval and single seeds: "
            f"{setting.title}.",
        )


def _of_pairs(setting: Setting, found: SettingResults, results: Results, slug: str) -> Iterator[Picture]:
    """Every pair of strategies by area."""
    names = [name for name in results.strategies if found.scores.curves.get(name)]
    if len(names) > 2 and len(found.scores.labels) > 1:
        yield _pairs_picture(
            f"pairs_{slug}",
            names,
            {key: (pair.interval.mean, pair.p_holm) for key, pair in found.contrasts.items()},
            results,
            setting.title,
        )


def _pairs_picture(
    name: str,
    names: Sequence[str],
    pairs: dict[tuple[str, str], tuple[float, float | None]],
    results: Results,
    where: str,
) -> Picture:
    """The matrix of all pairs: differences, and which are clear after Holm's correction."""
    metric = results.metric
    cells = np.full((len(names), len(names)), np.nan)
    is_clear = np.zeros_like(cells, bool)
    for (ours, theirs), (mean, p) in pairs.items():
        if ours in names and theirs in names:
            place = names.index(ours), names.index(theirs)
            cells[place], is_clear[place] = mean, p is not None and p < SIGNIFICANT
    tested = [p is not None for _, p in pairs.values()]
    framed = (
        f"Framed and bold: p < {SIGNIFICANT} after Holm's correction."
        + ("" if all(tested) else " Some pairs have too few seeds or settings and are not tested.")
        if any(tested)
        else "None is tested: there are too few seeds or settings."
    )
    figure = draw_pairs(
        f"all pairs: {where}", f"row {metric.lead_over('column')}", names, cells, is_clear, metric.scale
    )
    what = f"Mean {metric.title} over the curve: by how much the row is better than the column in the same seed"
    return _picture(name, figure, f"{what}: {where}. {framed}")


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _of_times(
    setting: Setting, found: SettingResults, styles: dict[str, Style], slug: str
) -> Iterator[Picture]:
    """Times and diagnostics, as far as they are recorded."""
    for field, ylabel in (*TIMES.items(), *DIAGNOSTICS.items()):
        values = {
            name: by for name, by in found.others.get(field, {}).items() if _has_number(by, field in TIMES)
        }
        if values:
            has_band = field in DIAGNOSTICS
            figure = draw_curves(ylabel, ylabel, values, styles, has_band=has_band, is_log=field in TIMES)
            gaps = "; a gap where a determinant is 0" if field == "gram_log_det" else ""
            yield _picture(
                f"{field}_{slug}",
                figure,
                f"{_sentence(ylabel)}, mean and single seeds{gaps}: {setting.title}.",
            )


def _has_number(by_labels: Mapping[int, Mapping[int, float]], is_positive: bool) -> bool:
    found = np.array([value for by_seed in by_labels.values() for value in by_seed.values()], np.float64)
    return bool((np.isfinite(found) & ((found > 0) | (not is_positive))).any())


def _overall(results: Results) -> Iterator[Picture]:
    """Ranks and all pairs, over settings."""
    if not isinstance(results.ranking, str):
        yield _picture(
            "critical_difference",
            draw_ranks(results.ranking),
            f"Mean ranks over {len(results.ranking.settings)} settings with Nemenyi's critical difference.",
        )
    names = in_order({name for pair in results.overall for name in pair})
    if len(names) > 2:
        pairs = {key: (pair.over_settings.mean, pair.p_holm) for key, pair in results.overall.items()}
        numbers = sorted({len(pair.means) for pair in results.overall.values()})
        where = "over all settings"
        if len(numbers) > 1:  # a strategy is lacking somewhere
            where = (
                f"over the settings that have both, {numbers[0]} to {numbers[-1]} of {len(results.settings)}"
            )
        yield _pairs_picture("pairs", names, pairs, results, where)


def _of_paper(results: Results) -> Iterator[Picture]:
    """Penalty matrices and normalized errors, over all settings and by group."""
    if not results.compared:
        return
    by_batch_size: dict[int, list[Comparison]] = {}
    by_network: dict[str, list[Comparison]] = {}
    for comparison in results.compared:
        by_batch_size.setdefault(comparison.setting.batch_size, []).append(comparison)
        by_network.setdefault(comparison.setting.model, []).append(comparison)
    groupings: dict[str, dict[str, Sequence[Comparison]]] = {"": {"all settings": results.compared}}
    if len(by_batch_size) > 1:
        groupings["_by_batch_size"] = {
            f"batches of {size:,}": by_batch_size[size] for size in sorted(by_batch_size)
        }
    if len(by_network) > 1:
        groupings["_by_network"] = {model: by_network[model] for model in sorted(by_network)}
    for name, groups in groupings.items():
        penalties, cdfs = draw_groups(groups, results.strategies)
        by = name.replace("_", " ")
        yield _picture(
            f"penalty_matrix{name}",
            penalties,
            f"How often the row beats the column{by}; the number of settings is in parentheses.",
        )
        yield _picture(f"cdf{name}", cdfs, f"Errors relative to {BASELINE}{by}.")
