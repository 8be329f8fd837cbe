"""The page about a batch: what it says equals the CSV file, and no id, name or file can make it do more."""

import base64
import csv
import hashlib
import re

import numpy as np
import pytest
from oracles import softmax
from pages import Reader, contrast
from pools import pool_arrays

from badge_jax.cli import main
from badge_jax.selection import (
    BatchSummary,
    Inputs,
    Picture,
    PoolMap,
    SelectOptions,
    batch_page,
    make_task,
    matrix_of,
    run_task,
    summarize,
)

N, C, K = 3000, 5, 12
PICKS = "The rows to label, in the order chosen"
CLASSES = "Rows by predicted class"
HOSTILE = [
    "<script>alert(1)</script>",
    "</title></desc></svg></td></table></main><script>alert(2)</script>",
    "\"'><img src=x onerror=alert(3)>",
    "' onmouseover='alert(4)",
    "\u202egnp.evil",
    "\u2066a\u2069\u200f\u061c",
    "a\0b\x07\x1b[31m\x7f\x85\r\nc",
    "\ud800 and \udfff",
    "\U000e0041\ufeff\u200b\u2028",
    "https://evil.example/x.png",
    "javascript:alert(5)",
    "]]> --> <!-- &lt;b&gt; &#60;b&#62; &amp;",
    "שלום",
    "Z" + "\u0301" * 40,
    "x" * 100_000,
    "=cmd|' /C calc'!A0",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pool, with a labeled row in ten, ids, and a picture of row 2 and of a few others."""
    folder = tmp_path_factory.mktemp("pool")
    for name, array in pool_arrays().items():
        np.save(folder / f"{name}.npy", array)
    (folder / "labeled.txt").write_text("".join(f"row {i}.png\n" for i in range(0, N, 10)))
    (folder / "ids.txt").write_text("".join(f"row {i}.png\n" for i in range(N)))
    (folder / "images").mkdir()
    for i in range(N):
        if i % 3:
            (folder / "images" / f"row {i}.png").write_bytes(b"\x89PNG\r\n\x1a\n%d" % i)
    return folder


def words(folder, out, *more):
    files = [f"--{name}={folder / name}.npy" for name in ("features", "logits")]
    files += [f"--{name}={folder / name}.txt" for name in ("labeled", "ids")]
    return ["select", f"--k={K}", "--strategy=margin", *files, f"--out={out}", *map(str, more)]


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """The CSV file's rows of a call with --explain, and the page."""
    out = tmp_path_factory.mktemp("out")
    page = out / "page.html"
    more = ["--explain", f"--page={page}", f"--images={folder / 'images'}"]
    assert main(words(folder, out / "picks.csv", *more)) == 0
    return rows_of(out / "picks.csv"), Reader(page.read_text("utf-8"))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def page_of(k=len(HOSTILE), **more):
    """A page about k picks, of hostile ids."""
    more = {"ids": HOSTILE[:k]} | more
    return batch_page(BatchSummary("margin", 0, 100, 10, np.arange(k), **more))


def some_map(num_picks, num_rest=200):
    rng = np.random.default_rng(0)
    parts = (rng.normal(size=(m, 2)) for m in (num_rest, 20, num_picks))
    return PoolMap("features", (0.5, 0.25), *parts, num_rest, 20, num_picks)


def test_the_numbers_are_those_of_the_csv_file(made):
    rows, page = made
    header, *cells = page.tables[PICKS]
    assert header[:4] == ["rank", "picture", "row", "id"]
    named = [dict(zip(header, line, strict=True)) for line in cells]
    names = {
        "rank": "rank", "row": "index", "id": "id", "class": "predicted_class", "second class": "second_class",
        "its probability": "second_probability", "uncertainty rank": "uncertainty_rank",
        "uncertain neighbors": "uncertain_neighbors", "copies in pool": "copies_in_pool",
        "copies in batch": "copies_in_batch",
    }  # fmt: skip
    assert {*names, "picture", "probability"} == {*header}
    for line, row in zip(named, rows, strict=True):
        assert {name: line[name] for name in names} == {name: row[of] for name, of in names.items()}
        # both have six digits
        assert float(line["probability"]) == pytest.approx(1 - float(row["uncertainty"]), abs=2e-6)


def test_the_counts_are_those_of_the_pool(made, folder):
    rows, page = made
    assert page.tables["Rows of the pool"][1:] == [
        ["labeled or left out before", "300", "10.0 %"],
        ["in this batch", "12", "0.4 %"],
        ["left after it", "2,688", "89.6 %"],
        ["in the pool", "3,000", "100.0 %"],
    ]
    predicted = np.load(folder / "logits.npy").argmax(axis=1)[np.arange(N) % 10 != 0]
    of_picks = np.bincount([int(row["predicted_class"]) for row in rows], minlength=C)
    of_pool = np.bincount(predicted, minlength=C)
    assert page.tables[CLASSES][1:] == [
        [str(i), f"{a}", f"{100 * a / K:.1f} %", f"{b:,}", f"{100 * b / 2700:.1f} %"]
        for i, (a, b) in enumerate(zip(of_picks, of_pool, strict=True))
    ]
    assert "picked now: 12" in page.shown
    assert "labeled or left out before: 300" in page.shown
    assert "other rows: 2,688" in page.shown


def test_pictures_stand_beside_their_rows(made):
    rows, page = made
    given = {attributes["alt"]: attributes["src"] for attributes in page.all("img")}
    expected = {
        f"row {i}": "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n%s" % i.encode()).decode()
        for i in (row["index"] for row in rows)
        if int(i) % 3
    }
    assert given == expected
    assert [line[1] for line in page.tables[PICKS][1:]] == [
        "" if int(row["index"]) % 3 else "no such file" for row in rows
    ]


def test_it_is_the_same_each_time_and_the_csv_is_what_was_asked_for(folder, tmp_path, capsys):
    """Under a budget too, when the pool stays in its files."""
    pages = []
    for more in ([], ["--explain"], ["--memory=6MB"]):
        out, page = tmp_path / f"{len(pages)}.csv", tmp_path / f"{len(pages)}.html"
        assert main(words(folder, out, f"--page={page}", *more)) == 0
        pages.append(page.read_bytes())
        assert f"{page}: a page about them, 0.1 MB\n" in capsys.readouterr().out
        assert len(rows_of(out)[0]) == (3 if more != ["--explain"] else 14)
    assert pages[0] == pages[1] == pages[2]
    assert main(words(folder, tmp_path / "plain.csv")) == 0
    assert (tmp_path / "plain.csv").read_bytes() == (tmp_path / "0.csv").read_bytes()


def test_numbers_are_not_quoted_where_ids_have_line_ends(folder, tmp_path):
    """A carriage return in an id has all text quoted; whole numbers are none."""
    (tmp_path / "ids.csv").write_text("id\n" + "".join(f'"{i}\r"\n' for i in range(N)), newline="")
    out = tmp_path / "picks.csv"
    given = [word for word in words(folder, out, "--explain") if not word.startswith(("--ids", "--labeled"))]
    assert main([*given, f"--ids={tmp_path / 'ids.csv'}", f"--page={tmp_path / 'page.html'}"]) == 0
    assert re.match(rb'0,\d+,"\d+\r",\d,"', out.read_bytes().split(b"\n")[1])
    page = Reader((tmp_path / "page.html").read_text("utf-8"))
    assert [line[2] for line in page.tables[PICKS][1:]] == [row["index"] + r"\r" for row in rows_of(out)]


def test_hostile_ids_are_shown_and_do_nothing():
    notes = [Picture("", f"no {id[:99]}") for id in HOSTILE]
    columns = {"predicted_class": np.zeros(len(HOSTILE), int)}
    text = page_of(map=some_map(len(HOSTILE)), pictures=notes, columns=columns, pool_classes=np.array([90, 0]))
    text.encode("utf-8")
    page = Reader(text)
    assert {tag for tag, _ in page.elements} <= {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "div", "table", "caption",
        "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "ul", "li", "svg", "path", "rect", "desc",
        "a", "bdi", "span",
    }  # fmt: skip
    assert len(page.all("path")) == len(HOSTILE) + 2 + 3, "picks, two kinds of others, and the legend"
    assert len(page.all("bdi")) == len(HOSTILE)
    assert page.fetched == []
    assert all(re.fullmatch(r"#map-\d+", link) for link in page.links)
    header, *lines = page.tables[PICKS]
    shown = [line[header.index("id")] for line in lines]
    for id, cell in zip(HOSTILE, shown, strict=True):
        assert cell.isprintable()
        if id.isprintable() and len(id) < 100:
            assert cell == id
    assert shown[4] == r"\u202egnp.evil"
    assert shown[7] == r"\ud800 and \udfff"
    assert shown[14] == "x" * 60 + " … " + "x" * 20 + " (100,000 characters)"
    assert len(text) < 60_000


def test_a_hostile_strategy_is_text():
    page = Reader(batch_page(BatchSummary("mine:make(a='<script>\u202e')", 1, 9, 0, np.array([2]))))
    assert page.all("script") == []
    assert r"mine:make(a='<script>\u202e'), seed 1." in page.shown
    assert "Batch of 1 row to label" in page.shown


def test_nothing_may_be_loaded_or_run(made):
    _, page = made
    [policy] = [x["content"] for x in page.all("meta") if x.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.elements.index(("meta", {"http-equiv": "Content-Security-Policy", "content": policy})) < 5
    assert all(address.startswith("data:image/png;base64,") for address in page.fetched)
    assert not re.search(r"url\(|@import|https?:", page.style)


def test_tables_and_map_can_be_read_aloud_and_reached(made):
    _, page = made
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert len(page.all("caption")) == len(page.all("table")) == 3
    assert {x.get("scope") for x in page.all("th")} == {"col", "row"}
    boxes = page.all("div")
    assert [(x["role"], x["tabindex"], x["aria-label"]) for x in boxes] == [
        ("region", "0", caption) for caption in page.tables
    ]
    drawings = [x for x in page.all("svg") if "role" in x]
    assert [(x["role"], x["aria-labelledby"]) for x in drawings] == [("img", "map map-words")]
    assert all("role" in x or x["aria-hidden"] == "true" for x in page.all("svg"))
    ids = [x["id"] for _, x in page.elements if "id" in x]
    assert len(ids) == len({*ids})
    assert {"map", "map-words", *(f"map-{i}" for i in range(K))} == {*ids}
    assert page.links == [f"#map-{i}" for i in range(K)]
    assert all(x["alt"] for x in page.all("img"))


def test_colours_can_be_told_from_the_page_and_shapes_differ():
    """WCAG 2.2 AA: 4.5 for text, 3 for what a drawing is made of."""
    page = Reader(page_of(map=some_map(3), k=3))
    light, dark = page.colours()
    assert light.keys() == dark.keys() == {"page", "text", "quiet", "line", "link", "rest", "labeled", "pick"}
    for theme in (light, dark):
        for name, least in (
            ("text", 7),
            ("quiet", 4.5),
            ("link", 4.5),
            ("rest", 3),
            ("labeled", 3),
            ("pick", 3),
        ):
            assert contrast(theme[name], theme["page"]) >= least, name
    legend = {x["class"]: re.sub(r"[^a-zA-Z]", "", x["d"]) for x in page.all("path")[-3:]}
    assert legend == {"pick": "Mlhz", "labeled": "Mhvhz", "rest": "Mh"}, "a triangle, a square, a dot"
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def drawn(text, kind):
    """Where the marks of a kind are on the map."""
    [path] = [x["d"] for x in Reader(text).all("path") if x["class"] == kind and len(x["d"]) > 30]
    return np.array([[float(x) for x in place.split()] for place in re.findall(r"M([-\d.]+ [-\d.]+)", path)])


def test_the_map_keeps_shape_and_shows_what_lies_far_out():
    points = some_map(1)
    places = drawn(page_of(k=1, map=points), "rest")
    size = (places - places[0])[1:] / (points.rest - points.rest[0])[1:] * [1, -1]
    assert np.median(size) > 20
    # places are rounded to tenths, so differences to a tenth
    apart = np.abs(places - places[0] - (points.rest - points.rest[0]) * np.median(size) * [1, -1])
    assert apart.max() < 0.3
    far = points._replace(rest=np.concatenate([points.rest, [[1e6, 0.0]]]), num_rest=201)
    text = page_of(k=1, map=far)
    assert "1 row lies farther out, and is drawn at the edge." in Reader(text).shown
    assert np.ptp(drawn(text, "rest")[:-1], axis=0).max() > 150, "the others are not squeezed"
    assert drawn(text, "rest").min() >= 0
    assert drawn(text, "rest")[:, 0].max() <= 640


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.array([[1.0, 0], [2.0, 0], [2.0, 0]])])
def test_maps_without_breadth(points):
    none = np.zeros((0, 2))
    text = page_of(k=1, map=PoolMap("features", (0, 0), points, none, points[:1], len(points), 0, 1))
    assert "nan" not in text
    assert "inf" not in text


def test_long_batches_and_many_classes():
    k, c = 1500, 100
    columns = {"predicted_class": np.arange(k) % 50, "uncertainty": np.linspace(1, 0, k, dtype=np.float32)}
    summary = BatchSummary(
        "margin",
        0,
        9000,
        0,
        np.arange(k)[::-1],
        None,
        columns,
        np.arange(c),
        some_map(1000)._replace(num_picks=k),
    )
    page = Reader(batch_page(summary))
    assert "The first 1,000 of 1,500; the CSV file has all." in page.shown
    assert "picked now: 1,000 drawn of 1,500" in page.shown
    assert [line[:2] for line in page.tables[PICKS][1:]] == [[str(i), str(1499 - i)] for i in range(1000)]
    lines = page.tables[CLASSES][1:]
    assert len(lines) == 31
    assert lines[-1][0] == "70 others"
    assert sum(int(line[1].replace(",", "")) for line in lines) == k
    assert sum(int(line[3].replace(",", "")) for line in lines) == sum(range(c))
    assert [int(line[0]) for line in lines[:-1]] == [*range(20, 50)], "of equals, what the pool has most of"


def test_pools_with_less_to_show():
    """One column of two classes as logits and as probabilities; a representation; features alone."""
    arrays = pool_arrays(60, 2, 4)
    half = arrays["logits"][:, 1:]
    for given, classes, space in (
        ({"logits": half}, half[:, 0] > 0, None),
        ({"probabilities": softmax(arrays["logits"]).astype(np.float32)[:, 1:]}, None, None),
        ({"features": arrays["features"]}, None, "features"),
        ({"representation": arrays["features"]}, None, "representation"),
    ):
        inputs = Inputs(**{name: matrix_of(array, name) for name, array in given.items()})
        task = make_task(SelectOptions(3, "random", explain=True), inputs)
        summary = summarize(task, run_task(task))
        page = Reader(batch_page(summary))
        if "probabilities" in given:
            classes = arrays["logits"][:, 1] > arrays["logits"][:, 0]
        if classes is not None:
            assert summary.pool_classes.tolist() == [(~classes).sum(), classes.sum()]
        assert (CLASSES in page.tables) == (classes is not None)
        assert (summary.map and summary.map.space) == space
        assert ("There is none: it needs features or a representation." in page.shown) == (space is None)
        assert page.links == ([] if space is None else ["#map-0", "#map-1", "#map-2"])
        assert "left after it" in page.shown


def test_what_the_command_refuses(folder, tmp_path, capsys, monkeypatch):
    """Each in one line, before the work, with nothing written."""
    monkeypatch.setattr("badge_jax.cli.select.run_task", None)
    out, page = tmp_path / "picks.csv", tmp_path / "page.html"
    there = tmp_path / "there.html"
    there.write_text("mine")
    images = folder / "images"
    plain = [word for word in words(folder, out) if not word.startswith(("--ids", "--labeled"))]
    image = images / "row 1.png"
    with_images = f"--images={images}"

    def call(*more, to=out):
        return words(folder, to, *more)

    for given, message in (
        (call(f"--page={out}"), f"--page is {out}, which --out is too; wanted another file"),
        (call(f"--page={tmp_path}/./picks.csv"), "which --out is too; wanted another file"),
        (call(f"--page={there}"), f"--page {there} is there already; wanted another name, or --force"),
        (call(f"--page={folder / 'ids.txt'}", "--force"), "ids.txt, which is read as input; wanted"),
        (call(f"--page={folder / 'features.npy'}", "--force"), "which is read as input; wanted"),
        (call(f"--page={image}", with_images, "--force"), "row 1.png, which is read as input"),
        (call(f"--page={page}", with_images, "--force", to=image), "row 1.png, which is read as input"),
        (call(f"--page={tmp_path}"), f"{tmp_path} is a folder; wanted the name of a file"),
        (call(f"--page={tmp_path / 'none' / 'page.html'}"), "is not a folder; wanted one that exists"),
        (call(with_images), "--images are shown on the page; wanted --page as well"),
        ([*plain, f"--page={page}", with_images], "--images are found by id; wanted --ids as well"),
        (call(f"--page={page}", f"--images={image}"), f"--images {image} is not a folder; wanted one"),
    ):
        assert main(given) == 2, message
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.html"]
    assert there.read_text() == "mine"
    assert image.read_bytes() == b"\x89PNG\r\n\x1a\n1"


def test_missing_pictures_are_told_once(folder, tmp_path, capsys):
    more = [f"--page={tmp_path / 'page.html'}", f"--images={tmp_path}"]
    assert main(words(folder, tmp_path / "picks.csv", *more)) == 0
    first = rows_of(tmp_path / "picks.csv")[0]["id"]
    line = f"warning: --images: 12 of 12 pictures are missing, the first {first!r}: no such file"
    assert capsys.readouterr().err == f"badge-jax: {line}\n"


def test_a_page_is_replaced_by_force_only_and_a_forecast_writes_none(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert main(words(folder, tmp_path / "picks.csv", f"--page={page}", "--dry-run")) == 0
    assert page.read_text() == "mine"
    assert main(words(folder, tmp_path / "picks.csv", f"--page={page}", "--force")) == 0
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().err == ""


def test_if_the_page_cannot_be_made_nothing_is_written(folder, tmp_path, monkeypatch):
    def fail(summary):
        raise OSError(5, "Input/output error", "page")

    monkeypatch.setattr("badge_jax.cli.select.batch_page", fail)
    assert main(words(folder, tmp_path / "picks.csv", f"--page={tmp_path / 'page.html'}")) == 1
    assert [*tmp_path.iterdir()] == []
