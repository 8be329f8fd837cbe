"""Two processes of the command that share their work over loopback."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time

WITHIN = 60  # seconds in which a process ends whose partner is lost

# the program, which notes the rows that it reads
COMMAND = """
import os, sys
from badge_jax.array_files import StoredArray
from badge_jax.cli import entry

read = StoredArray.read_rows

def noting(self, start, stop):
    with open(os.environ["NOTES"], "a") as notes:
        print(self.name, start, stop, file=notes)
    return read(self, start, stop)

StoredArray.read_rows = noting
entry()
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def by_hand(port, i):
    return ["--coordinator", f"127.0.0.1:{port}", "--num-processes", "2", "--process-id", str(i)], {}


def by_slurm(port, i):
    variables = {"SLURM_JOB_ID": str(port), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    return [], variables | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i), "JAX_COORDINATOR_PORT": str(port)}


def start_two(command, options, notes, launch=by_hand, extra=((), ())):
    """Two processes of a command, with ``extra`` options of each; the rows that they read are in ``notes``."""
    port, started = free_port(), []
    for i in range(2):
        flags, variables = launch(port, i)
        quiet = {name: value for name, value in os.environ.items() if "_proxy" not in name.lower()}
        environment = quiet | {"JAX_PLATFORMS": "cpu"} | variables
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, command, "--distributed", *flags, *options, *extra[i]],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment | {"NOTES": str(notes / f"notes{i}")},
            )
        )
    return started


def ends_of(processes, timeout=300):
    """(exit code, standard error but for reports of progress) of each; only the first may write to standard
    output."""
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
        assert not any(output for output, _ in outputs[1:])
        codes = [process.returncode for process in processes]
        errors = [re.sub(r"badge-jax: .* of .*, \d+ min.*\n", "", error) for _, error in outputs]
        return [*zip(codes, errors, strict=True)]
    finally:
        kill(processes)


def kill(processes):
    for process in processes:
        process.kill()
        process.communicate()


def lost_partner(survivor, lost_at):
    """The exit code of a process whose partner is lost: it has ended in time, in one line, or had done all."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        survivor.wait(timeout=lost_at + WITHIN - time.monotonic())
    seconds = time.monotonic() - lost_at
    [(code, output)] = ends_of([survivor])
    print(f"after {seconds:.1f} s, exit code {code}: {output!r}")
    assert seconds < WITHIN
    if code != 0:
        assert code == 1
        assert output.startswith("badge-jax: ")
        assert output.count("\n") == 1
    return code
