"""Versions, device and settings: what is recorded with every result."""

import os
import platform
from importlib.metadata import version
from typing import Any

import jax

from badge_jax._version import __version__
from badge_jax.devices import find_devices


def environment() -> dict[str, Any]:
    """Versions, device and settings of JAX, as recorded with every result.

    Raises:
        EnvironmentFailure: if JAX finds no device.
    """
    devices = find_devices()
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
    settings = ("enable_x64", "default_prng_impl", "threefry_partitionable", "default_matmul_precision")
    return {
        "badge_jax": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(terse=True),
        "device": f"{len(devices)} x {devices[0].device_kind}",
        **{name: getattr(jax.config, f"jax_{name}") for name in settings},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
