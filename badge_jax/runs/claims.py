"""Claims of processes on run directories, in a file system that several machines may share.

A claim is a file ``claim-G`` in the run's directory that names the machine and the process of its owner. It is
created with O_EXCL, which is atomic on network file systems too, and touched regularly while its owner lives. A
claim is dead if its process has ended (on this machine) or if it has not been touched for two minutes (on
another machine).

A process that wants a directory looks for a live claim, creates the next claim, and looks again. If two do so
at the same time, at least one sees the other's claim and withdraws. A stalled owner may come back after its
claim is dead; for this case a run also holds a lock on its directory (flock).
"""

import contextlib
import json
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

TOUCHED_EVERY, STALE_AFTER = 15.0, 120.0  # seconds


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[bool]:
    """Claims a directory for the time of a ``with`` block.

    Args:
        directory: of the run; created if it does not exist.

    Yields:
        Whether this process holds the claim. False: another process works on the directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    own = None if is_claimed(directory, now_at(directory)) else _make_claim(directory)
    if own is None:
        yield False
        return
    done = threading.Event()
    toucher = threading.Thread(target=_keep_touching, args=(own, done), daemon=True)
    try:
        is_ours = not is_claimed(directory, now_at(directory), but=own)
        if is_ours:
            toucher.start()
        yield is_ours
    finally:
        done.set()
        own.unlink(missing_ok=True)
        remove_dead_claims(directory)


def is_claimed(directory: Path, now: float, but: Path | None = None) -> bool:
    """Whether a process works on the directory.

    Args:
        directory: of the run.
        now: time in seconds, from `now_at`.
        but: path of a claim that does not count.

    Returns:
        Whether there is a live claim.
    """
    return any(_is_live(path, now) for path in directory.glob("claim-*") if path != but)


def remove_dead_claims(directory: Path) -> None:
    """Deletes the claims whose owners are gone."""
    claims = list(directory.glob("claim-*"))
    now = now_at(directory) if claims else 0.0
    for path in claims:
        if not _is_live(path, now):
            path.unlink(missing_ok=True)


def now_at(directory: Path) -> float:
    """The time of the directory's file system, in seconds; its clock may differ from this machine's."""
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_mtime


def _make_claim(directory: Path) -> Path | None:
    """Creates the claim with the next number; None if another process created it first."""
    generations = [int(re.sub(r"\D", "", path.name) or 0) for path in directory.glob("claim-*")]
    own = directory / f"claim-{max(generations, default=0) + 1}"
    try:
        handle = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return None
    with os.fdopen(handle, "w") as file:
        json.dump({"machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}, file)
    return own


def _is_live(claim: Path, now: float) -> bool:
    """Whether the owner of a claim still runs, or touched it recently where this machine cannot know."""
    try:
        age = now - claim.stat().st_mtime
        owner = json.loads(claim.read_text())
        if owner["machine"] == _machine():
            return owner["started"] == _started(owner["pid"])
    except FileNotFoundError:  # its owner deleted it just now
        return False
    except (ValueError, TypeError, KeyError):  # its owner is writing it just now
        pass
    return age < STALE_AFTER


def _machine() -> str:
    """Names the space of process numbers: host, boot and, in containers, the process namespace."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; a reused process number has another start.

    Returns:
        None if the process has ended or is a zombie. Its number if it runs and the kernel has no ``/proc``.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return str(pid)
    return None


def _keep_touching(claim: Path, done: threading.Event) -> None:
    """Touches a claim regularly until ``done`` is set."""
    while not done.wait(TOUCHED_EVERY):
        with contextlib.suppress(OSError):
            os.utime(claim)
