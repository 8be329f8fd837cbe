"""The command line: ``badge-jax run | sweep | status | select | campaign | report | datasets | strategies``."""

import contextlib
import dataclasses
import functools
import importlib
import io
import itertools
import operator
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, Protocol, TextIO

import jax
import tyro

from badge_jax._version import __version__
from badge_jax.cli.datasets import Datasets
from badge_jax.cli.numbers import OPTION_TYPES
from badge_jax.cli.report import Report
from badge_jax.cli.select import Select
from badge_jax.cli.strategies import Strategies
from badge_jax.errors import EnvironmentFailure, InputError, line_of

_AFTER_CTRL_C = {
    "run": "the same command resumes the run",
    "sweep": "the same command resumes the runs",
    "report": "the report is incomplete; the same command makes it again",
    "campaign": "what was taken is kept; give the same command again",
}


class _Command(Protocol):
    def execute(self) -> None: ...


def main(args: list[str] | None = None) -> int:
    """Runs a command.

    Args:
        args: of the command line. None: those of the process.

    Returns:
        The exit code: 0, 1 for trouble with the machine, 2 for wrong usage or input.
    """
    words = sys.argv[1:] if args is None else args
    if words == ["--version"]:
        print(f"badge_jax {__version__}")
        return 0
    return execute(lambda: _parse(words).execute())


def entry() -> NoReturn:
    """What the shell calls: `main`, and 130 as soon as Ctrl-C is pressed."""
    rest = _AFTER_CTRL_C.get(sys.argv[1] if len(sys.argv) > 1 else "", "nothing written")
    run_interruptibly(main, f"badge-jax: interrupted; {rest}")


def execute(work: Callable[[], Any], program: str = "badge-jax") -> int:
    """Does some work, with every expected failure reported in one line.

    Args:
        work: what to do.
        program: name that begins each line.

    Returns:
        The exit code: 0, 1 for trouble with the machine, 2 for wrong usage or input.
    """

    def report(message: str) -> None:
        text = " ".join(message.splitlines())  # a file's name may hold line ends
        print(f"{program}: {text}", file=sys.stderr, flush=True)

    def fail(message: str, code: int) -> int:
        report(message)
        return code

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        report(f"warning: {message}")

    _write_any_text(sys.stdout, sys.stderr)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            work()
    except InputError as error:
        return fail(str(error), 2)
    except EnvironmentFailure as error:
        return fail(str(error), 1)
    except BrokenPipeError:  # of `| head`
        return 0
    except OSError as error:
        return fail(line_of(error), 1)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        return fail(f"out of memory or device failure: {str(error).partition(chr(10))[0]}", 1)
    return 0


def _write_any_text(*streams: TextIO) -> None:
    """Lets streams write what their encoding lacks as escapes, such as ``\\xd7``, instead of failing."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_interruptibly(work: Callable[[], int], message: str) -> NoReturn:
    """Exits with what ``work`` returns, or with ``message`` and 130 as soon as Ctrl-C is pressed.

    The work is done in a thread of its own: a thread inside a compiled program hears of no signal before the
    program ends, which may take hours. To end at once is safe, since files are written whole.
    """
    codes: list[int] = []

    def work_in_thread() -> None:
        try:
            codes.append(work())
        except SystemExit as stop:  # of the option parser
            codes.append(stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2)

    worker = threading.Thread(target=work_in_thread, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(0.1)
    except KeyboardInterrupt:
        print(message, file=sys.stderr, flush=True)
        _end(130)
    _end(codes[0] if codes else 1)


def _end(code: int) -> NoReturn:
    """Ends the process at once: all files are written, and to free JAX's memory would take most of a second.

    What a user's code has registered with ``atexit`` does not run.
    """
    try:
        if sys.stdout is not None:  # closed by the shell
            sys.stdout.flush()
    except BrokenPipeError:  # of `| head`
        pass
    except (OSError, ValueError) as error:
        print(f"badge-jax: standard output: {error}", file=sys.stderr)
        code = code or 1
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    os._exit(code)


# commands that train networks: their modules load Flax and Optax, so only when they are called
_TRAINING = {
    "run": ("badge_jax.cli.run", "Run", "Run one experiment, or resume it."),
    "sweep": (
        "badge_jax.cli.sweep",
        "Sweep",
        "Run a grid of experiments, or resume it. Any number of workers and machines may share the folder.",
    ),
    "status": (
        "badge_jax.cli.sweep",
        "Status",
        "Say what is done, running, failed and missing in the folder of a sweep, and the time left.",
    ),
    "campaign": (
        "badge_jax.cli.campaign",
        "CampaignCommand",
        "Label batch after batch with people: start, next, tell, status, export.",
    ),
}


def _parse(args: Sequence[str]) -> _Command:
    """The command that the arguments say. Raises InputError for an option that is given twice."""
    called = args[0] if args else ""
    for word, after in itertools.pairwise([*args, "-"]):
        if word in ("--labeled", "--withdraw") and after.startswith("-"):  # the parser takes no file as none
            raise InputError(f"{word} names no file; wanted one or more after it")
    args = _joined(args, "--labeled") if called == "select" else args
    options = [word for word in args if word.startswith("--") and word != "--"]
    flags = [word.partition("=")[0].replace("_", "-") for word in options]
    for flag, count in Counter(flags).items():
        if count > 1:
            hint = ", followed by all values" if called == "sweep" or flag == "--withdraw" else ""
            raise InputError(f"{flag} is given {count} times; give it once{hint}")
    if list(args[:2]) == ["campaign", "start"]:
        _check_classes(args[2:])
    commands: dict[str, Any] = {name: _training_command(name, called) for name in _TRAINING}
    commands |= {"select": Select, "report": Report, "datasets": Datasets, "strategies": Strategies}
    kinds = [
        Annotated[kind, tyro.conf.subcommand(name, **_default(name, called, args))]
        for name, kind in commands.items()
    ]
    command: Any = functools.reduce(operator.or_, kinds)
    description = "Batch active learning in JAX."
    return tyro.cli(command, args=args, prog="badge-jax", description=description, registry=OPTION_TYPES)


def _check_classes(args: Sequence[str]) -> None:
    """Raises InputError for names of classes with spaces between them: the parser takes the first alone."""
    if "--classes" not in args:
        return
    place = args.index("--classes")
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), args[place + 1 :]))
    num_folders = 0 if args[0] != "--classes" and not args[0].startswith("-") else 1  # one may follow
    if len(names) > 1 + num_folders:
        raise InputError(
            f"--classes is followed by {' '.join(names)[:60]}; wanted the names in one word, such as "
            f"{','.join(names)[:60]}, or a file with one a line"
        )


def _joined(args: Sequence[str], option: str) -> list[str]:
    """The arguments with all values of an option in one place: it may be given several times."""
    rest: list[str] = []
    values: list[str] = []
    is_value = False
    for word in args:
        flag, equals, value = word.partition("=")
        if is_value := flag == option or (is_value and not word.startswith("-")):
            values += [] if word == option else [value if equals and flag == option else word]
        else:
            rest.append(word)
    return [*rest, option, *values] if values else rest


def _training_command(name: str, called: str) -> type:
    """The command's class if it is called, else a stand-in for the list of commands."""
    module, kind, summary = _TRAINING[name]
    if name == called:
        return getattr(importlib.import_module(module), kind)
    return dataclasses.make_dataclass(kind, [], namespace={"__doc__": summary})


def _default(name: str, called: str, args: Sequence[str]) -> dict[str, Any]:
    """What the options of ``run --config FILE`` default to, as an argument of tyro's."""
    if name == called == "run":
        for i, word in enumerate(args):
            flag, _, value = word.partition("=")
            if flag == "--config" and (value or i + 1 < len(args)):
                run = importlib.import_module("badge_jax.cli.run")
                return {"default": run.defaults_of(Path(value or args[i + 1]))}
    return {}
