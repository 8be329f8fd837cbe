"""Who works on which run: claims on directories of a file system that several machines share.

A claim is a file ``claim-G`` in the run's directory that names host and process; the highest G counts. It is
made with O_EXCL, which is atomic on network file systems too, and touched while its owner lives. A claim whose
process is gone (same host), or which has not been touched for two minutes (any host), is taken over by making
claim G + 1: of several who try, one succeeds, and nothing is ever removed from under its owner.
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
    latest = _latest(directory)
    if latest is not None and _is_live(latest):
        yield False
        return
    own = directory / f"claim-{_generation(latest) + 1}"
    try:
        handle = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        yield False
        return
    with os.fdopen(handle, "w") as file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}, file)
    done = threading.Event()
    threading.Thread(target=_keep_touching, args=(own, done), daemon=True).start()
    try:
        yield True
    finally:
        done.set()
        remove_claims(directory, up_to=own)


def is_claimed(directory: Path) -> bool:
    """Whether somebody works on the directory."""
    latest = _latest(directory)
    return latest is not None and _is_live(latest)


def remove_claims(directory: Path, up_to: Path | None = None) -> None:
    """Removes the directory's claims, or those as old as ``up_to`` and older."""
    for path in directory.glob("claim-*"):
        if up_to is None or _generation(path) <= _generation(up_to):
            path.unlink(missing_ok=True)


def _latest(directory: Path) -> Path | None:
    return max(directory.glob("claim-*"), key=_generation, default=None)


def _generation(path: Path | None) -> int:
    return 0 if path is None else int(re.sub(r"\D", "", path.name) or 0)


def _is_live(claim: Path) -> bool:
    try:
        age = _now(claim.parent) - claim.stat().st_mtime
        owner = json.loads(claim.read_text())
    except FileNotFoundError:  # let go of just now
        return False
    except ValueError:  # being written just now
        return age < STALE_AFTER
    if owner["host"] == socket.gethostname():
        return owner["started"] == _started(owner["pid"])
    return age < STALE_AFTER


def _now(directory: Path) -> float:
    """The file system's clock, which may differ from this machine's."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".now-") as file:
        return Path(file.name).stat().st_mtime


def _started(pid: int) -> str | None:
    """When the process started, in the kernel's ticks, so that a number used again is told apart; None if it is
    gone, or its number where the kernel does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
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
