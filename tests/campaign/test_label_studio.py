"""Label Studio: tasks out, exports in, and a campaign with the real server.

The exports in fixtures/label_studio are those of version 1.23.2, as `test_exports_of_the_server` gets them.
"""

import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from campaigns import CLASSES, started
from mutations import mutated

from badge_jax.campaign import (
    label_studio_tasks,
    labeling_interface,
    next_batch,
    open_campaign,
    read_answers,
    tell_answers,
)
from badge_jax.cli import main
from badge_jax.errors import InputError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "label_studio"
EXPORTS = {"JSON": "export.json", "JSON_MIN": "export-min.json", "CSV": "export.csv"}

ODD_CLASSES = ("cat", "big dog", 'a "q" & <b>', "it's", 'name="item"', "x  y", "ünï→,;", "1")
ODD_IDS = (
    "a.png",
    " sp ace.png",
    'q"uo,te;.png',
    "#hash?%41.png",
    "line\nend.png",
    "<b>&amp;",
    "../../etc",
    "$image",
    "ünï.png",
    "7",
)
MEANING = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 8: 7}  # the labels; row 7 is cancelled, and 9 has a draft


def read(path, **more):
    more = {"n": 10, "classes": ODD_CLASSES, "ids": ODD_IDS, **more}
    answers = read_answers([path], **more)
    return dict(zip(answers.rows.tolist(), answers.labels.tolist(), strict=True))


def odd_tasks():
    return label_studio_tasks(
        range(10),
        classes=ODD_CLASSES,
        ids=ODD_IDS,
        images="https://images.example/pets/",
        predicted=[*range(8), None, None],
        scores=np.linspace(0.2, 0.9, 10).tolist(),
        model_version="pets, batch 2",
    )


def exported(name):
    return json.loads((FIXTURES / name).read_text("utf-8"))


def written(folder, content, name="export.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def error_of(folder, content, name="export.json", **more):
    with pytest.raises(InputError) as caught:
        read(written(folder, content, name), **more)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message.replace(f"{folder}/", "")


def annotation(label, **more):
    """An annotation with this choice, or these, or none."""
    choices = label if isinstance(label, list) else [label]
    value = {"type": "choices", "from_name": "label", "to_name": "item", "value": {"choices": choices}}
    return {"id": 5, "result": [] if label is None else [value], "was_cancelled": False, **more}


def task(index, *annotations, **data):
    return {"id": 103, "data": {"badge_index": index, **data}, "annotations": list(annotations)}


# exports of the real server


@pytest.mark.parametrize("name", EXPORTS.values())
def test_exports(name):
    found = read(FIXTURES / name)
    # only the whole export has what was cancelled, and none has a label for what nobody has submitted
    assert found == MEANING | ({7: -1} if name == "export.json" else {})


def test_exports_say_what_the_server_was_asked_to_keep():
    for known, asked in zip(exported("export.json"), odd_tasks(), strict=True):
        assert known["data"] == asked["data"]
    with (FIXTURES / "export.csv").open(newline="", encoding="utf-8") as file:
        assert {line["badge_id"] for line in csv.DictReader(file)} >= set(ODD_IDS) - {"$image"}


def test_an_export_of_rows_without_ids(tmp_path):
    tasks = exported("export.json")
    for known in tasks:
        del known["data"]["badge_id"]
    assert read(written(tmp_path, tasks), ids=None) == MEANING | {7: -1}


def test_damaged_exports_give_one_line_or_answers(tmp_path):
    rng = np.random.default_rng(3)
    for name in EXPORTS.values():
        content = (FIXTURES / name).read_bytes()
        for _ in range(60):
            (tmp_path / name).write_bytes(mutated(rng, content))
            with contextlib.suppress(InputError):
                found = read(tmp_path / name)
                assert set(found) <= set(range(10))
                assert set(found.values()) <= set(range(-1, 8))


# what an export may say


@pytest.mark.parametrize(
    ("tasks", "meaning"),
    [
        ([task(3, annotation("cat"), annotation("cat"))], {3: 0}),
        ([task(3, annotation("cat", was_cancelled=True)), task(4, annotation("cat"))], {3: -1, 4: 0}),
        ([task(3, annotation("cat", was_cancelled=True), annotation("it's"))], {3: 3}),
        ([task(3, annotation(None))], {3: -1}),
        ([task(3), task(4, annotation("cat"))], {4: 0}),
        ([{"id": 1, "data": {}, "annotations": []}, task(4, annotation("cat"))], {4: 0}),
        ([task("3.0", annotation("cat"))], {3: 0}),
        ([{**task(3, annotation("cat")), "drafts": [{"result": []}], "predictions": [4]}], {3: 0}),
        ([{"data": {"badge_id": "7"}, "annotations": [annotation("1")]}], {9: 7}),
        ([{"badge_index": 3, "label": "cat", "annotation_id": 1, "id": 9}], {3: 0}),
        ([{"badge_index": 3, "label": 1, "annotation_id": 1, "id": 9}], {3: 7}),
        (
            [
                {"badge_index": 3, "annotation_id": 1},  # submitted without a choice
                {"badge_index": 4, "annotation_id": None},
                {"badge_index": 5, "label": "cat", "annotation_id": 2},
            ],
            {3: -1, 5: 0},
        ),
    ],
)
def test_meaning(tmp_path, tasks, meaning):
    assert read(written(tmp_path, tasks)) == meaning
    assert read(written(tmp_path, "\ufeff\n " + json.dumps(tasks), "answers.txt")) == meaning


CHOICE = {"type": "choices", "from_name": "quality", "value": {"choices": ["good"]}}
BOXES = {"type": "rectanglelabels", "from_name": "label", "value": {"rectanglelabels": ["cat"]}}


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            [task(3, annotation("cat"), annotation("it's", id=6))],
            "task 103, annotation 6: \"it's\" for index 3, which is 'cat' in export.json, task 103, "
            "annotation 5; nothing was taken",
        ),
        (
            [task(3, annotation("cta")), task(4, annotation("act")), task(5, annotation("cat"))],
            "task 103, annotation 5: unknown class 'cta'; did you mean cat? (known: cat, big dog, ",
        ),
        ([task(3, annotation("cta")), task(4, annotation("act"))], "(and 1 more problem); nothing was taken"),
        ([task(10, annotation("cat"))], "index 10 is not in the pool; wanted 0 to 9"),
        ([task(3, annotation("cat"), badge_id="x")], "unknown id 'x'"),
        ([task(3, annotation("cat"), badge_id="7")], "id '7' is row 9, and the index is 3; wanted the same"),
        ([task(3, annotation(["cat", "it's"]))], "annotation 5: 2 choices in label; wanted one"),
        ([task(3, annotation([["cat"]]))], "its label is ['cat']; wanted text or a number"),
        ([task(True, annotation("cat"))], "task 103: its badge_index is True; wanted text or a number"),
        ([task(3, {"id": 5, "result": [CHOICE]})], "a choice in 'quality', and none in label"),
        ([task(3, {"id": 5, "result": [BOXES]})], "label is of type 'rectanglelabels'; wanted choices"),
        ([task(3, {"id": 5, "result": "cat"})], "annotation 5, result: found 'cat', wanted a list of objects"),
        ([task(3, {"id": 5})], "annotation 5, result: found None, wanted a list of objects"),
        ([{**task(3), "annotations": {}}], "task 103, annotations: found {}, wanted a list"),
        (
            [{"id": 1, "data": [3], "annotations": [annotation("cat")]}],
            "task 1, data: found [3], wanted an object",
        ),
        (
            [{"id": 1, "data": {"image": "x"}, "annotations": [annotation("cat")]}],
            "task 1: its data have neither badge_index nor badge_id; wanted tasks of `campaign next",
        ),
        ([{"badge_index": 3, "class": "cat", "annotation_id": 1}], "no task has a field label"),
        (
            [{"badge_index": 3, "label": {"choices": ["cat", "it's"]}, "annotation_id": 1}],
            "task number 1, annotation 1: 2 choices in label",
        ),
        ([{"badge_index": 3, "label": ["cat"], "annotation_id": 1}], "its label is ['cat']; wanted text"),
        (odd_tasks(), "export.json holds 10 tasks and no annotation; wanted an export with answers"),
        ([{"text": "hello"}], "export.json holds 1 objects without data, badge_index or badge_id"),
        ([{"badge_index": 3, "label": "\ud800", "annotation_id": 1}], "unknown class '\\ud800'"),
        ([], "export.json holds 0 objects"),
        ([3], "export.json is JSON, and not a list of objects"),
        ({"id": 3}, "export.json is JSON, and not a list of objects"),
        ('[{"id": 3', "begins with '[{\"id\": 3'; wanted a header that names a column label"),
        ("[" * 100_000, "or a whole export of Label Studio"),
    ],
)
def test_problems_are_one_line(tmp_path, tasks, message):
    assert message in error_of(tmp_path, tasks)


def test_problems_in_a_table(tmp_path):
    header = "annotation_id,badge_index,id,label\n"
    both = header + "1,3,900,cat\n2,3,900,it's\n"
    message = (
        "export.csv, line 3: \"it's\" for index 3, which is 'cat' in export.csv, line 2; nothing was taken"
    )
    assert message in error_of(tmp_path, both, "export.csv")
    several = header + '1,3,900,"{""choices"":[""cat"",""it\'s""]}"\n'
    assert 'line 2: unknown class \'{"choices"' in error_of(tmp_path, several, "export.csv")
    assert "wanted a header that names a column label" in error_of(tmp_path, "badge_index,class\n3,cat\n")
    assert read(written(tmp_path, header + "1,3,900,cat\n,4,901,\n5,5,902,\n")) == {3: 0, 5: -1}


# tasks


def test_tasks_and_the_interface_name_the_same_things():
    root = xml.etree.ElementTree.fromstring(labeling_interface(ODD_CLASSES, has_images=True))
    image, choices = root.find("Image"), root.find("Choices")
    assert [choice.get("value") for choice in choices] == list(ODD_CLASSES)
    assert image.get("name") == choices.get("toName")
    tasks = odd_tasks()
    shown = image.get("value").removeprefix("$")
    for row, known in enumerate(tasks):
        assert (known["data"]["badge_index"], known["data"]["badge_id"]) == (row, ODD_IDS[row])
        link = known["data"][shown]
        assert link.startswith("https://images.example/pets/")
        assert unquote(link.removeprefix("https://images.example/pets/")) == ODD_IDS[row]
        assert not set(link) & set(' \n"<>#?$')
    for row in range(8):
        (prediction,) = tasks[row]["predictions"]
        (result,) = prediction["result"]
        assert (result["from_name"], result["to_name"]) == (choices.get("name"), image.get("name"))
        assert result["value"] == {"choices": [ODD_CLASSES[row]]}
        assert prediction["score"] == pytest.approx(0.2 + 0.7 * row / 9)
    assert all("predictions" not in known for known in tasks[8:])


def test_what_is_shown():
    def data_of(**more):
        return label_studio_tasks([7], classes=CLASSES, **more)[0]["data"]

    assert data_of() == {"badge_index": 7, "text": "row 7"}
    assert data_of(ids=["a b"]) == {"badge_index": 7, "badge_id": "a b", "text": "a b"}
    assert data_of(ids=["a b/c"], images="/data/local-files/?d=p/")["image"] == "/data/local-files/?d=p/a%20b/c"
    assert data_of(ids=["a b"], images="s3://bucket/")["image"] == "s3://bucket/a b"
    root = xml.etree.ElementTree.fromstring(labeling_interface(CLASSES))
    assert root.find("Text").get("value") == "$text"


@pytest.mark.parametrize("name", ["$5", "over $10", "$image", "${x}"])
def test_names_that_the_interface_would_replace_are_refused(name):
    with pytest.raises(InputError, match=r"Label Studio takes '.+' for the start of a field's name"):
        labeling_interface(["cat", name])
    assert 'value="5 $"' in labeling_interface(["cat", "5 $"])


# a campaign


def campaign(*args):
    return main(["campaign", *map(str, args)])


def answered(path, label_of):
    """The tasks in a file as the server exports them, with the label that ``label_of`` gives a row; None for no
    answer, and "" for a row that was skipped."""
    tasks = json.loads(path.read_text())
    for number, known in enumerate(tasks, start=1):
        label = label_of(known["data"]["badge_index"])
        said = [] if label is None else [annotation(label or None, was_cancelled=not label, id=number)]
        known |= {"id": number, "annotations": said}
    return tasks


def test_a_campaign_through_tasks(tmp_path, monkeypatch, capsys):
    folder, labels = started(tmp_path, audit=0.2)
    monkeypatch.chdir(tmp_path)
    more = ["--format", "label-studio", "--image-urls", "https://images.example/"]
    assert campaign("next", folder, "--k", 20, *more) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"batch 1: 20 rows, 4 of them for the audit: {folder / 'batch-1.json'}\n")
    tasks = json.loads((folder / "batch-1.json").read_text())
    assert not any("predictions" in known for known in tasks), "there is no model yet"
    assert tasks[0]["data"]["image"] == f"https://images.example/image%20{tasks[0]['data']['badge_index']}.png"
    assert '<Choice value="cow"/>' in (folder / "batch-1.xml").read_text()

    rows = [known["data"]["badge_index"] for known in tasks]
    said = {row: CLASSES[labels[row]] for row in rows[2:]} | {rows[0]: ""}
    part = written(tmp_path, answered(folder / "batch-1.json", said.get))
    assert campaign("tell", folder, part) == 0
    assert capsys.readouterr().out == "18 new labels, 1 skipped\nbatch 1: 1 of 20 rows have no answer yet\n"
    wrong = CLASSES[(labels[rows[2]] + 1) % 3]
    said |= {rows[2]: wrong, rows[1]: CLASSES[labels[rows[1]]]}
    assert campaign("tell", folder, written(tmp_path, answered(folder / "batch-1.json", said.get))) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 new labels, 1 corrected, 18 known already\nbatch 1: all answered\n")

    assert campaign("next", folder, "--k", 20, *more) == 0
    with open_campaign(folder) as opened:
        opened, batch = next_batch(opened, 20)
        predictions = np.load(folder / "predictions-2.npy")
    tasks = json.loads((folder / "batch-2.json").read_text())
    assert [known["data"]["badge_index"] for known in tasks] == batch.rows.tolist()
    assert ["predictions" in known for known in tasks] == (~batch.is_audit).tolist()
    for known in tasks:
        for prediction in known.get("predictions", []):
            row = known["data"]["badge_index"]
            assert prediction["result"][0]["value"]["choices"] == [CLASSES[predictions[row]]]
            assert 1 / 3 < prediction["score"] <= 1
            assert prediction["model_version"] == "batch 2"
    before = (folder / "batch-2.json").read_bytes()
    assert campaign("next", folder, "--k", 20, *more) == 0, "the same batch gives the same file"
    assert (folder / "batch-2.json").read_bytes() == before
    assert campaign("next", folder, "--k", 20) == 0, "and its table can be had too"
    capsys.readouterr()
    assert campaign("tell", folder, folder / "batch-2.json", "--skipped", "offer") == 2
    assert "holds 20 tasks and no annotation" in capsys.readouterr().err


def test_scores_are_the_probabilities_of_own_logits(tmp_path):
    folder, _ = started(tmp_path)
    logits = np.load(tmp_path / "logits.npy").astype(np.float64)
    assert campaign("next", folder, "--k", 12, "--logits", tmp_path / "logits.npy") == 0
    with open_campaign(folder) as opened:
        _, batch = next_batch(opened, 12)
    odds = np.exp(logits[batch.rows])
    assert batch.predicted.tolist() == odds.argmax(axis=1).tolist()
    assert np.abs(batch.scores - odds.max(axis=1) / odds.sum(axis=1)).max() <= 0.5e-4 + 1e-12


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--image-urls", "https://x/"], "wanted --format label-studio as well"),
        (["--format", "label-studio", "--out", "tasks.csv"], "wanted a name that ends in .json"),
        (["--format", "label-studio", "--out", "taken.json"], "taken.xml exists already"),
    ],
)
def test_wrong_use_is_one_line_and_opens_no_batch(tmp_path, monkeypatch, capsys, args, message):
    folder, _ = started(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.xml").write_text("<View/>")
    assert campaign("next", folder, "--k", 5, *args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "log.jsonl").exists()
    assert (tmp_path / "taken.xml").read_text() == "<View/>"


def test_images_want_ids(tmp_path, capsys):
    np.save(tmp_path / "f.npy", np.eye(6, dtype=np.float32))
    start = ["--features", tmp_path / "f.npy", "--classes", "cat,dog", "--cold-start", "random"]
    assert campaign("start", tmp_path / "pets", *start) == 0
    more = ["--format", "label-studio", "--image-urls", "https://x/"]
    assert campaign("next", tmp_path / "pets", "--k", 2, *more) == 2
    assert "wanted a campaign that was started with --ids" in capsys.readouterr().err


def test_a_log_without_guesses_gives_tasks_without_them(tmp_path):
    folder, _ = started(tmp_path)
    assert campaign("next", folder, "--k", 5) == 0
    with open_campaign(folder) as opened:
        line = opened.log.lines[-1]
        assert {line.pop("predicted"), line.pop("scores")} == {None}
        _, batch = next_batch(opened, 5)
    assert (batch.predicted, batch.scores) == (None, None)


# the real server

SERVER = shutil.which("label-studio")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
NO_NETWORK = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "FEATURE_FLAGS_OFFLINE": "true",
}


class Server:
    """Label Studio on this machine."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        command = [SERVER, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
        command += ["--username", "a@example.com", "--password", "for this test", "--user-token", TOKEN]
        command += ["--enable-legacy-api-token"]
        self.folder = folder
        own = {"LABEL_STUDIO_BASE_DATA_DIR": str(folder), "HOME": str(folder), **NO_NETWORK}
        own |= {
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder),
        }
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own
        self.log = folder / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, seconds=300):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                self.get("/health")
                return
            time.sleep(1)
        raise AssertionError(self.log.read_text()[-2000:])

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)

    def get(self, path, content=None):
        """What the server answers; with content, that is posted."""
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        body = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(
            urllib.request.Request(self.address + path, body, headers), timeout=120
        ) as answer:
            return answer.read()

    def project(self, interface):
        return json.loads(self.get("/api/projects", {"title": "pets", "label_config": interface}))["id"]

    def load(self, project, tasks):
        """Imports tasks and returns those of the project, as the server has them, by their row."""
        self.get(f"/api/projects/{project}/import", tasks)
        found = json.loads(self.get(f"/api/tasks?project={project}&fields=all&page_size=1000"))["tasks"]
        return {known["data"]["badge_index"]: known for known in found}

    def answer(self, known, label, kind="annotations/", **more):
        content = {key: value for key, value in annotation(label, **more).items() if key != "id"}
        self.get(f"/api/tasks/{known['id']}/{kind}", content)

    def export(self, project, kind, path):
        path.write_bytes(self.get(f"/api/projects/{project}/export?exportType={kind}&download_all_tasks=true"))
        return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if SERVER is None:
        pytest.skip("needs label-studio on the path (`pip install label-studio`, in an environment of its own)")
    running = Server(tmp_path_factory.mktemp("server"))
    try:
        running.wait()
        yield running
    finally:
        running.stop()


def exports_of(server, folder):
    """The exports of odd tasks, answered as `MEANING` says."""
    project = server.project(labeling_interface(ODD_CLASSES, has_images=True))
    known = server.load(project, odd_tasks())
    for row, label in MEANING.items():
        server.answer(known[row], ODD_CLASSES[label])
    server.answer(known[0], "cat")  # a second one that agrees
    server.answer(known[1], "cat", was_cancelled=True)  # and one that was cancelled
    server.answer(known[7], "cat", was_cancelled=True)
    server.answer(known[9], "cat", kind="drafts")
    return {kind: server.export(project, kind, folder / name) for kind, name in EXPORTS.items()}


@pytest.mark.slow
@pytest.mark.extras
def test_exports_of_the_server(server, tmp_path):
    for kind, path in exports_of(server, tmp_path).items():
        assert read(path) == MEANING | ({7: -1} if kind == "JSON" else {})


@pytest.mark.slow
@pytest.mark.extras
def test_local_pictures_of_the_server(server):
    """As docs/tutorials/label-studio.md has it: shown once their folder is a storage of the project."""
    photos = server.folder / "photos"
    photos.mkdir()
    (photos / "a b.png").write_bytes(b"a picture")
    images = "/data/local-files/?d=photos/"
    tasks = label_studio_tasks([0], classes=CLASSES, ids=["a b.png"], images=images)
    project = server.project(labeling_interface(CLASSES, has_images=True))
    link = server.load(project, tasks)[0]["data"]["image"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server.get(link)
    server.get("/api/storages/localfiles", {"project": project, "path": str(photos), "use_blob_urls": True})
    assert server.get(link) == b"a picture"


def guesses_of(known):
    predictions = known.get("predictions", [])
    return [(one["score"], one["result"][0]["value"], one["model_version"]) for one in predictions]


@pytest.mark.slow
@pytest.mark.extras
def test_a_campaign_with_the_server(server, tmp_path, capsys):
    folder, labels = started(tmp_path, audit=0.2)
    project = None
    for number in (1, 2):
        more = ["--format", "label-studio", "--image-urls", "https://images.example/"]
        assert campaign("next", folder, "--k", 20, *more) == 0
        if project is None:
            project = server.project((folder / "batch-1.xml").read_text())
        tasks = json.loads((folder / f"batch-{number}.json").read_text())
        known = server.load(project, tasks)
        for sent in tasks:
            kept = known[sent["data"]["badge_index"]]
            assert kept["data"] == sent["data"]
            assert guesses_of(kept) == guesses_of(sent)
        first, second, *rest = (sent["data"]["badge_index"] for sent in tasks)
        server.answer(known[first], "cat", was_cancelled=True)
        for row in rest:
            server.answer(known[row], CLASSES[labels[row]])
        capsys.readouterr()
        assert campaign("tell", folder, server.export(project, "JSON", tmp_path / "export.json")) == 0
        before = "" if number == 1 else ", 20 known already"
        assert capsys.readouterr().out.splitlines()[:2] == [
            f"18 new labels, 1 skipped{before}",
            f"batch {number}: 1 of 20 rows have no answer yet",
        ]
        server.answer(known[second], CLASSES[labels[second]])
        kind = "CSV" if number == 1 else "JSON_MIN"
        assert campaign("tell", folder, server.export(project, kind, tmp_path / "more")) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"1 new labels, {18 if number == 1 else 37} known already",
            f"batch {number}: all answered",
        ]
    with open_campaign(folder) as opened:
        found = opened.state.labels
    assert (found >= 0).sum() == 38
    assert (found[found >= 0] == labels[found >= 0]).all()
    again = known[rest[0]]
    server.answer(again, CLASSES[(labels[rest[0]] + 1) % 3])
    with open_campaign(folder) as opened, pytest.raises(InputError, match=r"which is '.+' in .+; nothing was"):
        tell_answers(opened, [server.export(project, "JSON", tmp_path / "export.json")])
