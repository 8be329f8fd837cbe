"""What k-means++ seeding would take on many devices: a model, its parts counted and measured one by one.

    python -m benchmarks.cost_model             the table of docs/devices.md, from the rates and counts below
    python -m benchmarks.cost_model --traffic   what compiled programs send, beside what the model says
    python -m benchmarks.cost_model --work      batches and folds of some pools, into results/cost_model.jsonl

Traffic is counted in programs compiled for 2, 4 and 8 devices, which are made of a CPU and run nothing. The
work is that of `lazy_kmeans_plusplus`, whose steps are driven one by one here; its picks must be those of the
sampler. Counts depend on the pool, not on the machine. The rates are those of one H200, from
results/device.jsonl.
"""

import argparse
import json
import math
import os
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from badge_jax import Rows, kmeans_plusplus, lazy_kmeans_plusplus
from badge_jax.rows import PoolPoints, at_unit_scale, middle_of, upper_bounds_to_row
from badge_jax.samplers.draw import draw_available
from badge_jax.samplers.rejection import (
    Seeding,
    Sizes,
    accept,
    centers_that_matter,
    extent_of,
    fold_rows,
    is_fold_due,
    make_sizes,
    propose,
    sample_extents,
    sample_places,
    start_seeding,
    with_sums,
    without_pending,
)
from badge_jax.shards import default_block
from benchmarks.harness import RESULTS, device, versions
from benchmarks.pools import RECIPES, synthetic_pool


class Traffic(NamedTuple):
    """Collectives of one step of a program, and the numbers that each device gets of them, four bytes each."""

    collectives: int
    numbers: int


def lazy_traffic(n: int, c: int, d: int) -> dict[str, Traffic]:
    """The model of `lazy_kmeans_plusplus`: at the start, for each fold, and for each batch of proposals.

    n: rows with the padding of `shard_pool`
    """
    sizes = make_sizes(n, c, d)
    sums, sample = n // sizes.draw_block, len(sample_places(n, sizes))
    return {
        # twice the sums of all blocks and one block, for the first pick; that row; a sample's norms; four sizes
        "start": Traffic(7, 2 * sums + sizes.draw_block + c + d + 2 + sample + 4),
        # the sample's bounds, whether a bound is left, the sums
        "fold": Traffic(3, sample + 1 + sums),
        # of each proposal its place in its block; its factors with their norms, and its bound
        "batch": Traffic(2, sizes.proposals * (1 + c + d + 3)),
    }


def incremental_traffic(n: int, c: int, d: int) -> Traffic:
    """The model of a pick of `kmeans_plusplus`: twice the sums of all blocks, one block, and the row."""
    block = default_block(n)
    return Traffic(4, 2 * (n // block) + block + c + d + 2)


def traffic_of(program: str) -> dict[int, Traffic]:
    """Counted in the text of a compiled program, by the number of loops around: 0, 1, 2, ..."""
    found: dict[int, Traffic] = {}
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    for result, name in re.findall(rf'= (.*?) (?:{kinds})(?:-start)?\(.*op_name="([^"]*)"', program):
        shapes = re.findall(r"\w+\[([\d,]*)\]", result)
        numbers = sum(math.prod(int(size) for size in shape.split(",") if size) for shape in shapes)
        # XLA may merge what it moved out of a loop with what lies before it: "outside/(psum:while/body/psum)"
        loops = re.sub(r"/\([^/()]*:.*\)$", "", name).count("while/body")
        before = found.get(loops, Traffic(0, 0))
        found[loops] = Traffic(before.collectives + 1, before.numbers + numbers)
    return found


def compiled_traffic(sampler: Any, n: int, c: int, d: int, k: int, num_devices: int) -> dict[int, Traffic]:
    """What ``sampler``, one of the seeders, sends when it is compiled for so many devices; nothing is run."""
    mesh = jax.make_mesh((num_devices,), ("pool",), devices=jax.devices()[:num_devices])
    sharding = NamedSharding(mesh, P("pool"))
    left, right = (jax.ShapeDtypeStruct((n, width), jnp.float32, sharding=sharding) for width in (c, d))
    mask = jax.ShapeDtypeStruct((n,), jnp.bool_, sharding=sharding)

    def call(key: jax.Array, rows: Rows, mask: jax.Array) -> jax.Array:
        return sampler(key, rows, k, available=mask, sharding=sharding)

    key = jax.eval_shape(lambda: jax.random.key(0))
    return traffic_of(jax.jit(call).lower(key, Rows(left, right), mask).compile().as_text())


class Work(NamedTuple):
    """What one call of `lazy_kmeans_plusplus` did.

    Attributes:
        batches: batches of 256 proposals.
        test_blocks: blocks of 256 pending centres, summed over batches: what a batch may be compared with.
        folds: folds after the first pick.
        folded: distances that the folds computed, over n: products of the pool with so many centres.
    """

    batches: int
    test_blocks: int
    folds: int
    folded: float


def work_of(key: jax.Array, rows: Rows, k: int) -> tuple[Work, np.ndarray]:
    """Drives the steps of `lazy_kmeans_plusplus` one by one. Returns their `Work` and the picks [k]."""
    sizes = make_sizes(len(rows), rows.left.shape[1], rows.right.shape[1])
    points, order, state = _begin(key, rows, k, sizes)
    batches = test_blocks = folds = 0
    folded = 0.0
    while True:
        state = _refresh(points, state, sizes)
        while int(state.num_chosen) < k and not is_fold_due(state, sizes):
            test_blocks += -(-int(state.num_pending) // sizes.test_block)
            batches += 1
            state = _test_batch(key, points, state, k, sizes)
        if int(state.num_chosen) >= k:
            return Work(batches, test_blocks, folds, folded / len(rows)), np.asarray(state.chosen)[:k]
        state, computed = _fold(points, order, state, sizes)
        folds, folded = folds + 1, folded + float(computed)


@partial(jax.jit, static_argnums=(2, 3))
def _begin(key: jax.Array, rows: Rows, k: int, sizes: Sizes) -> tuple[PoolPoints, jax.Array, Seeding]:
    n, free = len(rows), jnp.ones(len(rows), bool)
    points = at_unit_scale(rows, free)
    index = draw_available(jax.random.fold_in(key, 0), jnp.ones(n), free)
    num_extents = len(sample_places(n, sizes))
    state = start_seeding(points[index[None]], index, k, free, num_extents, sizes, middle_of(points, free))
    bound = upper_bounds_to_row(points, index).at[index].set(0.0)
    return points, jnp.argsort(points.squared_norms), state._replace(bound=bound)


@partial(jax.jit, static_argnums=2)
def _refresh(points: PoolPoints, state: Seeding, sizes: Sizes) -> Seeding:
    state = state._replace(extents=sample_extents(points.squared_norms, state.bound, sizes))
    return with_sums(state, jnp.ones(len(points), bool), sizes)


@partial(jax.jit, static_argnums=(3, 4))
def _test_batch(key: jax.Array, points: PoolPoints, state: Seeding, k: int, sizes: Sizes) -> Seeding:
    proposals = propose(jax.random.fold_in(key, 1 + state.num_batches), state, sizes)
    return accept(state, proposals, points[proposals.indices], jnp.int32(k), sizes)


@partial(jax.jit, static_argnums=3)
def _fold(points: PoolPoints, order: jax.Array, state: Seeding, sizes: Sizes) -> tuple[Seeding, jax.Array]:
    """The state after a fold, and how many distances it computed."""
    n, row_block = len(points), sizes.row_block
    is_left = state.bound[order] > 0
    left = order[jnp.nonzero(is_left, size=n, fill_value=n - 1)[0]]
    num_blocks = (jnp.sum(is_left, dtype=jnp.int32) + row_block - 1) // row_block

    def fold_one(block: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        bound, computed = carry
        places = jax.lax.dynamic_slice_in_dim(left, jnp.minimum(block * row_block, n - row_block), row_block)
        extents = extent_of(points.squared_norms[places], bound[places])
        number = jnp.sum(centers_that_matter(state, extents), dtype=jnp.float32)
        lowered = fold_rows(state, points.here(places), bound[places], sizes)
        return bound.at[places].set(lowered), computed + number * row_block

    bound, computed = jax.lax.fori_loop(0, num_blocks, fold_one, (state.bound, jnp.float32(0)))
    return without_pending(state._replace(bound=bound)), computed


WORK = [  # n, c, d, k: soft pools, two that were timed on the H200 and one as wide as those of the table
    (50_000, 10, 512, 1000),
    (60_000, 10, 256, 1000),
    (200_000, 10, 512, 10_000),
]
GROWING = [(10_000, 10, 64, 1000), (100_000, 10, 64, 1000), (1_000_000, 10, 64, 1000)]


def count_work(path: Path) -> None:
    """Writes a line for each pool that has none yet."""
    held = [(line["recipe"], line["sizes"]) for line in lines_of(path)]
    for n, c, d, k in WORK + GROWING:
        for recipe in RECIPES if (n, c, d, k) in GROWING else ("soft",):
            sizes = {"n": n, "c": c, "d": d, "k": k}
            if (recipe, sizes) in held:
                continue
            rows, key, start = synthetic_pool(recipe, n, c, d), jax.random.key(1), time.perf_counter()
            work, picks = work_of(key, rows, k)
            assert (picks == np.asarray(lazy_kmeans_plusplus(key, rows, k))).all(), "not the sampler's picks"
            line = {"recipe": recipe, "sizes": sizes, **work._asdict()}
            print(line, f"{time.perf_counter() - start:.0f} s", flush=True)
            with path.open("a") as file:
                file.write(json.dumps(line | {"device": device(), "versions": versions()}) + "\n")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


COLLECTIVE = 50e-6  # seconds; assumed
CARD, MEMORY = "1 x NVIDIA H200", 139 * 2**30


class Rates(NamedTuple):
    """What one device does, in seconds and bytes.

    Attributes:
        bytes_a_second: of a sum over the pool.
        batch: seconds of a batch of proposals, besides its tests.
        block: seconds of testing a batch against 256 pending centres.
    """

    bytes_a_second: float
    batch: float
    block: float


def rates_of(timed: list[dict[str, Any]], counted: list[dict[str, Any]]) -> Rates:
    """From two timed calls on soft pools: of 50,000 rows, and of ImageNet's size."""
    large = {"n": 1_281_167, "c": 1000, "d": 2048}
    small = {"n": 50_000, "c": 10, "d": 512, "k": 1000}
    bytes_a_second = 4 * large["n"] * (large["c"] + large["d"]) / seconds_of(timed, "one pass, jnp.sum", large)
    found = []
    for sizes in (small, {**large, "k": 10_000}):
        batches, blocks = tests_of(sizes, counted)
        seconds = seconds_of(timed, "lazy_kmeans_plusplus, soft", sizes)
        found.append((batches, blocks, seconds - start_bytes(sizes) / bytes_a_second))
    system = np.array(found)
    return Rates(bytes_a_second, *np.linalg.solve(system[:, :2], system[:, 2]))


def seconds_of(timed: list[dict[str, Any]], contestant: str, sizes: dict[str, int]) -> float:
    return next(
        line["median_s"]
        for line in timed
        if (line["contestant"], line["sizes"], line["device"]) == (contestant, sizes, CARD)
    )


def tests_of(sizes: dict[str, int], counted: list[dict[str, Any]]) -> tuple[float, float]:
    """Batches, and blocks of 256 centres they are tested against, on a soft pool that is never folded.

    Where this pool was not counted, as many of its proposals are accepted as in the counted one of its width,
    or of the greatest width below.
    """
    same = [line for line in counted if line["recipe"] == "soft" and line["sizes"] == sizes]
    if same:
        return same[0]["batches"], same[0]["test_blocks"]
    width = sizes["c"] + sizes["d"]
    soft = [line for line in counted if line["recipe"] == "soft"]
    nearest = max(
        (line for line in soft if line["sizes"]["c"] + line["sizes"]["d"] <= width),
        key=lambda line: (line["sizes"]["c"] + line["sizes"]["d"], line["sizes"]["k"]),
    )
    batches = nearest["batches"] * sizes["k"] / nearest["sizes"]["k"]
    return batches, batches * (sizes["k"] / 2 / 256 + 0.5)


def start_bytes(sizes: dict[str, int]) -> int:
    """What the start reads: left factors three times, right factors twice, for norms and first distances."""
    return 4 * sizes["n"] * (3 * sizes["c"] + 2 * sizes["d"])


def print_model() -> None:
    """The rates, what they say of other timed pools, and the table of docs/devices.md."""
    timed, counted = lines_of(RESULTS / "device.jsonl"), lines_of(RESULTS / "cost_model.jsonl")
    rates = rates_of(timed, counted)
    print(
        f"{CARD}: {rates.bytes_a_second / 1e12:.2f} TB/s; {1e3 * rates.batch:.2f} ms a batch, "
        f"{1e6 * rates.block:.0f} µs a block of 256 pending centres"
    )
    other = {"n": 60_000, "c": 10, "d": 256, "k": 1000}
    said, measured = (
        lazy_seconds(other, 1, rates, counted),
        seconds_of(timed, "lazy_kmeans_plusplus, soft", other),
    )
    print(f"{other}, soft: {1e3 * sum(said):.1f} ms by the model, {1e3 * measured:.1f} ms measured\n")
    print("| n | devices | a device holds | start | tests | collectives | in all | `kmeans_plusplus` |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for n in (10**8, 10**9):
        for num_devices in (8, 64, 256):
            sizes = {"n": n, "c": 10, "d": 512, "k": 10_000}
            held = 4 * n * (sizes["c"] + sizes["d"]) / num_devices
            parts = lazy_seconds(sizes, num_devices, rates, counted)
            plain = sizes["k"] * (
                held / rates.bytes_a_second
                + incremental_traffic(n, sizes["c"], sizes["d"]).collectives * COLLECTIVE
            )
            cells = [f"{float(f'{1e3 * part:.2g}'):g} ms" for part in (*parts, sum(parts))] + [f"{plain:.0f} s"]
            if held > MEMORY:
                cells = ["too much", "", "", "", ""]
            print(f"| {n:.0e} | {num_devices} | {held / 1e9:.1f} GB | " + " | ".join(cells) + " |")


def lazy_seconds(
    sizes: dict[str, int], num_devices: int, rates: Rates, counted: list[dict[str, Any]]
) -> tuple[float, float, float]:
    """Seconds of `lazy_kmeans_plusplus` on a soft pool: its start, its tests, its collectives."""
    batches, blocks = tests_of(sizes, counted)
    traffic = lazy_traffic(sizes["n"], sizes["c"], sizes["d"])
    collectives = traffic["start"].collectives + traffic["fold"].collectives
    collectives += math.ceil(batches) * traffic["batch"].collectives
    return (
        start_bytes(sizes) / num_devices / rates.bytes_a_second,
        batches * rates.batch + blocks * rates.block,
        collectives * COLLECTIVE if num_devices > 1 else 0.0,
    )


def print_traffic() -> None:
    n, c, d, k = 2**17, 10, 64, 1000
    print(f"n {n}, c {c}, d {d}: collectives, numbers that each device gets")
    for num_devices in (2, 4, 8):
        counted = compiled_traffic(lazy_kmeans_plusplus, n, c, d, k, num_devices)
        for loops, (step, model) in enumerate(lazy_traffic(n, c, d).items()):
            print(f"lazy, {num_devices} devices, {step}: {tuple(counted[loops])}, model {tuple(model)}")
        counted, model = (
            compiled_traffic(kmeans_plusplus, n, c, d, k, num_devices)[1],
            incremental_traffic(n, c, d),
        )
        print(f"kmeans_plusplus, {num_devices} devices, a pick: {tuple(counted)}, model {tuple(model)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traffic", action="store_true", help="count what compiled programs send")
    parser.add_argument("--work", action="store_true", help="count batches and folds; what is there is kept")
    options = parser.parse_args()
    if options.traffic:
        print_traffic()
    elif options.work:
        count_work(RESULTS / "cost_model.jsonl")
    else:
        print_model()


if __name__ == "__main__":
    if "--traffic" in sys.argv:  # before JAX looks for devices
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    main()
