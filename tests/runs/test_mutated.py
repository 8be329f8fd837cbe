"""Run folders with one file changed at random: each is refused in one line, or no number changes.

What a change may do is judged by plain json of the files as they were, not by the package's readers. A report
may show the options and the rounds as they were at some time: a file that ends after a whole line is what it
was a round earlier. A resumed run must end with the numbers of an undisturbed one.

``BADGE_JAX_MUTATIONS`` says how many, ``BADGE_JAX_FUZZ_SEED`` from which seed. A failure prints the seed and
the number of the mutation, which is made again from these two alone.
"""

import dataclasses
import functools
import io
import json
import os
import shutil
import warnings
from collections import Counter
from typing import NamedTuple

import jax
import numpy as np
import pytest
from toy import make_toy, toy

from badge_jax import load_rounds, run
from badge_jax.data import DATASETS, Source
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.runs import RunOptions, _run

SEED = int(os.environ.get("BADGE_JAX_FUZZ_SEED", "0"))
NUM_MUTATIONS = int(os.environ.get("BADGE_JAX_MUTATIONS", "2000"))
TIMINGS = ("fit_seconds", "query_seconds", "compile_seconds", "check")
FILES = ("config.json", "rounds.jsonl", "per_class.jsonl", "state.npz")
OPTIONS = RunOptions("toy", "margin", batch_size=5, rounds=2, model="linear", initial=6, max_epochs=2)
RUNS = {  # another differs from stateless in what decides the numbers, and in nothing that a report calls it by
    name: dataclasses.replace(OPTIONS, **changes)
    for name, changes in {
        "stateless": {},
        "stateful": {"strategy": "albl"},
        "another": {"learning_rate": 1e-2},
        "another seed": {"seed": 1},
    }.items()
}


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", toy(Source(make_toy, 64), 1e-3))


@pytest.fixture(autouse=True)
def _prepared_once(monkeypatch, tmp_path):
    """Programs are traced and compiled once for all attempts; no attempt leaves anything in them."""
    monkeypatch.setattr(_run, "_prepare", functools.cache(_run._prepare))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    yield
    jax.config.update("jax_compilation_cache_dir", None)


def numbers_of(text):
    """The rounds in a file, without timings."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


# mutations: (generator, content, the same file of other runs) -> content, or None to delete


def flip(rng, content, others):
    changed = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 4)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def overwrite(rng, content, others):
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 200))
    return content[:start] + rng.bytes(min(length, len(content) - start)) + content[start + length :]


def insert(rng, content, others):
    start = int(rng.integers(len(content) + 1))
    return content[:start] + rng.bytes(int(rng.integers(1, 9))) + content[start:]


def cut(rng, content, others):
    return content[: int(rng.integers(len(content)))]


def delete(rng, content, others):
    return None


def copy(rng, content, others):
    return others[int(rng.integers(len(others)))]


def of_lines(change):
    """A mutation of a text file's lines."""

    def mutate(rng, content, others):
        lines = content.splitlines(keepends=True)
        change(rng, lines, [other.splitlines(keepends=True) for other in others])
        return b"".join(lines)

    mutate.__name__ = change.__name__
    return mutate


@of_lines
def swap_lines(rng, lines, others):
    first, second = rng.choice(len(lines), 2, replace=False)
    lines[first], lines[second] = lines[second], lines[first]


@of_lines
def remove_line(rng, lines, others):
    del lines[int(rng.integers(len(lines)))]


@of_lines
def repeat_line(rng, lines, others):
    place = int(rng.integers(len(lines)))
    lines.insert(place, lines[place])


@of_lines
def copy_line(rng, lines, others):
    theirs = others[int(rng.integers(len(others)))]
    place = int(rng.integers(min(len(lines), len(theirs))))
    lines[place] = theirs[place]


def other_value(rng, value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + int(rng.choice([-1000, -7, -1, 1, 2, 50, 10**6]))
    if isinstance(value, float):
        return float(rng.choice([value + 0.125, value / 2 + 0.01, -value - 1, 1e300, np.nan]))
    if isinstance(value, str):
        return rng.choice([value + "x", value[:-1] or "y", "badge", value.upper() + "z"]).item()
    return [0] if value is None else 0


def change_leaf(rng, value):
    """The value with something in it changed."""
    if isinstance(value, (dict, list)) and value:
        names = list(value) if isinstance(value, dict) else range(len(value))
        name = names[int(rng.integers(len(names)))]
        changed = dict(value) if isinstance(value, dict) else list(value)
        changed[name] = change_leaf(rng, value[name])
        return changed
    return {"a": 1} if value == {} else [1] if value == [] else other_value(rng, value)


def change_field(rng, content, others):
    if not content.startswith(b"{\n"):  # rounds.jsonl
        lines = content.splitlines()
        place = int(rng.integers(len(lines)))
        lines[place] = json.dumps(change_leaf(rng, json.loads(lines[place]))).encode()
        return b"\n".join(lines) + b"\n"
    return json.dumps(change_leaf(rng, json.loads(content)), indent=2).encode()


def lose_field(rng, content, others):
    lines = [content] if content.startswith(b"{\n") else content.splitlines()
    place = int(rng.integers(len(lines)))
    value = json.loads(lines[place])
    del value[list(value)[int(rng.integers(len(value)))]]
    lines[place] = json.dumps(value).encode()
    return b"\n".join(lines)


def change_array(rng, content, others):
    arrays = arrays_of(content)
    name = list(arrays)[int(rng.integers(len(arrays)))]
    array = np.array(arrays[name])
    if array.size == 0:
        array = np.ones(2, array.dtype)
    elif array.dtype.kind == "U":
        array = np.array(str(array)[:-1] + "z")
    elif rng.random() < 0.2:
        array = array.astype(np.int64 if array.dtype != np.int64 else np.float32)
    else:
        array.flat[int(rng.integers(array.size))] += 1
    return npz_of({**arrays, name: array})


def lose_array(rng, content, others):
    arrays = arrays_of(content)
    del arrays[list(arrays)[int(rng.integers(len(arrays)))]]
    return npz_of(arrays)


def copy_array(rng, content, others):
    arrays, theirs = arrays_of(content), arrays_of(others[int(rng.integers(len(others)))])
    name = list(theirs)[int(rng.integers(len(theirs)))]
    return npz_of({**arrays, name: theirs[name]})


def arrays_of(content):
    with np.load(io.BytesIO(content)) as file:
        return dict(file)


def npz_of(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


_OF_BYTES = (flip, overwrite, insert, cut, delete, copy)
_OF_TEXT = (swap_lines, remove_line, repeat_line, copy_line, change_field, change_field, lose_field)
_OF_ARRAYS = (change_array, change_array, lose_array, copy_array)
MUTATIONS = {
    "config.json": (*_OF_BYTES, *_OF_TEXT),
    "rounds.jsonl": (*_OF_BYTES, *_OF_TEXT),
    "per_class.jsonl": (*_OF_BYTES, *_OF_TEXT),
    "state.npz": (*_OF_BYTES, *_OF_ARRAYS),
}


class Original(NamedTuple):
    """A run's files when it had one round less, as it is, and with one round more."""

    options: RunOptions
    snapshots: list[dict[str, bytes]]

    @property
    def files(self):
        return self.snapshots[1]

    @property
    def numbers(self):
        """Of all rounds, at the end."""
        return numbers_of(self.snapshots[2]["rounds.jsonl"])

    def might_show(self, rounds):
        """Whether these are what `load_rounds` may make of the run: options and rounds as they once were."""
        lines = [json.loads(line) for line in self.snapshots[2]["rounds.jsonl"].splitlines()]
        shown = [{name: value for name, value in line.items() if name != "check"} for line in lines]
        for snapshot in self.snapshots:
            options = json.loads(snapshot["config.json"])
            plain = {
                name: value
                for name, value in options.items()
                if name not in ("environment", "check") and not isinstance(value, (dict, list))
            }
            if rounds == [{**plain, **line} for line in shown[: len(rounds)]]:
                return True
        return False


def make_original(options, folder):
    snapshots = []
    for rounds in (1, 2, 3):
        run(dataclasses.replace(options, rounds=rounds), folder)
        snapshots.append({name: (folder / name).read_bytes() for name in FILES})
    return Original(options, snapshots)


def attempt(read):
    """What a reader returns, or the message with which it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return read(), None
        except (InputError, EnvironmentFailure) as error:
            refusal = str(error)
    assert "\n" not in refusal
    return None, refusal


def mutate(originals, rng, folder):
    """Writes a run with one file changed. Returns the run, and what was done to it in words."""
    kinds = [kind for kind in originals if not kind.startswith("another")]
    kind = kinds[int(rng.integers(len(kinds)))]
    original = originals[kind]
    name = str(rng.choice(FILES, p=[0.25, 0.4, 0.15, 0.2]))
    mutation = MUTATIONS[name][int(rng.integers(len(MUTATIONS[name])))]
    others = [other.files[name] for other in originals.values() if other is not original]
    others += [original.snapshots[0][name], original.snapshots[2][name]]
    folder.mkdir()
    for file, content in original.files.items():
        (folder / file).write_bytes(content)
    content = mutation(rng, original.files[name], others)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return original, f"{mutation.__name__} of {name}, {kind}"


@pytest.mark.slow
def test_each_mutation_is_refused_or_harmless(tmp_path):
    originals = {name: make_original(options, tmp_path / name) for name, options in RUNS.items()}
    outcomes = Counter()
    for number in range(NUM_MUTATIONS):
        folder = tmp_path / "mutated"
        original, what = mutate(originals, np.random.default_rng([SEED, number]), folder)
        where = f"BADGE_JAX_FUZZ_SEED={SEED}, mutation {number}: {what}"
        try:
            rounds, refusal = attempt(lambda folder=folder: load_rounds(folder))
            if refusal is None:
                shown = [{k: v for k, v in line.items() if k != "directory"} for line in rounds]
                assert original.might_show(shown), "a report shows other numbers"
            longer = dataclasses.replace(original.options, rounds=3)
            file = folder / "rounds.jsonl"
            num_before = len(file.read_bytes().splitlines()) if file.exists() else 0
            _, stop = attempt(lambda folder=folder, longer=longer: run(longer, folder))
            if stop is None:
                assert numbers_of((folder / "rounds.jsonl").read_bytes()) == original.numbers, "resumed wrongly"
                by_class = (folder / "per_class.jsonl").read_bytes()
                whole = original.snapshots[2]["per_class.jsonl"]
                # with the rounds of later there was nothing to do
                assert by_class == whole or num_before == 4, "resumed wrongly by class"
        except BaseException:
            print(f"failed: {where}")
            raise
        outcomes["report: refused" if refusal else "report: harmless"] += 1
        outcomes["resumed: refused" if stop else "resumed: harmless"] += 1
        shutil.rmtree(folder)
    print(f"seed {SEED}, {NUM_MUTATIONS} mutations: {dict(sorted(outcomes.items()))}")
    assert len(outcomes) == 4, outcomes
