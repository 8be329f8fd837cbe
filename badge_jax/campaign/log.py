"""The log of a campaign: one JSON object a line, each with a checksum that covers the lines before it.

Lines are only ever appended. A process that is killed while it writes leaves a last line that is cut off: it is
dropped, since nobody was told that it was taken. Anything else that does not have its checksum is damage.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from badge_jax.errors import InputError
from badge_jax.records import line_checksum, parse_object


class Log(NamedTuple):
    """What a log says, and where its next line goes.

    Attributes:
        lines: the objects, without their checksums.
        size: bytes of the file that count.
        check: checksum of the last line; 0 for none.
        is_cut: whether a last line that was cut off was dropped.
        lacks_end: whether the last line that counts has no line end.
    """

    lines: list[dict[str, Any]]
    size: int = 0
    check: int = 0
    is_cut: bool = False
    lacks_end: bool = False


def read_log(path: Path, identity: str) -> Log:
    """Reads a log; one that does not exist has no lines.

    Args:
        path: of the file.
        identity: what the log belongs to.

    Raises:
        InputError: if a line before the last, or one with a line end, does not have its checksum.
    """
    if not path.exists():
        return Log([])
    *whole, rest = path.read_bytes().split(b"\n")
    log = Log([])
    for text in whole:
        try:
            log = _with_line(log, text, identity)
        except ValueError as error:
            raise InputError(
                f"{path} is damaged (line {len(log.lines) + 1}: {error}); put back a copy of it"
            ) from None
    if not rest:
        return log
    try:
        return _with_line(log, rest, identity)._replace(size=log.size + len(rest), lacks_end=True)
    except ValueError:
        return log._replace(is_cut=True)


def append_line(path: Path, log: Log, line: Mapping[str, Any], identity: str) -> Log:
    """Appends a line, and returns once it is on the disk.

    Args:
        path: of the file.
        log: what `read_log` or the last `append_line` returned.
        line: an object.
        identity: as in `read_log`.

    Raises:
        OSError: naming ``path``, when it cannot be written. The log is as it was.
    """
    check = line_checksum(line, _chained(log, identity))
    content = (json.dumps({**line, "check": check}) + "\n").encode()
    if log.lacks_end:
        content = b"\n" + content
    try:
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate(log.size)  # what was cut off goes
            file.seek(log.size)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, log.size)
        error.filename, error.filename2 = str(path), None
        raise
    return Log([*log.lines, dict(line)], log.size + len(content), check)


def _with_line(log: Log, text: bytes, identity: str) -> Log:
    """The log with one more line. Raises ValueError for one that is not as it was written."""
    line = parse_object(text)
    check = line.pop("check", None)
    if check != line_checksum(line, _chained(log, identity)):
        raise ValueError("it does not have its checksum")
    return Log([*log.lines, line], log.size + len(text) + 1, check)


def _chained(log: Log, identity: str) -> str:
    return f"{identity}{log.check:08x}"
