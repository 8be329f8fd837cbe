import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from badge_jax.runs import claims
from badge_jax.runs.claims import STALE_AFTER, claimed, remove_dead_claims


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def is_claimed(directory):
    return claims.is_claimed(directory, time.time())


def leave_claim(directory, **changes):
    """As of a worker that was killed: a process that is gone, on this machine."""
    directory.mkdir(exist_ok=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    owner = {"machine": claims._machine(), "pid": gone.pid, "started": "1", **changes}
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
    path = leave_claim(tmp_path / "run", machine="elsewhere")
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


def test_two_who_claim_at_once_back_off(tmp_path, monkeypatch):
    """Each has seen no claim; the other's, under another number, appears only after ours is made."""
    make = claims._make_claim

    def make_both(directory):
        own = make(directory)
        leave_claim(directory, machine="elsewhere")
        return own

    monkeypatch.setattr(claims, "_make_claim", make_both)
    with claimed(tmp_path / "run") as ours:
        assert not ours
    assert names(tmp_path / "run") == ["claim-3"], "the other's stays"


def test_an_owner_that_was_overtaken_leaves_the_newer_claim(tmp_path):
    with claimed(tmp_path / "run"):
        leave_claim(tmp_path / "run", machine="elsewhere")
    assert names(tmp_path / "run") == ["claim-3"]
    remove_dead_claims(tmp_path / "run")
    assert names(tmp_path / "run") == ["claim-3"]


def test_a_process_that_is_dead_but_not_buried_is_gone(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.05)
    assert claims._started(process.pid) is None
    process.wait()


def test_of_many_processes_at_once_at_most_one_succeeds(tmp_path):
    """All may withdraw; a sweep then tries again. The module is imported as a file, without the package: six
    processes that load JAX would not start at once."""
    script = (
        "import sys, time; from pathlib import Path; from claims import claimed\n"
        "while time.time() < float(sys.argv[2]): pass\n"
        "with claimed(Path(sys.argv[1])) as ours: print(int(ours)); time.sleep(4)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(claims.__file__).parent)}
    command = [sys.executable, "-c", script, str(tmp_path / "run"), str(time.time() + 1.0)]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(6)
    ]
    printed = [worker.communicate() for worker in workers]
    assert [errors for _, errors in printed] == [""] * 6
    assert sum(int(text) for text, _ in printed) <= 1


@pytest.mark.parametrize("text", ["claim-x", "claim-"])
def test_odd_names_do_no_harm(tmp_path, text):
    (tmp_path / text).write_text("{")
    with claimed(tmp_path) as ours:
        assert not ours
