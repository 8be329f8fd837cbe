"""The devices that JAX computes on."""

import jax

from badge_jax.errors import EnvironmentFailure


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
