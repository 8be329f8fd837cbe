"""Thousands of calls of `select` with odd files and odd options: a right answer, or one line that says why."""

import csv
import functools
import io
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from mutations import mutated
from oracles import softmax
from pages import Reader

from badge_jax.cli import main
from badge_jax.selection import Inputs, SelectOptions, make_task, matrix_of

NUM_CALLS = 10_000
N, C, D, K = 40, 3, 4, 5  # few shapes, since each is compiled
STRATEGIES = [
    "badge",
    "badge",
    "badge(first=norm)",
    "badge_kcenter",
    "coreset",
    "margin",
    "confidence",
    "entropy",
]
STRATEGIES += ["random", "badge_kdpp"]
ODD_STRATEGIES = [
    "bagde",
    "albl",
    "badge(first=last)",
    "badge(frist=norm)",
    "badge(",
    "no.module:make",
    "os:getcwd",
]
ODD_STRATEGIES += ["", "(", "badge()", "badge(first='norm')", "badge_kdpp(num_steps=2)", "margin\n", "ｂadge"]
ODD_NUMBERS = ["0", "-1", "1_0", "٣", "", "x", "5.0", "1e1", "9" * 30, "nan", "None", "+5", " 5", "41", "40"]
ODD_SIZES = ["1KB", "１GB", "0", "-1GB", "lots", "", "1e9", "4 gb", "1PB", "999999999TB", "0.5", "45kB", "46kB"]
ODD_WORDS = [
    "--fast",
    "--k",
    "--explain=yes",
    "--",
    "x",
    "--no-explain",
    "--memory",
    "--K=5",
    "-k",
    "--out",
    "",
]


class Call(NamedTuple):
    """One call: its words, and the files that they name."""

    words: list[str]
    files: dict[str, Path]
    out: Path


class Maker:
    """Makes calls, each from the seed and its number alone."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe")
        (folder / "loop").symlink_to("loop")
        (folder / "dangling").symlink_to("nowhere")
        (folder / "empty").write_bytes(b"")
        (folder / "text").write_text("a, b\n")
        self.odd_paths = [*(folder / name for name in ("folder", "pipe", "loop", "dangling", "empty", "text"))]
        self.odd_paths += [
            folder / "none.npy",
            folder / ("x" * 300),
            Path("/dev/null"),
            folder / "folder" / "none",
        ]

    def call(self, rng: np.random.Generator) -> Call:
        self.rng = rng
        features = np.maximum(rng.normal(size=(N, D)), 0)
        logits = 3 * rng.normal(size=(N, C))
        files = {"features": self.matrix("features", features)}
        if self.happens(0.75):
            files["logits"] = self.matrix("logits", logits)
        else:
            files["probabilities"] = self.matrix("probabilities", softmax(logits))
        if self.happens(0.03):
            files["logits"] = self.matrix("logits", logits)
        ids = self.any_of([self.some_ids(), None])
        if ids is not None:
            files["ids"] = self.ids(ids)
        if self.happens(0.5):
            files["labeled"] = self.labeled(ids)
        for name in list(files):
            if self.happens(0.04):
                del files[name]
            elif self.happens(0.02):
                files[name] = self.any_of(self.odd_paths)
        out = self.folder / "picks.csv"
        if self.happens(0.05):
            out = self.any_of([*self.odd_paths, *files.values()])
        words = [f"--{name}={path}" for name, path in files.items()]
        words += [f"--k={self.any_of(ODD_NUMBERS) if self.happens(0.1) else K}", f"--out={out}"]
        words += [
            flag for flag, p in (("--force", 0.98), ("--explain", 0.3), ("--dry-run", 0.05)) if self.happens(p)
        ]
        if self.happens(0.1):
            page = self.any_of([*self.odd_paths, *files.values(), out]) if self.happens(0.2) else None
            words.append(f"--page={page or self.folder / 'page.html'}")
        strategy = self.any_of(STRATEGIES)
        if self.happens(0.3):
            # a pool is read in pieces where the budget is a little above the work
            near = bytes_for_work(
                strategy, any(word.startswith(("--explain", "--page")) for word in words)
            ) + rng.integers(-1200, 2300)
            words.append(f"--memory={self.any_of(ODD_SIZES) if self.happens(0.3) else near}")
        words.append(f"--strategy={self.any_of(ODD_STRATEGIES) if self.happens(0.05) else strategy}")
        if self.happens(0.3):
            words.append(f"--seed={self.any_of(ODD_NUMBERS) if self.happens(0.2) else rng.integers(2**32)}")
        if self.happens(0.04):
            words.insert(int(rng.integers(len(words) + 1)), self.any_of([*ODD_WORDS, *words]))
        if self.happens(0.02):
            del words[int(rng.integers(len(words)))]
        return Call(words, files, out)

    def happens(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def any_of(self, values: list) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def matrix(self, name: str, values: np.ndarray) -> Path:
        """A file with a matrix in one of its forms, now and then odd or damaged."""
        values = values.astype(self.any_of(["<f4", "<f4", "<f2", "<f8", ">f4"]))
        if self.happens(0.1):
            values = self.odd_values(values)
        if self.happens(0.05):
            values = np.asfortranarray(values)
        kind = self.any_of(["npy", "npy", "npz", "compressed", "named npz"])
        path = self.folder / f"{name}.{'npy' if kind == 'npy' else 'npz'}"
        if kind == "npy":
            np.save(path, values)
        elif kind == "named npz":
            np.savez(path, **{name: values, "other": values.T})
        else:
            (np.savez if kind == "npz" else np.savez_compressed)(path, values)
        return self.damaged(path)

    def odd_values(self, values: np.ndarray) -> np.ndarray:
        row = int(self.rng.integers(N))
        kind = self.any_of(["spot", "spot", "scale", "equal", "copies", "shape", "dtype"])
        if kind == "spot":
            with np.errstate(all="ignore"):
                values[row, 0] = self.any_of([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-40, -0.0])
            return values
        if kind == "scale":
            with np.errstate(all="ignore"):
                return values * values.dtype.type(self.any_of([0.0, 1e-7, 1e4, 1e-30, 1e30, -1.0]))
        if kind == "equal":
            return np.full_like(values, 1.0)
        if kind == "copies":
            return values[np.arange(N) % 3]
        if kind == "shape":
            other = [values[:-1], values[:0], values[:, :0], values[0], values[None], np.float32(3), values.T]
            return np.asarray(self.any_of(other))
        return values.astype(self.any_of([int, bool, complex, "U3", "S3", "M8[s]"]))

    def labeled(self, ids: list[str] | None) -> Path:
        """A file with row numbers, ids or a mask, now and then wrong or damaged."""
        rows = self.rng.choice(N, int(self.rng.integers(12)), replace=False)
        if self.happens(0.1):
            rows = np.append(rows, self.any_of([-1, N, 0, 7, 2**40]))
        by_row = ids is None or self.happens(0.1)
        names = [str(row) if by_row or not 0 <= row < len(ids) else ids[row] for row in rows]
        kind = self.any_of(["text", "csv", "npy", "mask", "odd npy"])
        path = self.folder / f"labeled.{'npy' if kind in ('npy', 'mask', 'odd npy') else 'csv'}"
        if kind == "text":
            path.write_text("".join(f"{name}\n" for name in names), "utf-8")
        elif kind == "csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter=self.any_of([",", ",", ";", "\t"]), lineterminator="\n")
                writer.writerow(["rank", "index", "id"])
                writer.writerows([rank, row, names[rank]] for rank, row in enumerate(rows))
        elif kind == "npy":
            np.save(path, rows if by_row else np.array(names))
        elif kind == "mask":
            np.save(path, np.isin(np.arange(N), rows))
        else:
            np.save(
                path, self.any_of([rows * 0.5, rows[None], rows.astype(str), np.zeros(N, int), rows[:0] * 0.5])
            )
        return self.damaged(path)

    def some_ids(self) -> list[str]:
        """Ids, now and then too few or one twice."""
        signs = ["photo", "=1+2", "-3", "@x", "+", "ä", "a,b", "a;b", '"', "", " ", "\t", "\u2028", "😀", "\0"]
        ids = [f"{self.any_of(signs)}{i}" for i in range(N - self.happens(0.05))]
        if self.happens(0.03):
            ids[-1] = self.any_of([ids[0], "", " "])
        return ids

    def ids(self, ids: list[str]) -> Path:
        """A file with ids, now and then odd or damaged."""
        kind = self.any_of(["text", "csv", "npy"])
        path = self.folder / f"ids.{'npy' if kind == 'npy' else 'txt'}"
        if kind == "text":
            path.write_text("".join(f"{text}\n" for text in ids), "utf-8")
        elif kind == "csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([["row", "ID"], *enumerate(ids)])
        else:
            odd = [text + self.any_of(["\r", "\n", "\r\n", "\ud800"]) for text in ids]
            np.save(path, self.any_of([ids, ids, odd, list(range(len(ids))), [0.5] * N]))
        return self.damaged(path)

    def damaged(self, path: Path) -> Path:
        if self.happens(0.05):
            path.write_bytes(mutated(self.rng, path.read_bytes()))
        return path


@functools.cache
def bytes_for_work(strategy: str, is_explained: bool) -> int:
    """The memory for the work on a pool of float32."""
    pool = {name: np.zeros((N, width), np.float32) for name, width in (("features", D), ("logits", C))}
    inputs = Inputs(**{name: matrix_of(values, name) for name, values in pool.items()})
    return make_task(SelectOptions(K, strategy, explain=is_explained), inputs).work_bytes


def read_matrix(path: Path, name: str) -> np.ndarray:
    """A matrix as NumPy reads it."""
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    return found[name] if name in found.files else found[found.files[0]]


def table_of(path: Path, column: str) -> list[dict[str, str]] | None:
    """The rows of a CSV file whose header has this column, by lower-case names; None of another file."""
    text = path.read_bytes().decode("utf-8-sig")
    for delimiter in ",;\t":
        header, *rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)] or [[]]
        names = [name.strip().lower() for name in header]
        if column in names:
            return [dict(zip(names, row, strict=False)) for row in rows if "".join(row).strip()]
    return None


def read_labeled(path: Path, ids: list[str] | None) -> set[int]:
    """The rows of the pool that a list names, as NumPy, csv and int read them."""
    if path.read_bytes()[:1] == b"\x93":
        found = np.load(path, allow_pickle=False)
        if found.dtype == bool:
            return {*np.flatnonzero(found).tolist()}
        words = [str(entry) for entry in found.tolist()]
    elif (table := table_of(path, "index" if ids is None else "id")) is not None:
        words = [row["index" if ids is None else "id"] for row in table]
    else:
        words = [line.removesuffix("\r") for line in path.read_bytes().decode("utf-8-sig").split("\n")]
        words = [word for word in words if word.strip()]
    return {int(word) for word in words} if ids is None else {ids.index(word) for word in words if word in ids}


def read_ids(path: Path) -> list[str]:
    """Ids as NumPy, csv and Python read them."""
    if path.read_bytes()[:1] == b"\x93":
        return [str(entry) for entry in np.load(path, allow_pickle=False).tolist()]
    if (table := table_of(path, "id")) is not None:
        return [row["id"] for row in table]
    return [line.removesuffix("\r") for line in path.read_bytes().decode("utf-8-sig").split("\n")]


def check_answer(call: Call) -> None:
    """The picks of a call that ended with 0: k distinct rows of the pool, none labeled, with their own ids."""
    given = {name: call.files[name] for name in call.files if any(f"--{name}=" in word for word in call.words)}
    [k] = (int(word.partition("=")[2]) for word in call.words if word.startswith("--k="))
    matrices = [
        read_matrix(given[name], name) for name in ("features", "logits", "probabilities") if name in given
    ]
    [n] = {len(matrix) for matrix in matrices}
    with call.out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    picks = [int(row["index"]) for row in rows]
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(k)]
    assert len({*picks}) == k
    ids = read_ids(given["ids"]) if "ids" in given else None
    assert {*picks} <= {*range(n)} - (read_labeled(given["labeled"], ids) if "labeled" in given else set())
    assert "--explain" in call.words or not {*rows[0]} & {"uncertain_rank", "uncertainty"}
    if ids is not None:
        assert [row["id"] for row in rows] == [ids[pick] for pick in picks]


def check_page(page: Path, call: Call) -> None:
    """A page of a call that ended with 0 lists the picks of the CSV file."""
    with call.out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    header, *lines = Reader(page.read_text("utf-8")).tables["The rows to label, in the order chosen"]
    assert [line[header.index("row")] for line in lines] == [row["index"] for row in rows]


def check_call(call: Call, capsys: pytest.CaptureFixture) -> int:
    """Makes a call and checks what it left. Returns its exit code, or 3 for the option parser's box."""
    names = names_beside(call.out)
    is_kept = call.out.name in names and call.out.is_file()
    before = call.out.read_bytes() if is_kept else None
    outputs = [call.out, *(Path(word.partition("=")[2]) for word in call.words if word.startswith("--page="))]
    try:
        code, is_box = main(["select", *call.words]), False
    except SystemExit as stop:
        code, is_box = stop.code, True
    printed, error = capsys.readouterr()
    assert "Traceback" not in printed + error
    lines = [line for line in error.splitlines() if not line.startswith("badge-jax: warning: ")]
    is_written = code == 0 and not is_box and "--dry-run" not in call.words
    if is_box:
        assert code == 2
        assert error
    elif code == 0:
        assert lines == []
        assert printed.count("\n") == (4 if "--dry-run" in call.words else len(outputs))
    else:
        assert code in (1, 2)
        assert re.fullmatch(r"badge-jax: .+", "\n".join(lines))
        assert printed == ""
    if is_written:
        check_answer(call)
        for page in outputs[1:]:
            check_page(page, call)
    elif is_kept:
        assert call.out.read_bytes() == before
    made = {Path(os.path.realpath(path)).name for path in outputs}
    assert names_beside(call.out) - names <= (made if is_written else set())
    return 3 if is_box else code


def names_beside(path: Path) -> set[str]:
    return {other.name for other in path.parent.iterdir()} if path.parent.is_dir() else set()


@pytest.mark.slow
def test_calls_with_odd_files_and_options(tmp_path, monkeypatch, capsys):
    """BADGE_JAX_TEST_SEED=1 goes on from another seed; BADGE_JAX_TEST_CALL=17 makes that call alone."""
    monkeypatch.chdir(tmp_path)
    seed = int(os.environ.get("BADGE_JAX_TEST_SEED", "0"))
    only = os.environ.get("BADGE_JAX_TEST_CALL")
    (tmp_path / "pool").mkdir()
    maker, codes = Maker(tmp_path / "pool"), []
    for i in range(NUM_CALLS) if only is None else [int(only)]:
        call = maker.call(np.random.default_rng([seed, i]))
        try:
            codes.append(check_call(call, capsys))
        except BaseException:
            print(f"BADGE_JAX_TEST_SEED={seed} BADGE_JAX_TEST_CALL={i}: badge-jax select", *call.words)
            raise
    counts = {name: codes.count(code) for code, name in enumerate(("answers", "1", "2", "boxes"))}
    print(f"BADGE_JAX_TEST_SEED={seed}: {len(codes)} calls, {counts}")
    assert only is not None or counts["answers"] > NUM_CALLS / 5, "too few answers to say anything of them"
