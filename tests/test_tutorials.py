"""The tutorials run from top to bottom, and print what they show.

A page is Python, commands (a block without a language) and, below what prints, a block ``text`` with the
output. Its words and whole numbers must be those printed. Some numbers depend on rounding, which differs
between processors: a draw next to a border then takes another row, and the model learns something else. So a
number with a decimal point may differ a little, and so may what ``campaign status`` says of a model. A block
that cannot run here begins with ``# needs``, so that readers see it too.
"""

import contextlib
import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from badge_jax.campaign import read_answers
from badge_jax.cli import main
from badge_jax.errors import InputError

PAGES = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
FIXTURES = Path(__file__).parent / "fixtures"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
MODEL = re.compile(r"^(audit|balanced accuracy|stability): |^\w+( +\d+){4}$")  # lines of `campaign status`

NEEDED = {  # page → packages beyond those of `make test`
    "label-studio": ("sklearn", "matplotlib"),
    "other-tools": (),
    "pytorch": ("torch", "sklearn"),
    "scikit-learn": ("sklearn",),
    "sentence-embeddings": (),
}
NOT_RUN = {"label-studio": 1, "other-tools": 3, "sentence-embeddings": 1}  # blocks that begin with "# needs"


def blocks_of(page):
    return BLOCK.findall((PAGES / f"{page}.md").read_text("utf-8"))


def commands(text):
    """The command lines of a block, as words."""
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def is_near(one, other, line):
    """Whether two numbers of a line are equal, or differ no more than rounding explains."""
    if "." not in other and not MODEL.search(line):
        return one == other
    limit = 0.15 if other.startswith("0.") else 3.0  # a share, or percentage points
    if "." not in other:
        limit = max(3.0, 0.1 * float(other))  # rows
    return abs(float(one) - float(other)) <= limit


def check_printed(printed, shown, page):
    """Compares what was printed with what the page shows."""
    said = f"{page}.md shows\n{shown}\nand it prints\n{printed}"
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (printed, shown)]
    assert words[0] == words[1], said
    for found, line in zip(printed.splitlines(), shown.splitlines(), strict=True):
        pairs = zip(NUMBER.findall(found), NUMBER.findall(line), strict=True)
        assert all(is_near(one, other, line) for one, other in pairs), said


def one_thread():
    """scikit-learn's threads wait for one another where the machine is busy."""
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_limits

        return threadpool_limits(1)
    return contextlib.nullcontext()


def run_tutorial(page, folder, monkeypatch, capsys):
    """Runs a page in a folder of its own, and returns the names that its Python leaves."""
    for package in NEEDED[page]:
        pytest.importorskip(package, reason=f"the tutorial is about {package}")
    monkeypatch.chdir(folder)
    namespace, printed, skipped = {}, "", 0
    with one_thread():
        for language, text in [*blocks_of(page), ("end", "")]:
            if language == "text":
                check_printed(printed, text, page)
                printed = ""
                continue
            assert not printed, f"{page}.md prints what it does not show:\n{printed}"
            if text.startswith("# needs "):
                skipped += 1
            elif language == "python":
                exec(compile(text, f"{page}.md", "exec"), namespace)
            elif language == "":
                for program, *words in commands(text):
                    assert program == "badge-jax", f"{page}.md: {program} is not run; say what it needs"
                    assert main(words) == 0, capsys.readouterr().err
            printed = capsys.readouterr().out
    assert skipped == NOT_RUN.get(page, 0), f"{page}.md has {skipped} blocks that are not run"
    return namespace


def test_every_tutorial_is_run():
    assert {path.stem for path in PAGES.glob("*.md")} - {"index"} == set(NEEDED)


def test_the_check_rejects_what_is_not_printed():
    shown = (
        "40 labels: 80.1 %\n\nclass  labels  audit  right  predicted\ndog       12      0      0        176\n"
    )
    check_printed(shown.replace("80.1", "79.0").replace("176", "170"), shown, "page")
    for old, new in (("80.1", "85.1"), ("40", "41"), ("80.1 %", ""), ("80.1", "80.1 0.0"), ("176", "76")):
        with pytest.raises(AssertionError, match=r"page\.md shows"):
            check_printed(shown.replace(old, new), shown, "page")
    with pytest.raises(AssertionError, match=r"page\.md shows"):
        check_printed("accuracy 0.900", "accuracy 0.600", "page")


@pytest.mark.extras
def test_scikit_learn(tmp_path, monkeypatch, capsys):
    namespace = run_tutorial("scikit-learn", tmp_path, monkeypatch, capsys)
    mean, half_width = namespace["gain"]["margin"]
    assert mean > half_width, "the page says that margin was ahead"
    mean, half_width = namespace["gain"]["badge"]
    assert abs(mean) < half_width, "and that it cannot tell for badge"
    curves = namespace["curves"]
    assert {name: np.shape(curve) for name, curve in curves.items()} == dict.fromkeys(curves, (10, 5))


@pytest.mark.extras
def test_pytorch(tmp_path, monkeypatch, capsys):
    namespace = run_tutorial("pytorch", tmp_path, monkeypatch, capsys)
    labels, pool, digits = (namespace[name] for name in ("labels", "pool", "digits"))
    assert len(labels) == 120
    assert all(label == int(digits[pool[row]]) for row, label in labels.items()), "ids lead to their rows"


@pytest.mark.slow
def test_sentence_embeddings(tmp_path, monkeypatch, capsys):
    namespace = run_tutorial("sentence-embeddings", tmp_path, monkeypatch, capsys)
    lines = table("labels.csv")
    assert len(lines) == 200
    assert all(line["label"] == namespace["topics"][int(line["index"])] for line in lines)


@pytest.mark.extras
def test_label_studio(tmp_path, monkeypatch, capsys):
    run_tutorial("label-studio", tmp_path, monkeypatch, capsys)
    exported = json.loads((tmp_path / "export.json").read_text())
    server = json.loads((FIXTURES / "label_studio" / "export.json").read_text())
    kinds = set().union(*(shape_of(task["annotations"]) for task in server))
    assert shape_of(exported[0]["annotations"]) <= kinds, "the page's answers are as the server's"


def shape_of(value, path=""):
    """Where a JSON value has what: paths with types."""
    if isinstance(value, dict):
        return set().union(*(shape_of(part, f"{path}.{key}") for key, part in value.items()))
    if isinstance(value, list):
        return set().union(*(shape_of(part, f"{path}[]") for part in value)) | {(path, "list")}
    return {(path, type(value).__name__)}


def test_other_tools(tmp_path, monkeypatch, capsys):
    namespace = run_tutorial("other-tools", tmp_path, monkeypatch, capsys)
    ids = Path("ids.txt").read_text().splitlines()
    batch = [line["id"] for line in table("pets/batch-1.csv")]
    tasks = [json.loads(line) for line in Path("batch-1.jsonl").read_text().splitlines()]
    assert [task["image"] for task in tasks] == Path("pictures.txt").read_text().splitlines() == batch
    said = dict(zip(batch, ["cat", "dog", "cow", "cat"], strict=False))

    def read(name):
        answers = read_answers([Path(name)], n=2000, classes=namespace["classes"], ids=ids)
        return {ids[row]: label for row, label in zip(answers.rows, answers.labels, strict=True)}

    Path("export.jsonl").write_text(prodigy_export(tasks, [*said.values(), "ignore", "reject"]))
    namespace["from_prodigy"]("export.jsonl", "prodigy.csv")
    labels = {id: namespace["classes"].index(label) for id, label in said.items()}
    assert read("prodigy.csv") == labels | {batch[4]: -1, batch[5]: -1}
    assert main(["campaign", "tell", "pets", "prodigy.csv", "--skipped", "exclude"]) == 0
    assert "4 new labels, 2 skipped\n" in capsys.readouterr().out
    Path("export.jsonl").write_text(prodigy_export(tasks, [["cat", "dog"]]))
    with pytest.raises(ValueError, match="2 options"):
        namespace["from_prodigy"]("export.jsonl", "prodigy.csv")

    Path("annotations.xml").write_text(cvat_export(batch[:6], [*said.values(), None, None]))
    namespace["from_cvat"]("annotations.xml", "cvat.csv")
    assert read("cvat.csv") == labels
    Path("annotations.xml").write_text(cvat_export(batch[:1], [("cat", "dog")]))
    namespace["from_cvat"]("annotations.xml", "cvat.csv")
    with pytest.raises(InputError, match=r"'dog' for id .* which is 'cat'"):
        read("cvat.csv")


def table(name):
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


def prodigy_export(tasks, answers):
    """As ``db-out`` writes the view ``choice``: the task, hashes, the options chosen, and the answer.

    ``accept`` has the ids of the options chosen, says the recipe choice of
    https://github.com/explosion/prodigy-recipes; hashes and answer are as in its annotated example data sets.
    """
    lines = []
    for number, (task, answer) in enumerate(zip(tasks, answers, strict=False)):
        more = {"_input_hash": 2818747 + number, "_task_hash": 568187507 + number, "_view_id": "choice"}
        if answer in ("ignore", "reject"):
            more |= {"accept": [], "answer": answer}
        else:
            more |= {"accept": answer if isinstance(answer, list) else [answer], "answer": "accept"}
        lines.append(json.dumps({**task, **more}))
    return "\n".join(lines) + "\n"


def cvat_export(names, tags):
    """As "CVAT for images 1.1" is described in https://docs.cvat.ai/docs/other/xml_format: a picture with its
    size, what is drawn on it, and its tags. Values between <label> and </label> in <meta> name classes too."""
    images = []
    for number, (name, found) in enumerate(zip(names, tags, strict=True)):
        found = (found,) if isinstance(found, str) else found or ()
        lines = [
            f'  <image id="{number}" name="{name}" width="1600" height="1200">',
            '    <box label="plate" xtl="7.33" ytl="8.92" xbr="9.52" ybr="9.94" occluded="0" z_order="4">',
            "    </box>",
            *(f'    <tag label="{tag}" source="manual">\n    </tag>' for tag in found),
            "  </image>",
        ]
        images.append("\n".join(lines))
    labels = "".join(f"<label><name>{name}</name><attributes/></label>" for name in ("cat", "dog"))
    meta = f"  <meta><task><id>4</id><mode>annotation</mode><labels>{labels}</labels></task></meta>"
    head = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>", meta]
    return "\n".join([*head, *images, "</annotations>"]) + "\n"
