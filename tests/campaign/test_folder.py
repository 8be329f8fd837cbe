"""A campaign's folder: what is refused, what is said again, what survives."""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import warnings
import zlib

import jax
import numpy as np
import pytest
from campaigns import CLASSES, answers_file, blobs, started
from mutations import mutated

import badge_jax
from badge_jax.campaign import (
    CampaignFiles,
    CampaignOptions,
    campaign_status,
    next_batch,
    open_campaign,
    start_campaign,
    status_lines,
    tell_answers,
    write_batch,
    write_labels,
)
from badge_jax.errors import DirectoryInUse, InputError
from badge_jax.files import locked


def ask(folder, k, logits=None, **more):
    with open_campaign(folder) as campaign:
        campaign, batch = next_batch(campaign, k, logits)
        path = write_batch(campaign, batch, more.pop("out", None), **more)
    return batch, path


def tell(folder, answers, skipped=None):
    with open_campaign(folder) as campaign:
        return tell_answers(campaign, [answers_file(folder.parent / "answers.csv", answers)], skipped)[1]


def lines_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def begun(tmp_path):
    """A campaign with one answered batch of 20, and its true labels."""
    folder, labels = started(tmp_path, audit=0.2)
    batch, _ = ask(folder, 20)
    tell(folder, {row: int(labels[row]) for row in batch.rows.tolist()})
    return folder, labels


def test_a_batch_s_file_and_an_export(begun):
    folder, labels = begun
    lines = lines_of(folder / "batch-1.csv")
    assert list(lines[0]) == ["rank", "index", "id", "audit", "label"]
    assert [line["rank"] for line in lines] == [str(rank) for rank in range(20)]
    assert sum(line["audit"] == "1" for line in lines) == 4
    assert all(line["id"] == f"image {line['index']}.png" and line["label"] == "" for line in lines)
    with open_campaign(folder) as campaign:
        assert write_labels(campaign, folder / "labels.csv") == 20
        assert write_labels(campaign, folder / "labels.csv") == 20
        with pytest.raises(InputError, match="exists and is not what it would be now; give another"):
            write_labels(campaign, folder / "batch-1.csv")
    exported = {int(line["index"]): line for line in lines_of(folder / "labels.csv")}
    assert {row: line["label"] for row, line in exported.items()} == {
        int(line["index"]): CLASSES[labels[int(line["index"])]] for line in lines
    }
    assert {line["index"] for line in exported.values() if line["audit"] == "1"} == {
        line["index"] for line in lines if line["audit"] == "1"
    }
    # what is exported can be told again
    with open_campaign(folder) as campaign:
        assert tell_answers(campaign, [folder / "labels.csv"])[1].num_repeated == 20


def test_the_open_batch_is_given_again_and_no_other(begun):
    folder, _ = begun
    first, path = ask(folder, 10)
    content = path.read_bytes()
    path.unlink()
    again, _ = ask(folder, 10)
    assert (again.rows.tolist(), path.read_bytes()) == (first.rows.tolist(), content)
    with pytest.raises(
        InputError, match="batch 2 of 10 rows is open, 10 of them without an answer; tell its answers"
    ):
        ask(folder, 11)
    with pytest.raises(InputError, match="was not chosen by these logits"):
        ask(folder, 10, folder.parent / "logits.npy")
    with pytest.raises(InputError, match="--k is 0"):
        ask(folder, 0)


def test_a_file_that_is_not_this_batch_is_not_overwritten(begun):
    folder, _ = begun
    _, path = ask(folder, 10)
    filled = path.read_text().replace(",\n", ",cat\n", 1)
    path.write_text(filled)
    with pytest.raises(InputError, match="is not batch 2 as it was written; `tell` it if it holds answers"):
        ask(folder, 10)
    assert path.read_text() == filled
    ask(folder, 10, force=True)
    assert path.read_text() != filled


@pytest.mark.parametrize(
    "name", ["config.json", "log.jsonl", "predictions-2.npy", "../features.npy", "../ids.txt", "link.csv"]
)
def test_no_command_overwrites_what_the_campaign_needs(begun, name):
    folder, _ = begun
    ask(folder, 10)
    (folder / "link.csv").symlink_to(folder / "config.json")
    before = (folder / name).read_bytes()
    with pytest.raises(InputError, match="is a file that the campaign needs"):
        ask(folder, 10, out=folder / name, force=True)
    assert (folder / name).read_bytes() == before


def test_an_empty_file_skips_nothing_unless_told_to(begun):
    folder, _ = begun
    batch, path = ask(folder, 10)
    with open_campaign(folder) as campaign:
        with pytest.raises(InputError, match="no label in 10 rows; to skip them all, say --skipped"):
            tell_answers(campaign, [path])
        assert tell_answers(campaign, [path], "offer")[1].num_skipped == 10
    assert set(ask(folder, 30)[0].rows) >= set(batch.rows), "they are offered again: 38 rows are left"


def test_own_logits_choose_the_batch_and_are_the_model(begun):
    folder, _ = begun
    logits = np.load(folder.parent / "logits.npy")
    batch, _ = ask(folder, 10, folder.parent / "logits.npy")
    with open_campaign(folder) as campaign:
        status = campaign_status(campaign)
    assert status.model.what == "your logits, before batch 2"
    assert status.model.predictions.tolist() == logits.argmax(axis=1).tolist()
    ordered = np.sort(logits, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    chosen = batch.rows[~batch.is_audit]
    with open_campaign(folder) as campaign:
        state = campaign.state
    left = np.setdiff1d(np.flatnonzero(state.labels < 0), np.union1d(state.reserve, chosen))
    assert len(chosen) == 8
    assert margin[chosen].max() <= margin[left].min()


def test_start_again_changes_the_memory_budget_alone_and_another_start_is_refused(begun):
    folder, _ = begun
    before = (folder / "config.json").read_bytes()
    started(folder.parent, audit=0.2)
    assert (folder / "config.json").read_bytes() == before
    started(folder.parent, audit=0.2, memory_budget=10**9)
    with open_campaign(folder) as campaign:
        assert (campaign.options.memory_budget, campaign.state.num_batches) == (10**9, 1)
    with pytest.raises(InputError, match=r"holds a campaign with seed = 0, not 1"):
        started(folder.parent, audit=0.2, seed=1)
    with pytest.raises(InputError, match="holds no campaign"), open_campaign(folder.parent / "none"):
        pass
    assert not (folder.parent / "none").exists()


def test_folder_and_features_may_move_together(begun, tmp_path):
    folder, _ = begun
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("features.npy", "ids.txt", "pets"):
        shutil.move(folder.parent / name, moved / name)
    assert len(ask(moved / "pets", 10)[0].rows) == 10


@pytest.mark.parametrize("name", ["features.npy", "ids.txt"])
def test_files_that_change_or_go_are_noticed(begun, name):
    folder, _ = begun
    path = folder.parent / name
    content = path.read_bytes()
    path.write_bytes(content[:-3] + b"7\n\n")
    with pytest.raises(InputError, match=f"{name} has changed since the campaign began"):
        ask(folder, 10)
    path.unlink()
    with pytest.raises(InputError, match=f"{name} is missing; wanted the file that the campaign began with"):
        ask(folder, 10)
    path.write_bytes(content)
    assert len(ask(folder, 10)[0].rows) == 10


def test_a_strategy_of_one_s_own_may_change_and_that_is_said(tmp_path, own_module):
    own_module.write_text(OWN)
    folder, labels = started(tmp_path, strategy="mine:first")
    batch, _ = ask(folder, 5)
    tell(folder, {row: int(labels[row]) for row in batch.rows.tolist()})
    assert json.loads((folder / "config.json").read_text())["code"]["strategy"]["file"] == "mine.py"
    own_module.write_text(OWN + "\n")
    started(tmp_path, strategy="mine:first")
    batch, _ = ask(folder, 5)
    assert batch.remarks == ["mine.py has changed since the campaign began"]
    left = [row for row in range(60) if row not in campaign_labels(folder)]
    assert batch.rows.tolist() == left[:5]
    with open_campaign(folder) as campaign:
        first, second = campaign.batches
    assert (first["strategy"], first["code"]) == ("random", None), "the cold start"
    assert second["strategy"] == "mine:first"
    assert second["code"] == {"file": "mine.py", "crc32": zlib.crc32(own_module.read_bytes())}


def test_a_batch_s_record_says_what_chose_it(tmp_path):
    folder, _ = started(tmp_path, strategy="entropy", cold_start="kmeans")
    ask(folder, 5)
    with open_campaign(folder) as campaign:
        line = campaign.batches[0]
    assert line["versions"] == {"badge_jax": badge_jax.__version__, "jax": jax.__version__}
    assert line["strategy"] == "kmeans(embedding=features)", "with all options"


OWN = """
import jax.numpy as jnp
from badge_jax.strategies import stateless


def first():
    return stateless("first", lambda key, pool, k: jnp.nonzero(pool.available, size=k)[0], needs=())
"""


def campaign_labels(folder):
    with open_campaign(folder) as campaign:
        return np.flatnonzero(campaign.state.labels >= 0).tolist()


def test_a_part_of_a_batch_does_not_pass_for_settled_predictions(begun):
    folder, labels = begun
    batch, _ = ask(folder, 20)
    rows = batch.rows.tolist()
    tell(folder, {row: int(labels[row]) for row in rows[:10]})
    with open_campaign(folder) as campaign:
        status = campaign_status(campaign)
    assert status.model.what == f"linear head on {16 + int((~batch.is_audit[:10]).sum())} labels"
    assert status.agreements == []
    tell(folder, {row: int(labels[row]) for row in rows[10:]})
    with open_campaign(folder) as campaign:
        assert len(campaign_status(campaign).agreements) == 1


def test_lost_predictions_cost_the_comparison_alone(begun):
    folder, labels = begun
    batch, _ = ask(folder, 10)
    (folder / "predictions-2.npy").unlink()
    tell(folder, {row: int(labels[row]) for row in batch.rows.tolist()})
    with open_campaign(folder) as campaign:
        assert campaign_status(campaign).agreements == []


def test_two_processes_exclude_each_other(begun):
    folder, _ = begun
    code = (
        "import sys; from badge_jax.campaign import open_campaign\n"
        "with open_campaign(sys.argv[1]): print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "open\n"
    with pytest.raises(DirectoryInUse, match="is in use by another process"):
        ask(folder, 10)
    process.kill()
    process.communicate()
    assert len(ask(folder, 10)[0].rows) == 10


def test_damaged_folders_are_refused(begun):
    """200 changes to config.json or log.jsonl: what is read is what was written, or what it was before the last
    line."""
    folder, _ = begun
    with open_campaign(folder) as campaign:
        known = campaign.state.labels.tolist()
    contents = {name: (folder / name).read_bytes() for name in ("config.json", "log.jsonl")}
    rng = np.random.default_rng(4)
    for _ in range(200):
        name = str(rng.choice([*contents]))
        (folder / name).write_bytes(mutated(rng, contents[name]))
        found = None
        with warnings.catch_warnings(), contextlib.suppress(InputError):
            warnings.simplefilter("ignore")  # of a line that was cut off
            with open_campaign(folder) as campaign:
                found = campaign.state.labels.tolist()
        assert found in (None, known, [-1] * len(known))
        (folder / name).write_bytes(contents[name])


def test_held_out_rows_and_status(tmp_path):
    features, labels = blobs(380)
    for name, array in (("f", features[:300]), ("t", features[300:]), ("l", labels[300:])):
        np.save(tmp_path / f"{name}.npy", array)
    files = CampaignFiles(
        features=tmp_path / "f.npy", test_features=tmp_path / "t.npy", test_labels=tmp_path / "l.npy"
    )
    folder = tmp_path / "pets"
    start_campaign(folder, CampaignOptions(CLASSES, "margin", "random", audit=0.25), files)
    for k in (20, 20, 20, 20):
        batch, _ = ask(folder, k)
        tell(folder, {row: int(labels[row]) for row in batch.rows.tolist()})
    with open_campaign(folder) as campaign:
        status = campaign_status(campaign)
    assert status.labels_of_class.sum() == 60
    assert (status.num_audited, status.audit.total) == (20, 20)
    trained = np.setdiff1d(np.flatnonzero(campaign.state.labels >= 0), campaign.state.reserve)
    assert status.labels_of_class.tolist() == np.bincount(labels[trained]).tolist()
    predictions = status.model.predictions
    reserve = campaign.state.reserve[:20]
    assert status.audit.num_correct == int((predictions[reserve] == labels[reserve]).sum())
    assert status.model.test[1] == 80
    assert status.model.test[0] >= 76
    assert len(status.agreements) == 3
    text = "\n".join(status_lines(status))
    assert "labels: 60 for training, 20 for the audit" in text
    assert f"audit: {status.audit.num_correct} of 20 rows right" in text
    assert "rule: mean kappa of the last 3 pairs" in text
    with open_campaign(folder) as campaign:  # what status has found is what the next batch is chosen by
        campaign, _ = next_batch(campaign, 20)
        assert tuple(campaign.batches[-1]["test"]) == status.model.test
        again = campaign_status(campaign)
    assert again.model.predictions.tolist() == predictions.tolist()
    assert again.model.train_accuracy == round(status.model.train_accuracy, 4)
    assert f"training: {100 * status.model.train_accuracy:.1f} % of its labels right in the last epoch" in text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither --features nor --representation is given"),
        ({"features": "f.npy", "test_features": "f.npy"}, "--test-features and --test-labels go together"),
        ({"features": "f.npy", "test_features": "f.npy", "test_labels": "ids.txt"}, "unknown class 'a'"),
        (
            {"features": "f.npy", "test_features": "f.npy", "test_labels": "numbers.txt"},
            "row 0: label '1' is a number; wanted a name",  # from 0 or from 1? nobody knows
        ),
        (
            {"features": "f.npy", "test_features": "g.npy", "test_labels": "ids.txt"},
            "--test-features has 3 columns",
        ),
        ({"features": "f.npy", "ids": "ids.txt"}, "--ids: 'a ' stands for the rows 0 and 2"),
        ({"features": "f.npy", "representation": "r.npy"}, "--representation has 2"),
        ({"features": "bad.npy"}, "--features: row 1 holds NaN or infinity"),
        ({"features": "none.npy"}, "does not exist"),
    ],
)
def test_files_that_do_not_fit_begin_nothing(tmp_path, files, message):
    np.save(tmp_path / "f.npy", np.ones((3, 2), np.float32))
    np.save(tmp_path / "g.npy", np.ones((3, 3), np.float32))
    np.save(tmp_path / "r.npy", np.ones((2, 2), np.float32))
    np.save(tmp_path / "bad.npy", np.array([[1.0, 2], [np.nan, 0], [0, 0]]))
    (tmp_path / "ids.txt").write_text("a\nb\na \n")
    (tmp_path / "numbers.txt").write_text("1\n1\n2\n")
    paths = CampaignFiles(**{name: tmp_path / file for name, file in files.items()})
    with pytest.raises(InputError) as caught:
        start_campaign(tmp_path / "pets", CampaignOptions(CLASSES), paths)
    assert message in str(caught.value)
    assert not (tmp_path / "pets").exists()


def test_another_kind_of_folder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"format": 3, "dataset": "kropt"}))
    with pytest.raises(InputError, match="is not a campaign's"), open_campaign(tmp_path):
        pass
    os.unlink(tmp_path / "config.json")
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(InputError, match=r"holds log.jsonl but no config.json"):
        started(tmp_path.parent, name=tmp_path.name)


def test_a_lock_removes_what_a_killed_process_left(tmp_path):
    (tmp_path / ".logits.tmp").write_text("")
    with locked(tmp_path, "here"):
        assert not (tmp_path / ".logits.tmp").exists()
