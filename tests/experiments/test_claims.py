import json
import os
import socket
import subprocess
import sys
import time

import pytest
from claims import STALE_AFTER, claimed, is_claimed, remove_claims


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def leave_claim(directory, **changes):
    """As of a worker that was killed: a process that is gone, on this machine."""
    directory.mkdir(exist_ok=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    owner = {"host": socket.gethostname(), "pid": gone.pid, "started": "1", **changes}
    path = directory / "claim-3"
    path.write_text(json.dumps(owner))
    return path


def test_one_at_a_time_and_nothing_left_behind(tmp_path):
    with claimed(tmp_path / "run") as ours:
        assert ours
        assert is_claimed(tmp_path / "run")
        with claimed(tmp_path / "run") as theirs:
            assert not theirs
        assert is_claimed(tmp_path / "run")
    assert not is_claimed(tmp_path / "run")
    assert names(tmp_path / "run") == []


def test_a_dead_workers_claim_is_taken_over(tmp_path):
    leave_claim(tmp_path / "run")
    assert not is_claimed(tmp_path / "run")
    with claimed(tmp_path / "run") as ours:
        assert ours
        assert names(tmp_path / "run") == ["claim-3", "claim-4"]
    assert names(tmp_path / "run") == []


def test_a_number_used_again_is_told_apart(tmp_path):
    leave_claim(tmp_path / "run", pid=os.getpid())
    assert not is_claimed(tmp_path / "run")


def test_another_machines_claim_counts_while_it_is_touched(tmp_path):
    path = leave_claim(tmp_path / "run", host="elsewhere")
    with claimed(tmp_path / "run") as ours:
        assert not ours
    past = time.time() - STALE_AFTER - 5
    os.utime(path, (past, past))
    with claimed(tmp_path / "run") as ours:
        assert ours


def test_a_claim_being_written_counts(tmp_path):
    leave_claim(tmp_path / "run").write_text("")
    assert is_claimed(tmp_path / "run")


def test_of_two_who_take_over_one_succeeds(tmp_path, monkeypatch):
    """The other has made the next claim between our look and our attempt."""
    leave_claim(tmp_path / "run")
    open_file = os.open

    def too_late(path, *args):
        if str(path).endswith("claim-4"):
            (tmp_path / "run" / "claim-4").write_text("theirs")
        return open_file(path, *args)

    monkeypatch.setattr(os, "open", too_late)
    with claimed(tmp_path / "run") as ours:
        assert not ours
    assert (tmp_path / "run" / "claim-4").read_text() == "theirs"


def test_an_owner_that_was_overtaken_leaves_the_newer_claim(tmp_path):
    with claimed(tmp_path / "run"):
        (tmp_path / "run" / "claim-2").write_text("theirs")
    assert names(tmp_path / "run") == ["claim-2"]
    remove_claims(tmp_path / "run")
    assert names(tmp_path / "run") == []


def test_many_processes_one_winner(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from claims import claimed\n"
        "while time.time() < float(sys.argv[2]): pass\n"
        "with claimed(Path(sys.argv[1])) as ours: print(int(ours)); time.sleep(1.5)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for trial in range(2):
        at = str(time.time() + 1.0)
        command = [sys.executable, "-c", script, str(tmp_path / f"run{trial}"), at]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(6)]
        assert sum(int(worker.communicate()[0]) for worker in workers) == 1


@pytest.mark.parametrize("text", ["claim-x", "claim-"])
def test_odd_names_do_no_harm(tmp_path, text):
    (tmp_path / text).write_text("{")
    with claimed(tmp_path) as ours:
        assert not ours
