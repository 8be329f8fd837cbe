"""The two ways in which a command can fail, each reported to the user in one line."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong usage or input (exit code 2). The message says what was found and what would do."""


class EnvironmentFailure(RuntimeError):
    """The machine does not allow it: disk, lock, network, a missing extra (exit code 1)."""


class DirectoryInUse(EnvironmentFailure):
    """Another process works in the directory."""


def missing_extra(what: str, extra: str) -> EnvironmentFailure:
    """The error for a package that one of the project's extras would install, with the command that does."""
    return EnvironmentFailure(f"{what}; in a checkout of badge_jax: pip install --editable '.[{extra}]'")


def line_of(error: OSError) -> str:
    """What the system says, with the file that it is about."""
    return f"{error.filename or 'file'}: {error.strerror or error}"


def one_line(error: BaseException) -> str:
    """Another library's error as one line: its type and the start of its message."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a registry, with the nearest one suggested."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return InputError(f"unknown {what} {name!r}{hint} (known: {', '.join(known)})")
