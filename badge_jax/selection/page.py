"""A page about a batch: a map of the pool, what the picks are, and what is left."""

from collections.abc import Iterable

import numpy as np

from badge_jax import html
from badge_jax.html import Html, text
from badge_jax.selection.explain import cells_of
from badge_jax.selection.plane import PoolMap
from badge_jax.selection.summary import BatchSummary

NUM_SHOWN = 1000
"""How many picks the table of a page shows."""

_NUM_CLASSES = 30
_LONGEST = 100  # characters of an id
_LITTLE = 0.1  # of the variance
_WIDTH, _HEIGHT, _EDGE = 640, 440, 14

_STYLE = """
:root { --rest: #767676; --labeled: #0068a3; --pick: #b84300; }
@media screen and (prefers-color-scheme: dark) {
  :root { --rest: #868b92; --labeled: #56b4e9; --pick: #ffa94d; }
}
body { max-width: 72rem; } p, ul, figure { max-width: 48rem; }
figure { margin: 1rem 0; } figcaption { color: var(--quiet); font-size: 0.9rem; }
.map { display: block; box-sizing: border-box; width: 100%; height: auto; border: 1px solid var(--line); }
.key { width: 1.1rem; height: 1.1rem; vertical-align: -0.2rem; margin-right: 0.4rem; }
.rest { fill: none; stroke: var(--rest); stroke-width: 3px; stroke-linecap: round; }
.key .rest { stroke-width: 6px; }
.labeled { fill: none; stroke: var(--labeled); stroke-width: 1.6px; vector-effect: non-scaling-stroke; }
.pick { fill: var(--pick); stroke: var(--page); stroke-width: 1px; vector-effect: non-scaling-stroke; }
.pick { scroll-margin: 40vh; }
.pick:target { stroke: var(--text); stroke-width: 6px; stroke-linejoin: round; paint-order: stroke; }
.bar { width: 5rem; height: 0.7rem; margin-left: 0.5rem; }
.all { fill: var(--rest); }
.legend { list-style: none; padding: 0; margin: 0.5rem 0; display: flex; flex-wrap: wrap; gap: 0 1.5rem; }
.legend { color: var(--text); }
td { white-space: nowrap; } td:has(.id), th:has(.id) { text-align: left; }
td .id, .note { display: inline-block; width: max-content; white-space: normal; overflow-wrap: anywhere; }
td .id { max-width: 18rem; overflow: hidden; vertical-align: middle; }
.note { max-width: 9rem; color: var(--quiet); text-align: left; }
td img { max-width: 5rem; max-height: 5rem; min-width: 2rem; vertical-align: middle; }
@media print { td .id { max-width: 10rem; } .map { max-height: 14cm; } }
@media print { a { color: inherit; text-decoration: none; } }
"""


def batch_page(summary: BatchSummary) -> str:
    """A page about a batch: the pool on a map, how many rows are left, predicted classes, and the picks.

    It needs no other file and loads nothing. It lists the first 1,000 picks.

    Args:
        summary: what to say.

    Returns:
        HTML.

    Example:
        >>> import numpy as np
        >>> from badge_jax.selection import BatchSummary, batch_page
        >>> page = batch_page(BatchSummary("random", 0, 100, 10, np.array([7, 3]), ids=["<b>", "x"]))
        >>> "Batch of 2 rows" in page, "<b>" in page, "&lt;b&gt;" in page
        (True, False, True)
    """
    parts = [*_counts(summary), *_map(summary), *_classes(summary), *_picks(summary)]
    k = len(summary.picks)
    return html.page(f"Batch of {k:,} row{'s' if k != 1 else ''} to label", parts, _STYLE)


def _counts(summary: BatchSummary) -> list[Html]:
    n, k = summary.num_rows, len(summary.picks)
    lines = [
        ("labeled or left out before", summary.num_labeled),
        ("in this batch", k),
        ("left after it", n - summary.num_labeled - k),
        ("in the pool", n),
    ]
    rows = [(what, f"{count:,}", _percent(count, n)) for what, count in lines]
    return [
        html.paragraph(
            f"Chosen by the strategy {summary.strategy}, seed {summary.seed}"
            + ("." if summary.model is None else f", from {summary.model}.")
        ),
        html.heading("How far the pool is labeled"),
        html.table("Rows of the pool", ("rows", "number", "share"), rows),
    ]


def _map(summary: BatchSummary) -> list[Html]:
    title, found = html.heading("Map of the pool"), summary.map
    if found is None:
        return [title, html.paragraph("There is none: it needs features or a representation.")]
    places, num_outside = _places(found)
    rest, labeled, picks = (places[kind] for kind in ("rest", "labeled", "picks"))
    size = min(1.0, (150 / max(len(picks), 1)) ** 0.5)  # many picks take no more room together
    marks = [
        _pick(x, y, size, f'id="map-{rank}"', Html(f"<title>{_name(summary, rank)}</title>"))
        for rank, (x, y) in reversed([*enumerate(picks)])  # the first picks on top
    ]
    description = " ".join(_description(found, num_outside))
    drawing = [
        f'<svg class="map" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="map map-words">',
        '<title id="map">Map of the pool: rows not labeled, rows labeled, and picks</title>',
        f'<desc id="map-words">{text(description)}</desc>',
        _dots(rest),
        _squares(labeled),
        *marks,
        "</svg>",
    ]
    legend = _legend(
        (_pick(0, 0, 1, "", Html("")), _drawn("picked now", len(picks), found.num_picks)),
        (_squares([(0, 0)]), _drawn("labeled or left out before", len(labeled), found.num_labeled)),
        (_dots([(0, 0)]), _drawn("other rows", len(rest), found.num_rest)),
    )
    caption = f"<figcaption>{legend}{text(description)}</figcaption>"
    return [title, Html("<figure>\n" + "\n".join(drawing) + f"\n{caption}\n</figure>")]


def _legend(*marks: tuple[Html, str]) -> Html:
    items = (
        f'<li><svg class="key" viewBox="-10 -10 20 20" aria-hidden="true">{mark}</svg>{text(words)}</li>'
        for mark, words in marks
    )
    return Html(f'<ul class="legend">{"".join(items)}</ul>')


def _places(found: PoolMap) -> tuple[dict[str, list[tuple[float, float]]], int]:
    """Where the rows are drawn, and how many lie outside: far from all others, they would squeeze these into a
    dot. Both axes have one scale."""
    parts = {"rest": found.rest, "labeled": found.labeled, "picks": found.picks}
    points = np.concatenate([*parts.values()])
    middle = np.median(points, axis=0)
    away = np.abs(points - middle)
    # the farthest of normally distributed rows are within the double of this quantile
    reach = np.minimum(away.max(axis=0), 2.5 * np.quantile(away, 0.98, axis=0))
    reach = np.where(reach > 0, reach, away.max(axis=0))
    room = np.array([_WIDTH / 2 - _EDGE, _HEIGHT / 2 - _EDGE])
    scale = min((size / far for size, far in zip(room, reach, strict=True) if far > 0), default=1.0)

    def drawn(part: np.ndarray) -> list[tuple[float, float]]:
        kept = np.clip((part - middle) * scale, -room, room) * [1, -1]
        return [(float(x), float(y)) for x, y in np.round(kept + np.array([_WIDTH, _HEIGHT]) / 2, 1)]

    is_outside = (np.abs(points - middle) * scale > room + 1e-6).any(axis=1)
    return {name: drawn(part) for name, part in parts.items()}, int(is_outside.sum())


def _description(found: PoolMap, num_outside: int) -> Iterable[str]:
    first, second = (_percent(share, 1) for share in found.shares)
    yield (
        f"The first two principal components of the {found.space}: {first} of the variance from left to right, "
        f"{second} from bottom to top. Rows that lie apart here are apart; rows that lie together need not be "
        "near."
    )
    if sum(found.shares) < _LITTLE:
        yield "This is so little of the variance that the map says almost nothing of the pool's shape."
    if num_outside:
        rows = (
            "1 row lies farther out, and is"
            if num_outside == 1
            else f"{num_outside:,} rows lie farther out, and are"
        )
        yield f"{rows} drawn at the edge."


def _drawn(what: str, drawn: int, count: int) -> str:
    return f"{what}: {count:,}" if drawn == count else f"{what}: {drawn:,} drawn of {count:,}"


def _name(summary: BatchSummary, rank: int) -> Html:
    row = f"rank {rank}, row {summary.picks[rank]}"
    return text(row if summary.ids is None else f"{row}: {_shortened(summary.ids[rank])}")


def _pick(x: float, y: float, size: float, attribute: str, inside: Html) -> Html:
    triangle = f"M{x:g} {y - 9 * size:g}l{8 * size:g} {14 * size:g}h{-16 * size:g}z"
    return Html(f'<path class="pick" {attribute} d="{triangle}">{inside}</path>')


def _squares(places: list[tuple[float, float]]) -> Html:
    return Html(f'<path class="labeled" d="{"".join(f"M{x - 4:g} {y - 4:g}h8v8h-8z" for x, y in places)}"/>')


def _dots(places: list[tuple[float, float]]) -> Html:
    """Dots: lines of no length with round ends."""
    return Html(f'<path class="rest" d="{"".join(f"M{x:g} {y:g}h0" for x, y in places)}"/>')


def _classes(summary: BatchSummary) -> list[Html]:
    """The predicted classes of the picks beside those of the rows that could be chosen."""
    if summary.pool_classes is None or "predicted_class" not in summary.columns:
        return []
    of_pool = summary.pool_classes
    predicted = summary.columns["predicted_class"]
    of_picks = np.bincount(predicted[predicted >= 0], minlength=len(of_pool))
    order = np.lexsort((np.arange(len(of_pool)), -of_pool, -of_picks))
    shown = np.sort(order[:_NUM_CLASSES])
    lines = [(_class(summary, label), int(of_picks[label]), int(of_pool[label])) for label in shown]
    if rest := len(of_pool) - len(shown):
        left = (of_picks.sum() - of_picks[shown].sum(), of_pool.sum() - of_pool[shown].sum())
        lines.append((f"{rest:,} others", int(left[0]), int(left[1])))
    shares = [(name, a, a / max(of_picks.sum(), 1), b, b / max(of_pool.sum(), 1)) for name, a, b in lines]
    most = max(max(a, b) for _, _, a, _, b in shares) or 1
    rows = [
        (name, f"{a:,}", _share(x, most, "pick"), f"{b:,}", _share(y, most, "all"))
        for name, a, x, b, y in shares
    ]
    header = ("class", "picks", "share of picks", "pool", "share of pool")
    return [
        html.heading("Predicted classes"),
        html.paragraph(
            "Of the picks, and of all rows that could be chosen."
            + (_NOT_SHOWN if (predicted < 0).any() else "")
            + (" Classes go by number, from 0." if summary.classes is None else "")
        ),
        html.table("Rows by predicted class", header, rows),
    ]


def _class(summary: BatchSummary, label: int) -> str:
    if label < 0:
        return "audit"
    return str(label) if summary.classes is None else _shortened(summary.classes[label])


def _share(share: float, most: float, kind: str) -> Html:
    """A percentage, and a bar of its length."""
    return Html(
        f'{_percent(share, 1)}<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect class="{kind}" width="{100 * share / most:.1f}" height="10"/></svg>'
    )


_NOT_SHOWN = " Picks of the audit are left out."
_COLUMNS = (
    ("predicted_class", "class", "the class that the model predicts"),
    ("probability", "probability", "of that class"),
    ("second_class", "second class", "the likeliest of the others"),
    ("second_probability", "its probability", ""),
    (
        "uncertainty_rank",
        "uncertainty rank",
        "the place by uncertainty among the rows that could be chosen, from 1",
    ),
    (
        "uncertain_neighbors",
        "uncertain neighbors",
        "of the most uncertain rows, how many have this pick as their nearest",
    ),
    ("copies_in_pool", "copies in pool", "other rows that could be chosen and are equal"),
    ("copies_in_batch", "copies in batch", "other picks that are equal"),
)


def _picks(summary: BatchSummary) -> list[Html]:
    k = len(summary.picks)
    shown = min(k, NUM_SHOWN)
    columns = dict(summary.columns)
    if "uncertainty" in columns:
        columns["probability"] = 1 - columns["uncertainty"]
    given = [(name, header, what) for name, header, what in _COLUMNS if name in columns]
    drawn = 0 if summary.map is None else len(summary.map.picks)
    cells: list[list[object]] = [
        [Html(f'<a href="#map-{rank}">{rank}</a>') if rank < drawn else rank for rank in range(shown)]
    ]
    header = ["rank"]
    if summary.pictures is not None:
        header.append("picture")
        cells.append(
            [
                Html(f'<img alt="row {row}" src="{text(picture.source)}">')
                if picture.source
                else Html(f'<span class="note">{text(picture.note)}</span>')
                for row, picture in zip(summary.picks, summary.pictures, strict=False)
            ]
        )
    header.append("row")
    cells.append([str(row) for row in summary.picks[:shown]])
    if summary.ids is not None:
        header.append(Html('<span class="id">id</span>'))
        cells.append([Html(f'<bdi class="id">{text(_shortened(id))}</bdi>') for id in summary.ids[:shown]])
    header += [name for _, name, _ in given]
    for name, _, _ in given:
        found = columns[name][:shown]
        is_class = name in ("predicted_class", "second_class")
        cells.append([_class(summary, label) for label in found] if is_class else list(cells_of(found)))
    words = ["rank: the order chosen, from 0" + ("; leads to the map" if drawn else "")]
    words += [f"{name}: {what}" for _, name, what in given if what]
    if (columns.get("predicted_class", np.zeros(0)) < 0).any():
        words.append("audit: a row that was drawn at random. It is labeled without a guess to look at")
    limit = [] if shown == k else [html.paragraph(f"The first {shown:,} of {k:,}; the CSV file has all.")]
    table = html.table("The rows to label, in the order chosen", header, zip(*cells, strict=True))
    return [html.heading("The picks"), *limit, table, html.bullets(words)]


def _shortened(id: str) -> str:
    """An id, without the middle of one that is very long."""
    if len(id) <= _LONGEST:
        return id
    return f"{id[:60]} … {id[-20:]} ({len(id):,} characters)"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"
