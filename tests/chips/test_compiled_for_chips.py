"""Programs compiled for chips that this machine has not: run by ``make devices``, which installs compilers."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.compiled_for_chips import (
    CASES,
    CHIPS,
    GIB,
    SIXTEEN,
    collectives,
    compile_case,
    place_on,
)

pytestmark = pytest.mark.devices


@pytest.fixture(autouse=True)
def _no_cache():
    """Nothing is kept: programs for chips that are not there cannot be loaded again."""
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


@pytest.fixture
def on_chips():
    """`place_on`, which skips where the compiler is not there."""

    def place(name):
        try:
            return place_on(name)
        except FileNotFoundError as error:
            pytest.skip(str(error))

    return place


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.program} of {case.pool} for {case.chip}")
def test_program_fits_its_chip(case, on_chips):
    """It compiles, which a program too large for the chip does not, and no sampler copies its pool."""
    record = compile_case(case, on_chips(case.chip))
    held = record["argument_bytes"] + record["output_bytes"] + record["temporary_bytes"]
    assert held < (CHIPS | SIXTEEN)[case.chip].memory_gib * GIB
    if case.program == "k_dpp_swap":  # 49 MiB where XLA wrote out Cholesky's blocks
        assert record["code_bytes"] < 32 * 2**20
    if case.pool == "ImageNet" and case.chip in CHIPS:
        assert record["temporary_bytes"] < 0.05 * record["argument_bytes"]
    if case.chip in SIXTEEN:
        assert 0 < record["most_moved"] < record["n"], "entries of the largest array that moves"


def test_a_pool_that_moves_is_seen(on_chips):
    place = on_chips("16 v5e")
    backwards = jax.jit(lambda rows: jnp.sum(rows[::-1] * rows))
    text = backwards.lower(place.array((16 * 4096, 8))).compile().as_text()
    assert max(collectives(text)) >= 4096 * 8
