"""`badge-jax campaign` as people use it."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from campaigns import CLASSES, answers_file, blobs

from badge_jax.campaign import open_campaign
from badge_jax.cli import main

FEATURES, LABELS = blobs(200)
PNG = bytes.fromhex(  # one pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("features.npy", FEATURES)
    np.save("logits.npy", 4 * np.eye(3, dtype=np.float32)[LABELS])
    (tmp_path / "classes.txt").write_text("cat\ndog\n\ncow\n")
    (tmp_path / "ids.txt").write_text("".join(f"image {row}\n" for row in range(200)))
    return tmp_path


def campaign(*args):
    return main(["campaign", *map(str, args)])


def start(*more):
    assert campaign("start", "pets", "--features", "features.npy", "--classes", "cat,dog,cow", *more) == 0


def label(batch, out, delimiter=","):
    """Fills in the labels of a batch, as a person would."""
    with Path(batch).open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        line["label"] = CLASSES[LABELS[int(line["index"])]]
    with Path(out).open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(lines)


def label_tasks(batch, out):
    """Answers the tasks of a batch, as an export of Label Studio would have them."""
    tasks = json.loads(Path(batch).read_text())
    for task in tasks:
        choices = {"choices": [CLASSES[LABELS[task["data"]["badge_index"]]]]}
        result = {"from_name": "label", "to_name": "item", "type": "choices", "value": choices}
        task["annotations"] = [{"result": [result]}]
    Path(out).write_text(json.dumps(tasks))


def test_a_whole_campaign(here, capsys):
    start("--ids", "ids.txt", "--audit", "0.1", "--strategy", "margin", "--cold-start", "random", "--seed", "3")
    assert capsys.readouterr().out == "pets: 200 rows, 20 of them reserved for the audit, 3 classes\n"
    for number in (1, 2):
        assert campaign("next", "pets", "--k", "20", "--out", "batch.csv", "--force") == 0
        assert capsys.readouterr().out == (
            f"batch {number}: 20 rows, 2 of them for the audit: batch.csv\n"
            f"a page about it: pets/batch-{number}.html\n"
        )
        label("batch.csv", "answers.csv", ";")
        assert campaign("tell", "pets", "answers.csv") == 0
        assert capsys.readouterr().out == f"20 new labels\nbatch {number}: all answered\n"
    assert campaign("status", "pets") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "pool: 200 rows, 3 classes",
        "labels: 36 for training, 4 for the audit",
        "batch: 2, all answered",
        "model: linear head on 36 labels",
    ]
    assert re.fullmatch(r"training: \S+ % of its labels right in the last epoch", lines[4])
    assert re.fullmatch(
        r"audit: [2-4] of 4 rows right, accuracy \S+, 95 % interval \S+ to \S+ \(Wilson\)", lines[5]
    )
    assert lines[-4].split() == ["class", "labels", "audit", "right", "predicted"]
    assert campaign("export", "pets", "--out", "labels.csv") == 0
    assert capsys.readouterr().out == "40 labels: labels.csv\n"
    with Path("labels.csv").open(newline="") as file:
        exported = list(csv.DictReader(file))
    assert all(line["label"] == CLASSES[LABELS[int(line["index"])]] for line in exported)
    assert len(exported) == 40


def test_the_page_of_a_batch(here, capsys):
    """It shows ids, classes by name and pictures; the same batch has the same page."""
    words = ["--ids", "ids.txt", "--classes", "cat,<b>dog</b>,cow", "--strategy", "margin"]
    assert campaign("start", "pets", "--features", "features.npy", *words, "--cold-start", "random") == 0
    assert campaign("next", "pets", "--k", "9", "--images", "nowhere") == 2
    assert "--images nowhere is not a folder; wanted one that holds" in capsys.readouterr().err
    Path("pictures").mkdir()
    for row in range(200):
        Path("pictures", f"image {row}").write_bytes(PNG)
    assert campaign("next", "pets", "--k", "9", "--images", "pictures") == 0
    first = Path("pets/batch-1.html").read_text()
    assert first.count('src="data:image/png') == 9
    assert "Predicted classes" not in first, "there is no model yet"
    with open_campaign("pets") as found:
        rows = found.state.batch
    lines = "".join(f"{row},{['cat', '<b>dog</b>', 'cow'][LABELS[row]]}\n" for row in rows)
    Path("answers.csv").write_text(f"index,label\n{lines}")
    assert campaign("tell", "pets", "answers.csv") == 0
    assert campaign("next", "pets", "--k", "5") == 0
    page = Path("pets/batch-2.html").read_text()
    assert "Rows by predicted class" in page
    assert "&lt;b&gt;dog" in page
    assert "<b>" not in page
    assert "labeled or left out before: 9" in page
    assert campaign("next", "pets", "--k", "5") == 0
    assert Path("pets/batch-2.html").read_text() == page


def test_the_page_says_the_model_and_shows_no_guess_for_the_audit(here):
    words = ["--ids", "ids.txt", "--classes", "cat,dog,cow", "--strategy", "margin", "--audit", "0.4"]
    assert campaign("start", "pets", "--features", "features.npy", *words, "--cold-start", "random") == 0
    assert campaign("next", "pets", "--k", "20") == 0
    assert "Chosen by the strategy random, seed 0.<" in Path("pets/batch-1.html").read_text()
    label("pets/batch-1.csv", "answers.csv")
    assert campaign("tell", "pets", "answers.csv") == 0
    assert campaign("next", "pets", "--k", "10") == 0
    page = Path("pets/batch-2.html").read_text()
    assert "Chosen by the strategy margin, seed 0, from the linear head, trained on 12 labels." in page
    lines = {re.search(r"image \d+", line)[0]: line for line in page.split("<tr>") if "#map-" in line}
    with Path("pets/batch-2.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            has_class = any(f">{name}<" in lines[row["id"]] for name in ("cat", "dog", "cow"))
            assert has_class == (row["audit"] == "0"), row
            assert (">audit<" in lines[row["id"]]) == (row["audit"] == "1"), row
    _, classes = page.split("<caption><span>Rows by predicted class</span></caption>")
    counts = re.findall(r'<th scope="row">\w+</th><td>(\d+)</td>', classes.partition("</table>")[0])
    assert sum(map(int, counts)) == 6, "four of the ten are the audit's"


def test_a_pool_that_was_built_again_is_refused(here, capsys):
    """Without ids, rows go by their numbers: then every command wants the features as they were."""
    start("--cold-start", "random")
    assert campaign("next", "pets", "--k", "5") == 0
    label("pets/batch-1.csv", "answers.csv")
    np.save("features.npy", FEATURES[::-1])
    for args in (
        ["next", "pets", "--k", "5"],
        ["tell", "pets", "answers.csv"],
        ["export", "pets", "--out", "l.csv"],
    ):
        capsys.readouterr()
        assert campaign(*args) == 2, args
        assert (
            "has changed since the campaign began; wanted the file that it began with"
            in capsys.readouterr().err
        )


def test_lines_of_the_log_that_are_lost_are_said(here, capsys):
    start("--cold-start", "random")
    assert campaign("next", "pets", "--k", "5") == 0
    Path("pets/log.jsonl").unlink()
    capsys.readouterr()
    assert campaign("status", "pets") == 0
    assert (
        "log.jsonl does not know of batch-1.csv, which is there: lines at its end are lost"
        in capsys.readouterr().err
    )


def test_a_corrected_label_makes_another_model(here, capsys):
    """Although there are as many labels as before."""
    start("--cold-start", "random", "--strategy", "margin")
    assert campaign("next", "pets", "--k", "12") == 0
    label("pets/batch-1.csv", "answers.csv")
    assert campaign("tell", "pets", "answers.csv") == 0
    assert campaign("next", "pets", "--k", "3") == 0
    assert campaign("tell", "pets", "pets/batch-2.csv", "--skipped", "offer") == 0
    with open_campaign("pets") as found:
        row = int(np.flatnonzero(found.state.labels >= 0)[0])
    answers_file(here / "fix.csv", {row: (int(LABELS[row]) + 1) % 3})
    assert campaign("tell", "pets", "fix.csv") == 0
    assert campaign("next", "pets", "--k", "3") == 0
    capsys.readouterr()
    assert campaign("status", "pets") == 0
    assert "model: linear head on 12 labels, before batch 3" in capsys.readouterr().out


def test_copies_are_left_out_of_batches(here):
    np.save("features.npy", np.tile(FEATURES[:20], (3, 1)))
    start("--cold-start", "random", "--unique", "1", "--strategy", "margin")
    for _ in range(2):
        assert campaign("next", "pets", "--k", "8", "--out", "batch.csv", "--force") == 0
        label("batch.csv", "answers.csv")
        assert campaign("tell", "pets", "answers.csv") == 0
    assert campaign("export", "pets", "--out", "labels.csv") == 0
    with Path("labels.csv").open(newline="") as file:
        rows = [int(line["index"]) for line in csv.DictReader(file)]
    assert len({row % 20 for row in rows}) == 16


def test_answers_in_parts_corrections_and_unasked_rows(here, capsys):
    start("--cold-start", "random", "--audit", "0.1")
    assert campaign("next", "pets", "--k", "10") == 0
    with open_campaign("pets") as opened:
        batch, reserve = opened.state.batch.tolist(), opened.state.reserve.tolist()
    capsys.readouterr()
    answers_file(here / "first.csv", {batch[0]: 0, batch[1]: 1, batch[2]: -1})
    answers_file(here / "second.csv", {batch[0]: 2, batch[1]: -1, reserve[7]: 1})
    assert campaign("tell", "pets", "first.csv") == 0
    assert capsys.readouterr().out == (
        "2 new labels, 1 without a label yet (--skipped says that they were skipped)\n"
        "batch 1: 8 of 10 rows have no answer yet\n"
    )
    assert campaign("tell", "pets", "second.csv") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 new labels, 1 corrected",
        "1 of rows reserved for the audit, not asked for yet: kept out of training",
        "1 of rows that no batch has asked for",
        "batch 1: 8 of 10 rows have no answer yet",
        f"corrected: row {batch[0]}: cat is now cow",
    ]
    assert campaign("next", "pets", "--k", "10") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("batch 1 again: ")
    assert "; 2 have an answer already: " in printed
    answers_file(here / "skipped.csv", {batch[2]: -1, batch[3]: 1})
    assert campaign("tell", "pets", "skipped.csv", "--skipped", "exclude") == 0
    assert capsys.readouterr().out == "1 new labels, 1 skipped\nbatch 1: 6 of 10 rows have no answer yet\n"
    assert campaign("export", "pets", "--out", "labels.csv") == 0
    with Path("labels.csv").open(newline="") as file:
        exported = {int(line["index"]): line["label"] for line in csv.DictReader(file)}
    assert exported[batch[2]] == "", "a row that was skipped is in the export, without a label"
    assert campaign("tell", "pets", "labels.csv") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "4 known already, 1 without a label yet (--skipped says that they were skipped)",
        "batch 1: 6 of 10 rows have no answer yet",
    ]


def test_labels_are_withdrawn(here, capsys):
    start("--cold-start", "random", "--audit", "0.2")
    assert campaign("next", "pets", "--k", "10") == 0
    label("pets/batch-1.csv", "answers.csv")
    assert campaign("tell", "pets", "answers.csv") == 0
    with open_campaign("pets") as opened:
        batch, reserve = opened.state.batch, opened.state.reserve
    other = np.setdiff1d(batch, reserve)[0]
    Path("wrong.csv").write_text(f"index,label\n{reserve[0]},cat\n{other},\n")
    capsys.readouterr()
    assert campaign("tell", "pets", "--withdraw", "wrong.csv") == 0
    assert capsys.readouterr().out == (
        "withdrawn: 2 labels (1 of the audit)\nbatch 1: 2 of 10 rows have no answer yet\n"
    )
    log = [json.loads(line) for line in Path("pets/log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in log] == ["batch", "answers", "withdrawn"], "the log keeps both"
    assert campaign("export", "pets", "--out", "labels.csv") == 0
    assert capsys.readouterr().out == "8 labels: labels.csv\n"
    assert campaign("tell", "pets", "--withdraw", "wrong.csv") == 2
    assert "none of the 2 rows has an answer" in capsys.readouterr().err
    assert campaign("tell", "pets", "answers.csv") == 0
    assert capsys.readouterr().out == "2 new labels, 8 known already\nbatch 1: all answered\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["next", "pets", "--k", "3"], "batch 1 of 10 rows is open, 10 of them without an answer"),
        (["next", "pets", "--k", "0"], "--k is 0; wanted 1 or more"),
        (["next", "none", "--k", "3"], "none holds no campaign"),
        (["next", "pets", "--k", "10", "--out", "ids.txt"], "ids.txt exists and is not batch 1"),
        (["next", "pets", "--k", "10", "--logits", "none.npy"], "none.npy does not exist"),
        (
            ["next", "pets", "--k", "10", "--logits", "logits.npy", "--probabilities", "logits.npy"],
            "both --logits and --probabilities are given; wanted one of the two",
        ),
        (["next", "pets", "--k", "10", "--probabilities", "logits.npy"], "not chosen by these probabilities"),
        (["tell", "pets"], "tell wants a file"),
        (
            ["tell", "pets", "ids.txt", "--withdraw", "ids.txt"],
            "and ids.txt gives some; wanted a command for each",
        ),
        (["tell", "pets", "ids.txt", "--withdraw"], "--withdraw names no file; wanted one or more after it"),
        (["tell", "pets", "--withdraw", "ids.txt"], "line 1: index 'image 0' is no row number (and 199 more"),
        (["tell", "pets", "none.csv"], "none.csv does not exist"),
        (["tell", "pets", "ids.txt"], "wanted a header that names a column label"),
        (["tell", "pets", "pets/batch-1.csv"], "no label in 10 rows"),
        (["export", "pets", "--out", "features.npy"], "features.npy is a file that the campaign needs"),
        (["start", "new", "--classes", "cat,dog"], "neither --features nor --representation"),
        (["start", "new", "--classes", "cat", "--features", "features.npy"], "--classes: cat does not exist"),
        (
            ["start", "new", "--classes", "cat", "dog", "--features", "features.npy"],
            "--classes is followed by cat dog; wanted the names in one word, such as cat,dog, or a file",
        ),
        (
            ["start", "--classes", "cat", "big dog", "cow"],
            "wanted the names in one word, such as cat,big dog,cow",
        ),
        (["start", "--classes", "cat", "new", "--features", "features.npy"], "--classes: cat does not exist"),
        (["start", "new", "--classes", "cat,,dog", "--features", "features.npy"], "holds the name ''"),
        (["start", "pets", "--classes", "cat,dog", "--features", "features.npy"], "not ['cat', 'dog']"),
        (["start", "ids.txt", "--classes", "cat,dog", "--features", "features.npy"], "ids.txt is a file"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(here, capsys, args, message):
    start("--cold-start", "random")
    assert campaign("next", "pets", "--k", "10") == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert campaign(*args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("badge-jax: ")
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_classes_from_a_file_and_own_logits(here, capsys):
    command = ["start", "pets", "--representation", "features.npy", "--classes", "classes.txt"]
    assert campaign(*command, "--strategy", "margin") == 0
    assert campaign("next", "pets", "--k", "5", "--logits", "logits.npy") == 0
    label("pets/batch-1.csv", "answers.csv")
    assert campaign("tell", "pets", "answers.csv") == 0
    capsys.readouterr()
    assert campaign("status", "pets", "--logits", "logits.npy") == 0
    assert "model: your logits, before batch 1" in capsys.readouterr().out


def test_ids_and_classes_that_a_spreadsheet_would_run(here, capsys):
    """One line says so for each sheet; they are written as they are, and read back."""
    names = [
        "=SUM(A1:A9)",
        "+A1",
        "-2+3",
        "@x",
        "-7",
        '=HYPERLINK("http://x.example";"y")',
        "a.png",
        "'=1",
        "=1,1",
    ]
    Path("ids.txt").write_text("\n".join(names))
    np.save("features.npy", FEATURES[:9])
    command = ["start", "pets", "--features", "features.npy", "--classes", "=cat,dog", "--ids", "ids.txt"]
    assert campaign(*command, "--cold-start", "random") == 0
    assert (
        "--classes: 1 of the names begin with =, +, - or @, such as '=cat'; a spreadsheet takes them as "
        "formulas, so import the column label as text"
    ) in capsys.readouterr().err
    assert campaign("next", "pets", "--k", "9") == 0
    assert "--ids: 6 of the ids of the batch begin with =, +, - or @" in capsys.readouterr().err
    with Path("pets/batch-1.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["id"] for line in lines] == [names[int(line["index"])] for line in lines]
    for delimiter in ",;\t":
        with Path("answers.csv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows(
                [("id", "label"), *((name, ["=cat", "dog"][row % 2]) for row, name in enumerate(names))]
            )
        assert campaign("tell", "pets", "answers.csv") == 0
    capsys.readouterr()
    assert campaign("export", "pets", "--out", "labels.csv") == 0
    errors = capsys.readouterr().err
    assert "--ids: 6 of the ids of labeled rows begin" in errors
    assert "--classes: 5 of the labels begin" in errors
    with Path("labels.csv").open(newline="") as file:
        assert [(x["id"], x["label"]) for x in csv.DictReader(file)] == [
            (name, ["=cat", "dog"][row % 2]) for row, name in enumerate(names)
        ]
    assert campaign("tell", "pets", "labels.csv") == 0
    assert capsys.readouterr().out.startswith("9 known already\n")


def test_own_probabilities_of_two_classes(here, capsys):
    odds = np.linspace(0.01, 0.97, 200)
    np.save("p.npy", odds)
    np.save("wrong.npy", odds * 2)
    command = ["start", "pets", "--features", "features.npy", "--classes", "no,yes", "--strategy", "margin"]
    assert campaign(*command) == 0
    assert campaign("next", "pets", "--k", "5", "--probabilities", "wrong.npy") == 2
    assert "that are no probabilities" in capsys.readouterr().err
    assert campaign("next", "pets", "--k", "5", "--probabilities", "p.npy") == 0
    with open_campaign("pets") as opened:
        rows = opened.state.batch
    assert rows.tolist() == np.argsort(np.abs(odds - 0.5), kind="stable")[:5].tolist()
    Path("answers.csv").write_text("index,label\n" + "".join(f"{row},no\n" for row in rows))
    assert campaign("tell", "pets", "answers.csv") == 0
    capsys.readouterr()
    assert campaign("status", "pets", "--probabilities", "p.npy") == 0
    printed = capsys.readouterr().out
    assert "model: your probabilities, before batch 1" in printed
    assert printed.splitlines()[-1].split() == ["yes", "0", str((odds > 0.5).sum())]
    np.save("p.npy", 1 - odds)
    assert campaign("status", "pets", "--probabilities", "p.npy") == 0
    assert "model: your probabilities in p.npy" in capsys.readouterr().out


def test_a_line_that_was_cut_off_is_said_and_dropped(here, capsys):
    start("--cold-start", "random")
    assert campaign("next", "pets", "--k", "5") == 0
    label("pets/batch-1.csv", "answers.csv")
    assert campaign("tell", "pets", "answers.csv") == 0
    log = here / "pets" / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-9])
    capsys.readouterr()
    assert campaign("tell", "pets", "answers.csv") == 0
    assert "warning: the last line of pets/log.jsonl was cut off" in capsys.readouterr().err
    assert log.read_bytes() == whole


@pytest.mark.slow
def test_the_commands_of_the_page(tmp_path, monkeypatch, capsys):
    """Those of docs/campaign.md, on the pool that it makes; labels are filled in where it says so."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).resolve().parents[2] / "docs" / "campaign.md").read_text("utf-8")
    block = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "np.save" in block)
    namespace = {}
    exec(block, namespace)
    monkeypatch.setattr(sys.modules[__name__], "LABELS", namespace["truth"])
    for line in re.findall(r"^badge-jax (campaign .*)$", page, re.MULTILINE):
        if " tell " in line and "export.json" in line:
            label_tasks("pets/batch-2.json", "export.json")
        elif " tell " in line:
            label("pets/batch-1.csv", "pets/batch-1.csv")
        assert main(line.split()) == 0, line
    printed = capsys.readouterr().out
    assert "batch 2: 100 rows, 10 of them for the audit: pets/batch-2.csv" in printed
    assert "100 labels: labels.csv" in printed
    assert printed.endswith("pets/batch-2.html\n100 new labels\nbatch 2: all answered\n")


@pytest.mark.slow
def test_killed_commands(here):
    """30 commands, each killed with SIGKILL at a random moment and then given again: every label is there."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}

    def command(*args, seconds=None):
        process = subprocess.Popen(
            [sys.executable, "-m", "badge_jax", "campaign", *map(str, args)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if seconds is not None:
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        process.communicate()
        return process.returncode

    start("--cold-start", "random", "--strategy", "margin", "--audit", "0.2")
    chance = random.Random(0)
    seen = []
    for number in range(1, 16):
        command("next", "pets", "--k", "10", seconds=chance.uniform(0.3, 3.0))
        assert command("next", "pets", "--k", "10") == 0
        label(f"pets/batch-{number}.csv", "answers.csv")
        command("tell", "pets", "answers.csv", seconds=chance.uniform(0.3, 2.0))
        assert command("tell", "pets", "answers.csv") == 0
        with open_campaign("pets") as opened:
            seen += opened.state.batch.tolist()
            assert (opened.state.labels[seen] == LABELS[seen]).all()
    assert len(set(seen)) == 150
