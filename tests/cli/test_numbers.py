"""Numbers in options: the digits 0 to 9 and nothing else, in every option of every command."""

from dataclasses import fields
from typing import get_args

import pytest

from badge_jax.cli import main
from badge_jax.cli._main import _parse
from badge_jax.cli.numbers import num_bytes
from badge_jax.cli.run import Run
from badge_jax.cli.select import Select
from badge_jax.cli.sweep import Sweep, shard_of
from badge_jax.errors import InputError

REQUIRED = {
    "run": ["--dataset=kropt", "--strategy=margin", "--batch-size=5", "--rounds=1", "--out=o"],
    "sweep": ["--dataset=kropt", "--strategy=margin", "--batch-size=5", "--rounds=1", "--out=o"],
    "select": ["--k=5", "--features=f.npy", "--out=o.csv"],
}


def options_of(kind, *numbers):
    """The fields that hold numbers of a type, at any depth: int, int | None, tuple[int, ...]."""
    return [field.name for field in fields(kind) if {field.type, *get_args(field.type)} & {*numbers}]


NUMBERS = [
    (command, name) for command, kind in zip(REQUIRED, (Run, Sweep, Select), strict=True)
    for name in options_of(kind, int, float)
]  # fmt: skip


def with_option(command, name, text):
    flag = f"--{name.replace('_', '-')}"
    return [command, *(word for word in REQUIRED[command] if not word.startswith(f"{flag}=")), f"{flag}={text}"]


@pytest.mark.parametrize(("command", "name"), NUMBERS)
def test_what_python_alone_takes_for_a_number(command, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for text in ("1_0", "٣", "１", "0x10"):
        with pytest.raises(SystemExit) as stop:
            main(with_option(command, name, text))
        assert stop.value.code == 2
        assert text in capsys.readouterr().err
    assert getattr(_parse(with_option(command, name, "+7")), name) in (7, (7,))
    assert list(tmp_path.iterdir()) == []


def test_there_are_such_options():
    assert {("select", "k"), ("sweep", "batch_size"), ("run", "learning_rate"), ("run", "seed")} < {*NUMBERS}


def test_sizes():
    sizes = {"4GB": 4e9, "500 mb": 5e8, "1.5GiB": 1.5 * 2**30, "77": 77, "2k": 2000}
    for text, size in sizes.items():
        assert num_bytes(text, "--memory") == size
    for text in ("１GB", "٣GB", "1_0MB", "1\u212a", "1iB", "-1GB", "", "GB", "1e3"):
        with pytest.raises(InputError, match="wanted a size such as 4GB"):
            num_bytes(text, "--memory")


def test_parts_of_a_grid():
    assert shard_of("3/8") == (3, 8)
    for text in ("0/٣", "٠/3", "3/3", "0/", "1_0/20"):
        with pytest.raises(InputError, match="wanted i/n"):
            shard_of(text)
