"""What `run` calls after each round: in order, from disk, and without a way to harm the run."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from toy import make_toy, toy

from badge_jax import run
from badge_jax.data import DATASETS, Source
from badge_jax.runs import RunOptions, read_rounds

OPTIONS = RunOptions("toy", "random", batch_size=5, rounds=2, model="linear", initial=6, max_epochs=2)
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "experiments.md").read_text("utf-8")


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    """Also under the name that the page uses."""
    monkeypatch.setitem(DATASETS, "toy", toy(Source(make_toy), 1e-3))
    monkeypatch.setitem(DATASETS, "kropt", toy(Source(make_toy), 1e-3))


def test_several_are_called_in_turn_after_each_round_is_on_disk(tmp_path):
    seen = []

    def first(line):
        seen.append(("first", line["round"], len(read_rounds(tmp_path))))
        line["indices"].clear()  # a dict of its own: nothing else sees this

    def second(line):
        seen.append(("second", line["round"], len(line["indices"])))

    lines = run(OPTIONS, tmp_path, on_round=(first, second))
    sizes = {0: 6, 1: 5, 2: 5}
    assert seen == [call for t in range(3) for call in (("first", t, t + 1), ("second", t, sizes[t]))]
    assert [len(line["indices"]) for line in lines] == [6, 5, 5]
    assert read_rounds(tmp_path) == lines


def test_what_one_raises_is_a_warning_and_the_others_are_called(tmp_path):
    seen = []

    def offline(line):
        if line["round"] == 1:
            raise ConnectionError("no route\nto host")

    with pytest.warns(
        UserWarning, match=r"offline failed at round 1 \(ConnectionError: no route to host\)"
    ) as found:
        lines = run(OPTIONS, tmp_path, on_round=[offline, seen.append])
    assert len(found) == 1
    assert seen == lines == read_rounds(tmp_path)
    assert len(lines) == 3


def test_an_interrupt_ends_the_run_and_loses_no_round(tmp_path):
    def stop(line):
        if line["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(OPTIONS, tmp_path, on_round=stop)
    assert len(read_rounds(tmp_path)) == 2
    seen = []
    assert run(OPTIONS, tmp_path, on_round=seen.append) == seen
    assert len(seen) == 3


class FakeWriter:
    """`tensorboardX.SummaryWriter` as far as the page uses it."""

    def __init__(self, logdir):
        self.scalars = []

    def add_scalar(self, tag, scalar_value, global_step):
        self.scalars.append((tag, float(scalar_value), int(global_step)))

    def flush(self):
        pass


class FakeTracked:
    """What `wandb.init` returns, as far as the page uses it."""

    def __init__(self, project, config):
        self.config, self.logged, self.is_finished = config, [], False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.is_finished = True

    def log(self, data, step):
        assert all(isinstance(value, (int, float)) for value in data.values())
        self.logged.append((step, data))


def run_example(package, monkeypatch, tmp_path, **members):
    """Runs the page's example with the real package where it is installed; else with a fake one."""
    is_installed = importlib.util.find_spec(package) is not None
    if not is_installed:
        module = ModuleType(package)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, package, module)
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL) if f" {package}" in block)
    namespace = {}
    exec(compile(block, f"docs/experiments.md, {package}", "exec"), namespace)
    return namespace, is_installed


def test_the_example_for_tensorboard(monkeypatch, tmp_path):
    names, is_real = run_example("tensorboardX", monkeypatch, tmp_path, SummaryWriter=FakeWriter)
    lines = read_rounds(tmp_path / "runs" / "logged")
    assert len(lines) == 4
    if is_real:
        assert [*(tmp_path / "runs" / "logged" / "tensorboard").glob("events*")]
        return
    for name in ("test_accuracy", "test_log_loss", "fit_seconds"):
        found = [(value, step) for tag, value, step in names["writer"].scalars if tag == name]
        assert found == [(line[name], line["num_labeled"]) for line in lines]


def test_the_example_for_weights_and_biases(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    names, is_real = run_example("wandb", monkeypatch, tmp_path, init=FakeTracked)
    lines = read_rounds(tmp_path / "runs" / "tracked")
    assert len(lines) == 4
    if is_real:
        return
    tracked = names["tracked"]
    assert tracked.is_finished
    assert tracked.config["strategy"] == "margin"
    assert [step for step, _ in tracked.logged] == [0, 1, 2, 3]
    for (_, data), line in zip(tracked.logged, lines, strict=True):
        assert data["test_macro_f1"] == line["test_macro_f1"]
        assert "indices" not in data
