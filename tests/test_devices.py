"""How processes share devices. Runs the tests in ``devices/`` in a process that has eight, made up from this
machine's CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from badge_jax.devices import count_devices, share_devices
from badge_jax.errors import EnvironmentFailure, InputError


@pytest.mark.parametrize("wanted", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_on_eight_devices(wanted):
    folder = Path(__file__).parent / "devices"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-m", wanted, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def test_devices_are_counted_in_another_process(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    assert count_devices() == ("cpu", 3)
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    with pytest.raises(EnvironmentFailure, match=r"JAX finds no device to run on: .*'nonsense'"):
        count_devices()


def test_gpus_are_dealt_out_in_turn():
    """And their memory among the workers of each."""
    shares = share_devices(5, "gpu", 2, {"HOME": "/"})
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0", "1", "0", "1", "0"]
    assert [share["XLA_CLIENT_MEM_FRACTION"] for share in shares] == [
        "0.300",
        "0.450",
        "0.300",
        "0.450",
        "0.300",
    ]
    for share in share_devices(3, "gpu", 8, {}):
        assert share["XLA_CLIENT_MEM_FRACTION"] == "0.900"


@pytest.mark.parametrize(
    ("listed", "number", "seen"),
    [
        ("6,2", 2, ["6", "2", "6"]),
        ("3", 1, ["3", "3", "3"]),
        ("GPU-8f2,MIG-a1", 2, ["GPU-8f2", "MIG-a1", "GPU-8f2"]),
        ("5,4,-1,0", 2, ["5", "4", "5"]),  # CUDA's list ends at the first that is none
        ("", 2, ["0", "1", "0"]),
    ],
)
def test_gpus_that_are_listed_already(listed, number, seen):
    shares = share_devices(3, "gpu", number, {"CUDA_VISIBLE_DEVICES": listed})
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == seen


@pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_a_share_of_memory_that_is_set_holds(name):
    """JAX refuses both names at once."""
    assert share_devices(2, "gpu", 1, {name: "0.2"}) == [{"CUDA_VISIBLE_DEVICES": "0"}] * 2


def test_each_tpu_chip_serves_one_worker():
    for environment, chips in (({}, ["0", "1", "2"]), ({"TPU_VISIBLE_CHIPS": "1,2,3"}, ["1", "2", "3"])):
        shares = share_devices(3, "tpu", 3, environment)
        assert [share["TPU_VISIBLE_CHIPS"] for share in shares] == chips
        assert {share["TPU_PROCESS_BOUNDS"] for share in shares} == {"1,1,1"}
        assert len({share["TPU_PROCESS_PORT"] for share in shares}) == 3
    with pytest.raises(InputError, match="--workers is 5, and a TPU chip serves one process; wanted at most 4"):
        share_devices(5, "tpu", 4, {})


def test_processes_on_a_cpu_see_what_they_saw():
    assert share_devices(2, "cpu", 8, {}) == [{}, {}]
