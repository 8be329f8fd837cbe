"""The devices that JAX computes on, and how processes share them."""

import os
import subprocess
import sys
from collections.abc import Mapping

import jax

from badge_jax.errors import EnvironmentFailure, InputError

_MEMORY = 0.9  # share of a GPU's memory that the processes on it reserve
_TPU_PORT = 8476  # of the first process; those of the others follow


def find_devices() -> list[jax.Device]:
    """The devices of JAX's default backend.

    Raises:
        EnvironmentFailure: if there is none, as where $JAX_PLATFORMS names a backend that is not there.
    """
    try:
        return jax.devices()
    except Exception as error:  # JAX raises what the backend's plugin raises
        problem = str(error).partition("\n")[0] or type(error).__name__
        raise EnvironmentFailure(f"JAX finds no device to run on: {problem}") from None


def count_devices() -> tuple[str, int]:
    """The platform of JAX's devices here, such as cpu, gpu or tpu, and how many a process can have for itself.

    On a TPU these are its chips. A process of its own asks JAX: it would take hold of the devices in this one.

    Raises:
        EnvironmentFailure: if there is none.
    """
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [sys.executable, "-c", _COUNT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        problem = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EnvironmentFailure(f"JAX finds no device to run on: {problem}")
    platform, number = done.stdout.split()[-2:]
    return platform, int(number)


_COUNT = """
import jax
try:
    devices = jax.local_devices()
except Exception as error:
    raise SystemExit(str(error).partition("\\n")[0] or type(error).__name__)
platform = devices[0].platform
print(platform, len({tuple(device.coords) for device in devices} if platform == "tpu" else devices))
"""


def share_devices(
    workers: int, platform: str, number: int, environment: Mapping[str, str]
) -> list[dict[str, str]]:
    """The environment variables by which each of several processes sees one device alone: the i-th worker sees
    device i mod ``number``.

    Args:
        workers: processes that start at the same time.
        platform: of the devices. On others than gpu and tpu nothing is set: processes share them.
        number: devices that `count_devices` has found.
        environment: the variables of this process. The devices are those that it lists, if it lists any, and a
            share of a GPU's memory that it sets holds.

    Returns:
        For each process what has to be in its environment when it starts.

    Raises:
        InputError: for more workers than TPU chips: a chip serves one process.

    Example:
        >>> [part["CUDA_VISIBLE_DEVICES"] for part in share_devices(3, "gpu", 2, {})]
        ['0', '1', '0']
    """
    if platform == "gpu":
        devices = _listed("CUDA_VISIBLE_DEVICES", number, environment)
        shares = [{"CUDA_VISIBLE_DEVICES": devices[i % number]} for i in range(workers)]
        if not {"XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"} & {*environment}:
            for i, share in enumerate(shares):
                processes = len(range(i % number, workers, number))  # on the same device
                share["XLA_CLIENT_MEM_FRACTION"] = f"{_MEMORY / processes:.3f}"
        return shares
    if platform == "tpu":
        if workers > number:
            raise InputError(
                f"--workers is {workers}, and a TPU chip serves one process; wanted at most {number} here"
            )
        chips = _listed("TPU_VISIBLE_CHIPS", number, environment)
        return [
            {
                "TPU_VISIBLE_CHIPS": chips[i],
                "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
                "TPU_PROCESS_BOUNDS": "1,1,1",
                "TPU_PROCESS_ADDRESSES": f"localhost:{_TPU_PORT + i}",
                "TPU_PROCESS_PORT": f"{_TPU_PORT + i}",
            }
            for i in range(workers)
        ]
    return [{} for _ in range(workers)]


def _listed(variable: str, number: int, environment: Mapping[str, str]) -> list[str]:
    """The first devices that a variable lists; all by their numbers where it is not set."""
    listed = environment.get(variable)
    return listed.split(",")[:number] if listed else [str(i) for i in range(number)]
