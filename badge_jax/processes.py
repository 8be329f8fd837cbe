"""Several processes that share one piece of work, each with devices of its own."""

import contextlib
import ctypes
import logging
import os
import re
import signal
import socket
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh

from badge_jax.devices import find_devices
from badge_jax.errors import EnvironmentFailure, InputError, line_of, one_line
from badge_jax.shards import can_hold_pool

_JOINING = 45  # seconds for all processes to come; JAX gives up a few seconds later
_SILENCE = 20  # seconds without a sign of life after which a process counts as lost
_LEAVING = 30  # seconds for all processes to leave
_ROOM = 4096  # bytes that a process tells the others at once
_SAMPLED = 16  # rows by which two copies of an array are compared
_CODES: dict[int, type[Exception]] = {1: EnvironmentFailure, 2: InputError}  # exit codes

_MORE = "JAX_LOGGING_LEVEL=INFO shows what JAX says"
_NOT_ALL_CAME = (
    f"not all processes came within {_JOINING} s; wanted as many as there are to be, each of which reaches "
    f"process 0 at the same HOST:PORT ({_MORE})"
)
# what the text of a failure in JAX begins with, of those that a lost process can cause
_STATUS = (
    "ABORTED|CANCELLED|DATA_LOSS|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL|NOT_FOUND|UNAVAILABLE|UNKNOWN"
)
_LOST = f"another process has ended or hangs; start all of them again with the same command ({_MORE})"


class _EndOfAll(Exception):
    """The work ends in every process, because of an error in one.

    Attributes:
        code: the exit code.
        message: what process 0 reports.
    """

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code, self.message = code, message


@contextlib.contextmanager
def joined(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Iterator[None]:
    """Joins other processes for a ``with`` block that all of them run, as the last work of each.

    `jax.devices` are then those of all processes. An error of input or environment in one process ends all of
    them with the same exit code: process 0 raises it, the others SystemExit. If a process dies, or gives no
    sign of life for 20 s, each other one reports it in one line and ends with exit code 1. Only process 0
    warns.

    Nothing may have been computed before. What is not given is taken from SLURM, Open MPI, Kubernetes or Cloud
    TPU, as `jax.distributed.initialize` does.

    Args:
        coordinator: HOST:PORT where process 0 listens, which the others reach.
        num_processes: how many there are.
        process_id: the number of this one, from 0.

    Raises:
        InputError: for arguments that do not fit, and where nothing says what is not given.
        EnvironmentFailure: if the processes do not find each other, one is lost, or this one has no device.
    """
    _check(coordinator, num_processes, process_id)
    if coordinator is not None and process_id == 0:
        _check_free(coordinator)
    if not os.environ.get("JAX_LOGGING_LEVEL"):
        _let_only_python_write()
    _on_abort(_NOT_ALL_CAME)
    _initialize(coordinator, num_processes, process_id)
    _on_abort(_LOST)
    find_devices()
    if jax.process_index() > 0:
        warnings.simplefilter("ignore", UserWarning)
    try:
        _check_equal_shares()
        agree()
        try:
            yield
        except (InputError, EnvironmentFailure, OSError) as problem:
            _agree(_code_of(problem), _message_of(problem), "")
        agree()
    except _EndOfAll as end:
        jax.distributed.shutdown()
        if jax.process_index() > 0:
            raise SystemExit(end.code) from None
        raise _CODES[end.code](end.message) from None
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # JAX raises a program's failure as either
        is_status = re.match(f"({_STATUS}): ", str(error))
        if "RESOURCE_EXHAUSTED" in str(error) or not (
            is_status or isinstance(error, jax.errors.JaxRuntimeError)
        ):
            raise
        raise EnvironmentFailure(f"{_LOST}: {one_line(error)}") from None
    jax.distributed.shutdown()


def agree(what: str = "") -> None:
    """Waits until all processes have come here, before any of them waits for another in a compiled program.

    If one of them has failed since, the `joined` block ends in all.

    Args:
        what: a text that is to be the same in all processes.
    """
    _agree(0, "", what)


def told_by_first(content: bytes | None) -> bytes:
    """What process 0 tells all. If one of them has failed since, the `joined` block ends in all.

    Args:
        content: of process 0; not looked at in the others.
    """
    agree()
    told = np.frombuffer(content or b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
    room = np.zeros(size, np.uint8)
    if jax.process_index() == 0:
        room[:] = told
    return multihost_utils.broadcast_one_to_all(room).astype(np.uint8).tobytes()


def mesh_of_processes() -> Mesh:
    """The devices of all processes, along an axis ``pool``.

    Raises:
        InputError: for so many that a pool cannot lie on them.
    """
    count = len(jax.devices())
    if not can_hold_pool(count):
        raise InputError(
            f"{jax.process_count()} processes have {count} devices; wanted 1, 2, 4, 8 or another power of two"
        )
    return jax.make_mesh((count,), ("pool",), axis_types=(AxisType.Auto,))


def sampled_rows(n: int) -> np.ndarray:
    """The rows by which processes compare their copies of an array of n: the first, the last, and up to 14
    evenly between, [m] int64 in ascending order."""
    return np.unique(np.linspace(0, n - 1, _SAMPLED).round().astype(np.int64))


def _agree(code: int, message: str, what: str) -> None:
    """`agree`, with the ``code`` and ``message`` of an error in this process; 0 for none."""
    check = zlib.crc32(what.encode()).to_bytes(4, "little")
    mine = np.zeros(_ROOM, np.uint8)
    told = (bytes([code]) + check + message.encode(errors="backslashreplace"))[:_ROOM]
    mine[: len(told)] = np.frombuffer(told, np.uint8)
    told_by_all = multihost_utils.process_allgather(mine).reshape(-1, _ROOM)
    for codes in told_by_all[told_by_all[:, 0] > 0]:  # of several, the first
        text = codes[5:].tobytes().rstrip(b"\0").decode(errors="ignore")
        raise _EndOfAll(int(codes[0]), text)
    if (is_other := (told_by_all[:, 1:5] != told_by_all[0, 1:5]).any(axis=1)).any():
        raise _EndOfAll(
            2,
            f"process {is_other.argmax()} has other options, files or versions than process 0; wanted the same "
            "command on the same files for all",
        )


def _code_of(problem: Exception) -> int:
    return 2 if isinstance(problem, InputError) else 1


def _message_of(problem: Exception) -> str:
    if isinstance(problem, OSError):
        return line_of(problem)
    return str(problem)


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Raises InputError for arguments of `joined` that cannot be."""
    if coordinator is not None and not re.fullmatch(r"\S+:[0-9]{1,5}", coordinator):
        raise InputError(f"--coordinator is {coordinator!r}; wanted HOST:PORT, where process 0 listens")
    if num_processes is not None and num_processes < 1:
        raise InputError(f"--num-processes is {num_processes}; wanted 1 or more")
    if process_id is not None and not 0 <= process_id < (num_processes or process_id + 1):
        most = "" if num_processes is None else f" to {num_processes - 1}"
        raise InputError(f"--process-id is {process_id}; wanted 0{most or ' or more'}")


def _check_free(coordinator: str) -> None:
    """Raises EnvironmentFailure if the port is taken. JAX's own refusal may end with SIGSEGV."""
    if "JAX_COORDINATOR_BIND_ADDRESS" in os.environ:  # it listens elsewhere
        return
    try:
        socket.create_server(("", int(coordinator.rpartition(":")[2]))).close()
    except (OSError, OverflowError) as error:
        raise _cannot_listen(coordinator, error) from None


def _cannot_listen(coordinator: str | None, error: Exception) -> EnvironmentFailure:
    where = coordinator or "the coordinator's HOST:PORT"
    return EnvironmentFailure(
        f"process 0 cannot listen at {where} ({one_line(error)}); wanted a port that is free there"
    )


def _initialize(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    # else SIGTERM no longer ends the process: JAX takes it for the announcement of an end
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=_JOINING,
            heartbeat_timeout_seconds=_SILENCE,
            shutdown_timeout_seconds=_LEAVING,
        )
    except jax.errors.JaxRuntimeError as error:
        raise _cannot_listen(coordinator, error) from None
    except Exception as error:  # what a launcher leaves in the environment is read in many ways
        raise InputError(
            f"JAX finds no job of SLURM, Open MPI or Kubernetes here ({one_line(error)}); wanted one, or "
            "--coordinator HOST:PORT --num-processes N --process-id I"
        ) from None


def _check_equal_shares() -> None:
    """Raises _EndOfAll, in every process, unless all have equally many devices."""
    numbers = Counter(device.process_index for device in jax.devices())
    if len({*numbers.values()}) > 1:
        found = ", ".join(str(numbers[i]) for i in range(len(numbers)))
        raise _EndOfAll(2, f"the processes have {found} devices; wanted equally many")


def _let_only_python_write() -> None:
    """Sends what compiled code writes to standard output and error to nowhere: each process that is lost costs
    every other one a page there, and gloo greets every connection."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell
            continue
        stream.flush()
        ours = os.fdopen(
            os.dup(descriptor), "w", buffering=1, encoding=stream.encoding, errors="backslashreplace"
        )
        os.dup2(nowhere, descriptor)
        setattr(sys, name, ours)
        for handler in logging.getLogger("jax").handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                handler.setStream(ours)


_handlers: list[Callable] = []  # must live as long as the process: C calls them


def _on_abort(message: str) -> None:
    """Has an abort of the process end it with one line and exit code 1.

    JAX aborts when it misses another process. It does so in a thread of its own, at any time, and there is
    nothing to catch in Python, whose own handlers of signals run too late.
    """
    output = sys.stderr.fileno() if sys.stderr is not None else os.open(os.devnull, os.O_WRONLY)

    def end(_: int) -> None:
        os.write(output, f"badge-jax: {message}\n".encode())
        os._exit(1)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    _handlers.append(handler)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), handler)
