"""`select --distributed`: real processes over loopback, and what one process can show of it."""

import signal
import socket
import time

import numpy as np
import pytest
from joining import WITHIN, by_hand, by_slurm, ends_of, kill, lost_partner, start_two
from pools import pool_arrays

from badge_jax.cli import main
from badge_jax.errors import InputError
from badge_jax.selection import (
    Inputs,
    SelectOptions,
    make_task,
    matrix_of,
    open_matrix,
    run_distributed,
    run_task,
)
from badge_jax.selection.distributed import _description

N, HALF = 5003, 2560  # rows, and those that the first of two devices holds: the padding is behind the second's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of a pool, with some labeled rows."""
    folder = tmp_path_factory.mktemp("pool")
    arrays = pool_arrays(N)
    arrays["features"] = arrays["features"].astype(np.float16)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    weights = np.exp(arrays["logits"])
    np.save(folder / "probabilities.npy", weights / weights.sum(axis=1, keepdims=True))
    np.save(folder / "labeled.npy", np.arange(0, N, 10))
    return folder


def options_of(folder, out, *more, outputs="logits", k=50):
    files = ["--features", folder / "features.npy", f"--{outputs}", folder / f"{outputs}.npy"]
    return [str(word) for word in ("--k", k, *files, "--out", out, *more)]


@pytest.mark.parametrize(
    ("launch", "outputs", "more"),
    [
        (by_hand, "probabilities", ["--labeled", "labeled.npy", "--seed", "7"]),
        (by_slurm, "logits", ["--strategy", "margin"]),
    ],
    ids=["badge", "margin"],
)
def test_two_processes_choose_what_one_does(launch, outputs, more, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    options = [options_of(folder, tmp_path / name, *more, outputs=outputs) for name in ("two.csv", "one.csv")]
    two, one = tmp_path / "two.csv", tmp_path / "one.csv"
    assert main(["select", *options[1]]) == 0
    if launch is by_slurm:  # as process 0 had written it when another was lost
        one.rename(two)
        there = two.stat()
    assert ends_of(start_two("select", options[0], tmp_path, launch)) == [(0, ""), (0, "")]
    if launch is by_slurm:
        assert two.stat().st_ino == there.st_ino, "already written"
    else:
        assert two.read_text() == one.read_text()
    ends = {f"{name} {rows}" for name in ("--features", f"--{outputs}") for rows in ("0 1", f"{N - 1} {N}")}
    for i, rows in enumerate([f"0 {HALF}", f"{HALF} {N}"]):
        read = {*(tmp_path / f"notes{i}").read_text().splitlines()}
        assert f"--{outputs} {rows}" in read
        assert {line for line in read - ends if not line.endswith(rows)} == set(), "rows of the other process"


def test_an_error_is_that_of_one_process(folder, tmp_path, capsys):
    """Rows that are not finite, which only the second process has."""
    logits = np.load(folder / "logits.npy")
    logits[-3:, 1] = np.nan
    np.save(tmp_path / "logits.npy", logits)
    np.save(tmp_path / "features.npy", np.load(folder / "features.npy"))
    options = options_of(tmp_path, tmp_path / "picks.csv")
    (code, line), silent = ends_of(start_two("select", options, tmp_path))
    assert main(["select", *options]) == code == 2
    assert line == capsys.readouterr().err
    assert "3 of 5003 rows with NaN" in line
    assert silent == (2, "")
    assert not (tmp_path / "picks.csv").exists()


def test_a_file_that_one_process_lacks(folder, tmp_path):
    options = options_of(folder, tmp_path / "picks.csv")
    there = ["--labeled", str(folder / "labeled.npy")]
    ends = ends_of(start_two("select", options, tmp_path, extra=(there, ["--labeled", "none.npy"])))
    line = "badge-jax: --labeled: none.npy does not exist; wanted a .npy file or one row number a line\n"
    assert ends == [(2, line), (2, "")]


def test_the_baseline_needs_no_plan(folder):
    labeled = np.arange(0, N, 2)
    task = make_task(SelectOptions(40, "random"), Inputs(logits=opened(folder, "logits"), labeled=labeled))
    picks = run_distributed(task).indices
    assert len({*picks}) == 40
    assert (picks % 2 == 1).all()


@pytest.mark.slow
def test_other_picks_that_are_there(folder, tmp_path):
    out = tmp_path / "picks.csv"
    out.write_text("rank,index\n0,7\n")
    line = (
        f"badge-jax: --out {out} is there already, perhaps a batch that is being labeled; wanted another name, "
    )
    ends = ends_of(start_two("select", options_of(folder, out), tmp_path))
    assert ends == [(2, line + "or --force to replace it\n"), (2, "")]
    assert out.read_text() == "rank,index\n0,7\n"


def copy_of(folder, tmp_path, row):
    """The logits with another value in a row."""
    logits = np.load(folder / "logits.npy")
    logits[row, 0] += 1
    np.save(tmp_path / "logits.npy", logits)
    return tmp_path / "logits.npy"


@pytest.mark.parametrize(("row", "is_seen"), [(0, True), (N - 1, True), (3, False)])
def test_copies_of_a_file_are_compared_by_a_few_rows(row, is_seen, folder, tmp_path):
    def description(path):
        logits = open_matrix(path, "--logits")
        return _description(make_task(SelectOptions(3, "margin"), Inputs(logits=logits)))

    first, other = description(folder / "logits.npy"), description(copy_of(folder, tmp_path, row))
    assert (first != other) == is_seen


@pytest.mark.slow
def test_processes_with_other_files(folder, tmp_path):
    other = copy_of(folder, tmp_path, -1)
    options = ["--k", "5", "--strategy", "margin", "--out", str(tmp_path / "picks.csv")]
    extra = (["--logits", str(folder / "logits.npy")], ["--logits", str(other)])
    (code, line), silent = ends_of(start_two("select", options, tmp_path, extra=extra))
    assert (code, silent) == (2, (2, ""))
    assert line.startswith("badge-jax: process 1 has other options, files or versions than process 0; wanted")


@pytest.mark.slow
def test_processes_with_other_options(folder, tmp_path):
    options = options_of(folder, tmp_path / "picks.csv")
    (code, line), silent = ends_of(
        start_two("select", options, tmp_path, extra=(["--seed", "1"], ["--seed", "2"]))
    )
    assert (code, silent) == (2, (2, ""))
    assert line.startswith("badge-jax: process 1 has other options, files or versions than process 0; wanted")


def opened(folder, name, file=None):
    return open_matrix(folder / (file or f"{name}.npy"), f"--{name}")


@pytest.mark.parametrize("strategy", ["badge", "badge(first=norm)", "coreset", "margin"])
def test_one_process_alone(strategy, folder):
    inputs = Inputs(opened(folder, "features"), opened(folder, "logits"), labeled=np.arange(0, N, 7))
    task = make_task(SelectOptions(60, strategy, 2**32 - 1), inputs)
    assert run_distributed(task).indices.tolist() == run_task(task).indices.tolist()


def test_remarks_are_the_same(folder, tmp_path):
    np.save(tmp_path / "same.npy", np.ones((N, 4), np.float32))
    inputs = Inputs(opened(tmp_path, "features", "same.npy"), opened(folder, "logits", "probabilities.npy"))
    task = make_task(SelectOptions(3, "coreset"), inputs)
    remarks = run_distributed(task).remarks
    assert remarks == [
        f"--features: all {N} rows are the same",
        "2 of the 3 picks are copies of earlier picks; unique = 1 leaves them out",
    ]
    task = make_task(SelectOptions(3, "margin"), inputs)
    assert run_distributed(task).remarks == run_task(task).remarks
    assert "every row looks like probabilities" in run_task(task).remarks[0]


def test_what_is_refused(folder, tmp_path):
    logits = np.load(folder / "logits.npy")
    np.savez(tmp_path / "stored.npz", logits=logits)
    np.savez_compressed(tmp_path / "packed.npz", logits=logits)
    np.save(tmp_path / "columns.npy", np.asfortranarray(logits))
    in_order = "wanted a .npy file in C order, so that a process reads its own rows"
    for file, found in (
        ("stored.npz", "in an archive"),
        ("packed.npz", "compressed"),
        ("columns.npy", "in Fortran order"),
    ):
        task = make_task(SelectOptions(3, "margin"), Inputs(logits=opened(tmp_path, "logits", file)))
        with pytest.raises(InputError, match=f"--logits is {found}; {in_order}"):
            run_distributed(task)
    here = matrix_of(logits, "logits")
    with pytest.raises(InputError, match=f"logits is no file; {in_order}"):
        run_distributed(make_task(SelectOptions(3, "margin"), Inputs(logits=here)))
    inputs = Inputs(opened(folder, "features"), opened(folder, "logits"))
    for strategy in ("falcun", "stochastic"):
        with pytest.raises(InputError, match=f"strategy {strategy} has no plan, so it needs the whole pool in"):
            run_distributed(make_task(SelectOptions(3, strategy), inputs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-processes", "2"], "--num-processes is given without --distributed; wanted both or neither"),
        (["--distributed", "--coordinator", "here"], "--coordinator is 'here'; wanted HOST:PORT"),
        (["--distributed", "--num-processes", "0"], "--num-processes is 0; wanted 1 or more"),
        (["--distributed", "--num-processes", "2", "--process-id", "2"], "--process-id is 2; wanted 0 to 1"),
        (["--distributed", "--process-id", "-1"], "--process-id is -1; wanted 0 or more"),
    ],
)
def test_options_that_cannot_be(options, message, folder, tmp_path, capsys):
    assert main(["select", *options_of(folder, tmp_path / "picks.csv"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("option", [["--explain"], ["--memory", "1GB"], ["--dry-run"]])
def test_options_of_one_process(option, folder, tmp_path):
    ends = ends_of(start_two("select", options_of(folder, tmp_path / "picks.csv", *option), tmp_path))
    line = f"badge-jax: {option[0]} is for a single process; wanted it without --distributed\n"
    assert ends == [(2, line), (2, "")]


@pytest.mark.slow
def test_no_launcher(folder, tmp_path):
    [(code, line), _] = ends_of(
        start_two("select", options_of(folder, tmp_path / "picks.csv"), tmp_path, lambda port, i: ([], {}))
    )
    assert code == 2
    assert line.startswith("badge-jax: JAX finds no job of SLURM, Open MPI or Kubernetes here (")
    assert line.endswith("; wanted one, or --coordinator HOST:PORT --num-processes N --process-id I\n")


@pytest.mark.slow
def test_a_port_that_is_taken(folder, tmp_path):
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        port = listener.getsockname()[1]
        first, second = start_two(
            "select", options_of(folder, tmp_path / "picks.csv"), tmp_path, lambda _, i: by_hand(port, i)
        )
        kill([second])
        [(code, line)] = ends_of([first])
    assert code == 1
    assert line.startswith(f"badge-jax: process 0 cannot listen at 127.0.0.1:{port} (")
    assert line.count("\n") == 1


def long_options(folder, out):
    return options_of(folder, out, "--strategy", "badge", k=2000)


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    """The picks of two processes that nothing disturbs, and the seconds that they took."""
    out = tmp_path_factory.mktemp("undisturbed")
    for _ in range(2):  # the first compiles; the second finds its picks there
        start = time.monotonic()
        assert ends_of(start_two("select", long_options(folder, out / "picks.csv"), out)) == [(0, ""), (0, "")]
    return (out / "picks.csv").read_bytes(), time.monotonic() - start


def check_lost(survivor, lost_at, out, picks):
    """The process has ended in time, in one line; the file is whole or is not there."""
    code = lost_partner(survivor, lost_at)
    assert out.exists() or code == 1
    assert not out.exists() or out.read_bytes() == picks


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_process_that_is_killed(seed, folder, undisturbed, tmp_path):
    picks, seconds = undisturbed
    rng, out = np.random.default_rng(seed), tmp_path / "picks.csv"
    victim, moment = int(rng.integers(2)), rng.uniform(0, seconds)
    processes = start_two("select", long_options(folder, out), tmp_path)
    time.sleep(moment)
    processes[victim].kill()
    print(f"process {victim} was killed after {moment:.2f} of {seconds:.2f} s")
    check_lost(processes[1 - victim], time.monotonic(), out, picks)
    kill([processes[victim]])
    assert ends_of(start_two("select", long_options(folder, out), tmp_path)) == [(0, ""), (0, "")]
    assert out.read_bytes() == picks


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_process_that_hangs(victim, share, folder, undisturbed, tmp_path):
    picks, seconds = undisturbed
    out = tmp_path / "picks.csv"
    processes = start_two("select", long_options(folder, out), tmp_path)
    time.sleep(share * seconds)
    processes[victim].send_signal(signal.SIGSTOP)
    try:
        check_lost(processes[1 - victim], time.monotonic(), out, picks)
    finally:
        kill([processes[victim]])


@pytest.mark.slow
def test_sigterm_ends_a_process(folder, undisturbed, tmp_path):
    picks, seconds = undisturbed
    for part in (1 / 2, 1 / 4, 1 / 8):  # earlier, if the machine has become so fast that all is done
        first, second = start_two("select", long_options(folder, tmp_path / "picks.csv"), tmp_path)
        time.sleep(seconds * part)
        if first.poll() is None:
            break
        ends_of([first, second])
    first.terminate()
    assert first.wait(timeout=30) == -signal.SIGTERM
    check_lost(second, time.monotonic(), tmp_path / "picks.csv", picks)
    kill([first])


@pytest.mark.slow
@pytest.mark.parametrize("i", [0, 1])
def test_a_process_whose_partner_never_comes(i, folder, tmp_path):
    start = time.monotonic()
    processes = start_two("select", options_of(folder, tmp_path / "picks.csv"), tmp_path)
    kill([processes[1 - i]])
    [(code, line)] = ends_of([processes[i]])
    assert time.monotonic() - start < WITHIN
    assert code == 1
    assert line.startswith(
        "badge-jax: not all processes came within 45 s; wanted as many as there are to be, each"
    )
    assert line.count("\n") == 1
