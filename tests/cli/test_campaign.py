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


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("features.npy", FEATURES)
    np.save("logits.npy", np.eye(3, dtype=np.float32)[LABELS])
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
        assert capsys.readouterr().out == f"batch {number}: 20 rows, 2 of them for the audit: batch.csv\n"
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
    assert re.fullmatch(
        r"audit: [2-4] of 4 rows right, accuracy \S+, 95 % interval \S+ to \S+ \(Wilson\)", lines[4]
    )
    assert lines[-4].split() == ["class", "labels", "audit", "right", "predicted"]
    assert campaign("export", "pets", "--out", "labels.csv") == 0
    assert capsys.readouterr().out == "40 labels: labels.csv\n"
    with Path("labels.csv").open(newline="") as file:
        exported = list(csv.DictReader(file))
    assert all(line["label"] == CLASSES[LABELS[int(line["index"])]] for line in exported)
    assert len(exported) == 40


def test_answers_in_parts_corrections_and_unasked_rows(here, capsys):
    start("--cold-start", "random", "--audit", "0.1")
    assert campaign("next", "pets", "--k", "10") == 0
    with open_campaign("pets") as opened:
        batch, reserve = opened.state.batch.tolist(), opened.state.reserve.tolist()
    capsys.readouterr()
    answers_file(here / "first.csv", {batch[0]: 0, batch[1]: 1, batch[2]: -1})
    answers_file(here / "second.csv", {batch[0]: 2, batch[1]: -1, reserve[7]: 1})
    assert campaign("tell", "pets", "first.csv") == 0
    assert capsys.readouterr().out == "2 new labels, 1 skipped\nbatch 1: 7 of 10 rows have no answer yet\n"
    assert campaign("tell", "pets", "second.csv") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 new labels, 1 corrected, 1 empty, and keep the label they have",
        "1 of rows reserved for the audit, not asked for yet: kept out of training",
        "batch 1: 7 of 10 rows have no answer yet",
    ]
    assert campaign("next", "pets", "--k", "10") == 0
    assert "; 3 have an answer already: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["next", "pets", "--k", "3"], "batch 1 of 10 rows is open, 10 of them without an answer"),
        (["next", "pets", "--k", "0"], "--k is 0; wanted 1 or more"),
        (["next", "none", "--k", "3"], "none holds no campaign"),
        (["next", "pets", "--k", "10", "--out", "ids.txt"], "ids.txt exists and is not batch 1"),
        (["next", "pets", "--k", "10", "--logits", "none.npy"], "none.npy does not exist"),
        (["tell", "pets"], "tell wants a file"),
        (["tell", "pets", "none.csv"], "none.csv does not exist"),
        (["tell", "pets", "ids.txt"], "wanted a header that names a column label"),
        (["tell", "pets", "pets/batch-1.csv"], "no label in 10 rows"),
        (["export", "pets", "--out", "features.npy"], "features.npy is a file that the campaign needs"),
        (["start", "new", "--classes", "cat,dog"], "neither --features nor --representation"),
        (["start", "new", "--classes", "cat", "--features", "features.npy"], "--classes: cat does not exist"),
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
    assert "model: your logits in logits.npy" in capsys.readouterr().out


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
    assert printed.endswith("pets/batch-2.json\n100 new labels\nbatch 2: all answered\n")


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
