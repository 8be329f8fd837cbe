"""`run --distributed`: real processes over loopback, and what one process can show of it."""

import dataclasses
import shutil
import signal
import time

import jax.numpy as jnp
import numpy as np
import pytest
from joining import ends_of, kill, lost_partner, start_two
from toy import make_toy, noisy, toy

from badge_jax import STRATEGIES
from badge_jax.cli import main
from badge_jax.data import DATASETS, Source
from badge_jax.errors import InputError
from badge_jax.runs import RunOptions, read_config, read_rounds, run
from badge_jax.runs._run import _description, _prepare
from badge_jax.runs.directory import read_queried, write_rounds
from badge_jax.runs.place import Place
from badge_jax.strategies import Ranked, planned

TIMINGS = ("fit_seconds", "query_seconds", "compile_seconds")
OPTIONS = RunOptions("toy", "mixed", 6, 2, initial=10, seed=3, max_epochs=3, diagnostics=True)


def product(pool):
    """A score of what the network says and of what stays."""
    return jnp.sum(pool.logits * pool.representation[:, :3], axis=1)


def mixed():
    return planned("mixed", Ranked(product), needs=("logits", "representation"))


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", toy(Source(make_toy), 1e-3))
    monkeypatch.setitem(STRATEGIES, "noisy", noisy)
    monkeypatch.setitem(STRATEGIES, "mixed", mixed)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 700 rows in three classes."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "own.npz"
    inputs = rng.normal(size=(700, 6)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(int) + (inputs[:, 1] > 0.3)
    np.savez(path, inputs=inputs, labels=labels)
    return path


def words(data, out, *, rounds=2, epochs=4, **more):
    options = {"dataset": data, "strategy": "margin", "batch_size": 20, "rounds": rounds, "initial": 30}
    options |= {"model": "mlp(hidden=8)", "learning_rate": 0.01, "max_epochs": epochs, "out": out, **more}
    return [str(word) for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]


def results(out):
    """The rounds without what differs from one time to the next."""
    return [{name: line[name] for name in line if name not in TIMINGS} for line in read_rounds(out)]


def check_alike(folder, other):
    """The same batches and classes; sums over rows may be rounded otherwise."""
    rounded = ("test_log_loss", "test_calibration_error", "train_accuracy")
    for found, wanted in zip(results(folder), results(other), strict=True):
        assert found == wanted | {name: pytest.approx(wanted[name], rel=1e-5) for name in rounded}


@pytest.fixture(scope="module")
def shared(data, tmp_path_factory):
    """The folder of a run that two processes made."""
    out = tmp_path_factory.mktemp("shared") / "run"
    assert ends_of(start_two("run", words(data, out), out.parent)) == [(0, ""), (0, "")]
    return out


def test_two_processes_make_the_run_of_one(shared, data, tmp_path):
    """Devices that share a minibatch round otherwise; here that changes no batch and no class."""
    assert main(["run", *words(data, tmp_path / "one")]) == 0
    check_alike(shared, tmp_path / "one")
    environment = read_config(shared)["environment"]
    assert (environment["processes"], environment["devices"]) == (2, 2)


def test_resumed_on_another_number_of_devices(shared, data, tmp_path):
    """From a folder that a kill left; the queried batch is there, its round is not."""
    shutil.copytree(shared, tmp_path / "run")
    lines = read_rounds(shared)
    write_rounds(tmp_path / "run", lines[:-1])
    options = RunOptions(
        str(data), "margin", 20, 2, "mlp(hidden=8)", initial=30, learning_rate=0.01, max_epochs=4
    )
    message = "the number of devices that share the run, and with it the rounding, has changed from 2 to 1"
    with pytest.warns(UserWarning, match=message):
        rounds = run(options, tmp_path / "run", distributed=True)
    assert [line["indices"] for line in rounds] == [line["indices"] for line in lines]
    config, before = read_config(tmp_path / "run"), read_config(shared)
    (resumed,) = config["resumed"]
    assert resumed["round"] == len(lines) - 1
    assert (resumed["environment"]["processes"], resumed["environment"]["devices"]) == (1, 1)
    assert {**config, "resumed": None} == {**before, "resumed": None}, "the rest is as it was"


def test_one_process_alone_and_the_first_batch(tmp_path):
    """A padded pool, a representation and a cold start: on one device nothing is rounded otherwise."""
    options = dataclasses.replace(OPTIONS, cold_start="noisy(embedding=representation)")
    run(options, tmp_path / "plain")
    run(options, tmp_path / "shared", distributed=True)
    check_alike(tmp_path / "shared", tmp_path / "plain")
    one, other = (read_queried(tmp_path / name) for name in ("plain", "shared"))
    assert one.indices.tolist() == other.indices.tolist()
    assert run(options, tmp_path / "shared") == read_rounds(tmp_path / "shared"), "complete already"


def test_the_baseline(tmp_path):
    """`random` has no plan and reads no outputs."""
    lines = run(dataclasses.replace(OPTIONS, strategy="random"), tmp_path / "run", distributed=True)
    plain = run(dataclasses.replace(OPTIONS, strategy="random"), tmp_path / "plain")
    assert [line["num_labeled"] for line in lines] == [line["num_labeled"] for line in plain] == [10, 16, 22]


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("falcun", "strategy falcun has no plan, so it needs the whole pool on one device; wanted it without"),
        ("counting", "strategy counting remembers something from batch to batch; wanted it without --distr"),
    ],
)
def test_what_several_devices_cannot_share(strategy, message, tmp_path, monkeypatch):
    def counting():
        return STRATEGIES["margin"]()._replace(init=lambda n, rounds: jnp.int32(0))

    monkeypatch.setitem(STRATEGIES, "counting", counting)
    with pytest.raises(InputError, match=message):
        run(dataclasses.replace(OPTIONS, strategy=strategy), tmp_path / "run", distributed=True)
    assert not (tmp_path / "run").exists()


def test_other_data_are_seen():
    """What describes the run, and processes compare, is another text for other data and another seed."""
    first = _prepare(OPTIONS, Place())
    assert _description(first) == _description(_prepare(OPTIONS, Place()))
    assert _description(first) != _description(_prepare(dataclasses.replace(OPTIONS, seed=4), Place()))
    for name, row in (("inputs", -1), ("test_inputs", 0), ("labels", 5)):
        array = getattr(first.dataset, name).copy()
        array[row] += 1
        other = first._replace(dataset=first.dataset._replace(**{name: array}))
        assert _description(first) != _description(other), name


def test_options_without_distributed(data, tmp_path, capsys):
    assert main(["run", *words(data, tmp_path / "run"), "--process-id", "0"]) == 2
    error = capsys.readouterr().err
    assert error == "badge-jax: --process-id is given without --distributed; wanted both or neither\n"


def long_words(data, out):
    return words(data, out, rounds=4, epochs=150, strategy="badge")


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """The results of two processes that nothing disturbs, and the seconds that they took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for i in range(2):  # the first compiles
        start = time.monotonic()
        assert ends_of(start_two("run", long_words(data, folder / str(i)), folder)) == [(0, ""), (0, "")]
    assert results(folder / "0") == results(folder / "1")
    return results(folder / "1"), time.monotonic() - start


def end_well(data, out, undisturbed):
    """The same command, given again, ends with what nothing disturbed."""
    assert ends_of(start_two("run", long_words(data, out), out.parent)) == [(0, ""), (0, "")]
    assert results(out) == undisturbed
    assert not [*out.glob("*.tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_process_that_is_killed(seed, data, undisturbed, tmp_path):
    lines, seconds = undisturbed
    rng, out = np.random.default_rng(seed), tmp_path / "run"
    victim, moment = int(rng.integers(2)), rng.uniform(0, seconds)
    processes = start_two("run", long_words(data, out), tmp_path)
    time.sleep(moment)
    processes[victim].kill()
    print(f"process {victim} was killed after {moment:.2f} of {seconds:.2f} s")
    code = lost_partner(processes[1 - victim], time.monotonic())
    assert code == 1 or results(out) == lines
    kill([processes[victim]])
    end_well(data, out, lines)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_hangs(victim, data, undisturbed, tmp_path):
    lines, seconds = undisturbed
    processes = start_two("run", long_words(data, tmp_path / "run"), tmp_path)
    time.sleep(0.7 * seconds)
    processes[victim].send_signal(signal.SIGSTOP)
    try:
        lost_partner(processes[1 - victim], time.monotonic())
    finally:
        kill([processes[victim]])
    end_well(data, tmp_path / "run", lines)
