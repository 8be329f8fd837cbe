"""Answer files in the dialects of spreadsheets, labeling tools and pandas, whole and broken."""

import codecs
import contextlib
import csv
import io
import re

import numpy as np
import pytest
from mutations import mutated

from badge_jax.campaign import read_answers
from badge_jax.campaign.answers import read_rows
from badge_jax.csv_files import _MISSING, is_missing
from badge_jax.errors import InputError

CLASSES = ("cat", "dog", "big cow", "sea-lion")
IDS = ["a.png", "b,1.png", 'c"quoted".png', "d;2.png", "e\tx.png", "ünï.png", "7", "line\nend.png", " sp ", "z"]


def read(folder, *contents, ids=None, n=10, classes=CLASSES):
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"answers-{number}.csv")
        paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    answers = read_answers(paths, n=n, classes=classes, ids=ids)
    return dict(zip(answers.rows.tolist(), answers.labels.tolist(), strict=True))


def error_of(folder, *contents, **more):
    with pytest.raises(InputError) as caught:
        read(folder, *contents, **more)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message.replace(f"{folder}/", "")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_dialects(tmp_path, bom, delimiter, end):
    lines = ["index,label", "3,cat", "4,", "0,big cow", "9,dog"]
    content = bom + end.join(line.replace(",", delimiter) for line in lines).encode()
    assert read(tmp_path, content) == {3: 0, 4: -1, 0: 2, 9: 1}


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        ("index,label\n3.0,dog\n4,\n", {3: 1, 4: -1}),  # pandas, a column with gaps
        ("rank,index,audit,label\n0,5,1,dog\n1,6,0,\n", {5: 1, 6: -1}),
        ("Label, Index \ncat, 3\n", {3: 0}),
        ("index,id,label\n3,17,cat\n", {3: 0}),  # where rows have no ids, those are of the tool
        ("index,label\n3,cat\n3,cat\n3,\n", {3: 0}),
        ("index,label\n3,\n3,cat\n", {3: 0}),
        ("\n,\nindex,label\n\n3,cat\n,\n", {3: 0}),
        ('index,label\n3,"big cow"\n', {3: 2}),
        ("index,label\n3,cat,,\n", {3: 0}),  # a spreadsheet's empty columns
        ("index,label\n3,cat\n4,dog".encode("utf-16"), {3: 0, 4: 1}),
        ("index,label\n", {}),
    ],
)
def test_meaning(tmp_path, content, meaning):
    assert read(tmp_path, content) == meaning


def test_ids(tmp_path):
    assert read(tmp_path, "id,label\nz,cat\nsp,dog\n7,big cow\n", ids=IDS) == {9: 0, 8: 1, 6: 2}
    assert read(tmp_path, "index,id,label\n9,z,cat\n,7,dog\n3,,cat\n", ids=IDS) == {9: 0, 6: 1, 3: 0}


def test_classes_that_are_numbers_are_names(tmp_path):
    assert read(tmp_path, "index,label\n1,2\n2,1.0\n", classes=("1", "2", "3")) == {1: 1, 2: 0}
    assert "unknown class '0'" in error_of(tmp_path, "index,label\n1,0\n", classes=("1", "2", "3"))
    assert "unknown class '1'" in error_of(tmp_path, "index,label\n1,1\n", classes=("+1", "-1")), (
        "a spreadsheet's"
    )


def test_words_for_a_missing_label(tmp_path):
    """As pandas, R and Python write it; a class may have such a name, and a choice in a tool is a class."""
    words = ["nan", "NaN", "NA", "N/A", "null", "None", "<NA>", " nan "]
    content = "index,label\n" + "".join(f"{row},{word}\n" for row, word in enumerate(words))
    assert read(tmp_path, content) == dict.fromkeys(range(len(words)), -1)
    assert read(tmp_path, content, classes=("cat", "NA", "None"))[2] == 1
    assert read(tmp_path, content, classes=("cat", "NA", "None"))[5] == 2
    assert "unknown class 'none'" in error_of(tmp_path, "index,label\n3,none\n")
    assert "unknown class 'None'" in error_of(tmp_path, "badge_index,label\n3,None\n")


def test_the_words_are_those_of_pandas():
    common = pytest.importorskip("pandas._libs.parsers", reason="wants pandas, to compare with")
    assert all(is_missing(word) for word in common.STR_NA_VALUES)
    assert {word for word in common.STR_NA_VALUES if word} == set(_MISSING.split("|"))


def test_lists_of_rows(tmp_path):
    """As CSV with labels that are not read, or one a line; by id where there are ids."""
    first, second = tmp_path / "first.csv", tmp_path / "second.txt"
    first.write_text("rank;index;label\r\n0;7;cat\r\n1;3;?\r\n")
    second.write_text("\ufeff4\n\n 7.0 \n")
    assert read_rows([first, second], n=10).tolist() == [7, 3, 4]
    names = ["zero", "one", "two"]
    first.write_text("id,label\ntwo,cat\n one ,dog\n")
    second.write_text("one\nzero\n")
    assert read_rows([first, second], n=3, ids=names).tolist() == [2, 1, 0]
    first.write_text("badge_index,badge_id,label\n2,two,cat\n")
    assert read_rows([first], n=3, ids=names).tolist() == [2]
    for text, ids, message in (
        ("one\nfour\nfive\n", names, "line 2: unknown id 'four' (and 1 more problem); nothing was taken"),
        ("id,index\none,2\n", names, "id 'one' is row 1, and the index is 2"),
        ("one\n", None, "index 'one' is no row number"),
        ("3\n", None, "index 3 is not in the pool; wanted 0 to 2"),
        ("id,label\none,cat\n", None, "id 'one', and the rows have no ids"),
    ):
        first.write_text(text)
        with pytest.raises(InputError, match=re.escape(message)):
            read_rows([first], n=3, ids=ids)
    first.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="is not UTF-8 text; wanted a CSV file with a column id or index, or"):
        read_rows([first], n=3)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (["index,label\n3,cta\n"], "answers-0.csv, line 2: unknown class 'cta'; did you mean cat?"),
        (["index,label\n3,1\n"], "line 2: label '1' is a number; wanted a name: cat, dog, big cow, sea-lion"),
        (["id,label\n3,cat\n"], "line 2: id '3', and the rows have no ids; wanted a column index"),
        (["index,label\n10,cat\n"], "line 2: index 10 is not in the pool; wanted 0 to 9"),
        (["index,label\n-1,cat\n"], "line 2: index -1 is not in the pool; wanted 0 to 9"),
        (["index,label\n1.5,cat\n"], "index '1.5' is no row number"),
        (["index,label\n,cat\n"], "line 2: the label 'cat' has no id and no index"),
        (["index,label\n3,cat\n3,dog\n"], "line 3: 'dog' for index 3, which is 'cat' in"),
        (["index,label\n3,cat\n", "index,label\n3,dog\n"], "answers-1.csv, line 2: 'dog' for index 3"),
        (["index,label\n3\n"], "line 2: 1 fields; wanted 2"),
        (["index,label\n3,cat,dog\n"], "line 2: 3 fields; wanted 2"),
        (["index,label\n3,x\n4,y\n5,cat\n6,z\n"], "(and 2 more problems); nothing was taken"),
        (['index,label\n3,"cat\n4,dog\n'], "unexpected end of data"),
        (["row,class\n3,cat\n"], "wanted a header that names a column label, and a column id or index"),
        (["3,cat\n"], "begins with '3,cat'"),
        ([""], "is empty"),
        (["index,label,label\n3,cat,dog\n"], "has 2 columns label; wanted one"),
        ([b"index,label\n3,\xff\n"], "is not UTF-8 text"),
    ],
)
def test_problems_are_one_line(tmp_path, contents, message):
    assert message in error_of(tmp_path, *contents)


def test_problems_with_ids(tmp_path):
    assert "unknown id 'y'" in error_of(tmp_path, "id,label\ny,cat\n", ids=IDS)
    message = error_of(tmp_path, "id,index,label\nz,3,cat\n", ids=IDS)
    assert "id 'z' is row 9, and the index is 3; wanted the same" in message
    assert "does not exist" in error_of_missing(tmp_path)


def error_of_missing(folder):
    with pytest.raises(InputError) as caught:
        read_answers([folder / "none.csv"], n=3, classes=CLASSES)
    return str(caught.value)


def written(rng, lines, names):
    """A CSV file of dicts in a random dialect."""
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=str(rng.choice([",", ";", "\t"])),
        lineterminator=str(rng.choice(["\n", "\r\n"])),
        quoting=int(rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )
    names = [*names, *["note", "rank"][: rng.integers(3)]]
    rng.shuffle(names)
    writer.writerow([str(rng.choice([name, name.upper(), f" {name} "])) for name in names])
    for line in lines:
        writer.writerow([line.get(name, "free text") for name in names])
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))
    return text.getvalue().encode(encoding)


def lines_of(rng, meaning, names):
    """Lines that say what each row's label is, some of them twice, in random order and spelling."""
    lines = []
    for row in [*meaning, *rng.choice([*meaning], rng.integers(3)).tolist()]:
        label = meaning[row]
        name = "" if label < 0 else CLASSES[label]
        spelled = str(rng.choice([name, f" {name} "] if name else ["", " ", "nan", "NA", "None"]))
        index = str(rng.choice([str(row), f"{row}.0", f" {row}"]))
        lines.append({"id": IDS[row], "index": index, "label": spelled})
    rng.shuffle(lines)
    return lines


def broken(rng, lines, meaning):
    """The lines with one mistake, of which any must be refused."""
    line = dict(lines[rng.integers(len(lines))])
    kind = rng.integers(5)
    if kind == 0:
        line["label"] = str(rng.choice(["cats", "1", "0", "4", "-1", "1.5", "inf", "?"]))
    elif kind == 1:
        line["id"] = "nowhere.png"
    elif kind == 2:
        line["index"] = str(rng.choice(["10", "-3", "x", "1e3", "99999999999999999999"]))
    elif kind == 3:
        labeled = [row for row in meaning if meaning[row] >= 0]
        row = labeled[0] if labeled else None
        if row is None:
            line["label"] = "cats"
        else:
            line = {"id": IDS[row], "index": str(row), "label": CLASSES[(meaning[row] + 1) % 4]}
    else:
        line |= {"id": "", "index": "", "label": "cat"}
    place = int(rng.integers(len(lines) + 1))
    return [*lines[:place], line, *lines[place:]]


def fuzz(folder, seed):
    """One random file: it means what was written, one mistake is refused, and damage gives a line or an answer
    that can be."""
    rng = np.random.default_rng([15, seed])
    rows = rng.choice(10, rng.integers(1, 11), replace=False).tolist()
    meaning = {row: int(rng.integers(-1, 4)) for row in rows}
    names = [["id", "label"], ["index", "label"], ["index", "id", "label"]][rng.integers(3)]
    lines = lines_of(rng, meaning, names)
    content = written(rng, lines, names)
    assert read(folder, content, ids=IDS) == meaning
    wrong = broken(rng, lines, meaning)
    if all(name in names for name in ("id", "index")):
        error_of(folder, written(rng, wrong, names), ids=IDS)
    with contextlib.suppress(InputError):
        found = read(folder, mutated(rng, content), ids=IDS)
        assert set(found) <= set(range(10))
        assert set(found.values()) <= {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("start", [0, 50])
def test_random_files(tmp_path, start):
    for seed in range(start, start + 50):
        fuzz(tmp_path, seed)


@pytest.mark.slow
def test_two_thousand_random_files(tmp_path):
    for seed in range(2000):
        fuzz(tmp_path, seed)
