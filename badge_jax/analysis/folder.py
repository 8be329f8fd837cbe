"""A folder that is written again and again: its own files are replaced, all others stay."""

import json
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

from badge_jax.files import write_whole

LIST = "report_files.json"
_FORMER = ("learning_curves_*", "penalty_matrix*", "cdf*")  # pictures of reports that kept no list


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files, and removes those of the call before that are not among them.

    report_files.json lists what was written, with checksums. A listed file that was changed since is kept,
    as are all files that are not listed.

    Args:
        out: The folder; made if it does not exist.
        files: Name → content.

    Raises:
        OSError: If a file cannot be written. The list is written first, so a later call knows all of them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_folder(Path(folder), {"a.csv": b"1", "b.csv": b"2"})
        ...     _ = Path(folder, "mine.csv").write_text("3")
        ...     write_folder(Path(folder), {"b.csv": b"4"})
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['b.csv', 'mine.csv', 'report_files.json']
    """
    had_report, before = (out / "report.html").exists(), _listed(out)
    out.mkdir(parents=True, exist_ok=True)
    now = {name: zlib.crc32(content) for name, content in files.items()}
    old = {name: crc for name, crc in (before or {}).items() if name not in files}
    _write_list(out, {**old, **now})
    for name, content in files.items():
        write_whole(out / name, content)
    for name, crc in old.items():
        path = out / name
        if path.is_file() and zlib.crc32(path.read_bytes()) == crc:
            path.unlink()
    _write_list(out, now)
    if had_report and before is None:
        stay = [path.name for pattern in _FORMER for path in out.glob(pattern) if path.name not in files]
        if stay:
            warnings.warn(
                f"{out} holds a report of an earlier version, which kept no list of its files; remove what "
                "is not "
                f"yours: {', '.join(sorted(stay))}",
                UserWarning,
                stacklevel=3,
            )


def _write_list(out: Path, files: Mapping[str, int]) -> None:
    write_whole(out / LIST, (json.dumps({"format": 1, "crc32": dict(files)}, indent=1) + "\n").encode())


def _listed(out: Path) -> dict[str, int] | None:
    """The files of the report that is there; None if it has no list that can be read.

    Only plain names count: a list that somebody edited cannot make us remove a file elsewhere.
    """
    try:
        found = json.loads((out / LIST).read_text("utf-8"))["crc32"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {name: crc for name, crc in found if Path(name).name == name and isinstance(crc, int)}
