"""Who works on which run: claims on directories of a file system that several machines share.

A claim is a file ``claim-G`` in the run's directory that names machine and process. It is made with O_EXCL,
which is atomic on network file systems too, and touched while its owner lives. It is dead when its process is
gone (same machine) or it has not been touched for two minutes (another). To claim is to look for a live
claim, to make the next one, and to look again: of two who do so at once at least one sees the other and backs
off. Behind the claims stands the lock that a run holds on its directory (flock), for an owner that was
stalled and comes back.
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
    """Yields whether the directory, made if need be, is now this process's own; lets go of it at the end."""
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
    """Whether somebody works on the directory (apart from the claim ``but``)."""
    return any(_is_live(path, now) for path in directory.glob("claim-*") if path != but)


def remove_dead_claims(directory: Path) -> None:
    claims = list(directory.glob("claim-*"))
    now = now_at(directory) if claims else 0.0
    for path in claims:
        if not _is_live(path, now):
            path.unlink(missing_ok=True)


def now_at(directory: Path) -> float:
    """The clock of the directory's file system, which may differ from this machine's."""
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.fstat(file.fileno()).st_mtime


def _make_claim(directory: Path) -> Path | None:
    """The claim after the highest there is; None if somebody else made it first."""
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
    try:
        age = now - claim.stat().st_mtime
        owner = json.loads(claim.read_text())
        if owner["machine"] == _machine():
            return owner["started"] == _started(owner["pid"])
    except FileNotFoundError:  # let go of just now
        return False
    except (ValueError, TypeError, KeyError):  # being written just now
        pass
    return age < STALE_AFTER


def _machine() -> str:
    """Where process numbers mean the same: host, boot and, in containers, the space of process numbers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """When the process started, in the kernel's ticks, so that a number used again is told apart; None if it is
    gone (or dead and not yet buried); its number where the kernel does not say."""
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
    while not done.wait(TOUCHED_EVERY):
        with contextlib.suppress(OSError):
            os.utime(claim)
