"""Programs of this package, compiled for chips that this machine has not.

    make devices                                       installs the compilers aside, and asserts what must hold
    python -m benchmarks.compiled_for_chips            all programs for all chips, into results/; resumes
    python -m benchmarks.compiled_for_chips --only kmeans --chip v5e
    python -m benchmarks.compiled_for_chips --table    the table of docs/devices.md from the lines there are

A compiler for TPUs comes with libtpu, one for GPUs with JAX's plugin for CUDA. They lie in a folder of their
own, .chips or $BADGE_JAX_CHIPS, since a JAX that finds them looks for such devices. A program that is too
large for a TPU is not compiled but refused. Nothing runs: bytes are the compiler's, and seconds are those of
compiling. For a GPU, XLA times no kernels to choose among, and what needs cuDNN or cuSOLVER is left out.
"""

import argparse
import importlib.util
import json
import os
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.experimental.layout import Format, Layout
from jax.sharding import Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from badge_jax import (
    STRATEGIES,
    FitOptions,
    Model,
    Rows,
    k_center_greedy,
    k_dpp_swap,
    kmeans,
    kmeans_plusplus,
    lazy_kmeans_plusplus,
    make_active_learner,
    make_optimizer,
    mlp,
    nearest_members,
    resnet18,
)
from badge_jax.samplers import Clusters, coverage_greedy, gumbel_top_k
from benchmarks.harness import RESULTS, versions

RECORDS = RESULTS / "compiled_for_chips.jsonl"
GIB = 2**30


class Chip(NamedTuple):
    """topology: as libtpu names it, or "1x1x1" for one GPU; the first of its chips is used, or all of them by a
    sharded program. memory_gib: what one chip has, from its maker's description."""

    topology: str
    memory_gib: int


class Pool(NamedTuple):
    """Its n rows have left factors [c] and right factors [d]; k are chosen."""

    n: int
    c: int
    d: int
    k: int


class Case(NamedTuple):
    """A program, the pool that it chooses from or trains on, and the chip that it is compiled for."""

    program: str
    pool: str
    chip: str


TPUS = {"v5e": Chip("v5e:2x2", 16), "v5p": Chip("v5p:2x2x1", 95), "v6e": Chip("v6e:2x2", 32)}
GPUS = {"H100": Chip("1x1x1", 80)}
CHIPS = TPUS | GPUS
SIXTEEN = {"16 v5e": Chip("v5e:4x4", 16)}
# An H100 SXM as XLA wants it told, from NVIDIA's description of the card and of compute capability 9.0.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: 85899345920
  memory_bandwidth: 3352000000000
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
}
platform_name: "CUDA"
runtime_version { major: 12 minor: 9 patch: 0 }
dnn_version_info { major: 9 minor: 8 patch: 0 }
"""
POOLS = {
    "MNIST": Pool(60_000, 10, 256, 1000),
    "ImageNet": Pool(1_281_167, 1000, 2048, 10_000),
    "ten million": Pool(10_000_000, 10, 512, 10_000),
}


class Program(NamedTuple):
    """What is compiled, and the shapes of its arguments."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def seeder(sample: Callable[..., jax.Array], pool: Pool, place: "Place", **options: Any) -> Program:
    def choose(key: jax.Array, rows: Rows) -> jax.Array:
        return sample(key, rows, pool.k, sharding=place.pool, **options)

    return Program(choose, (place.key(), place.rows(pool)))


def furthest_first(pool: Pool, place: "Place") -> Program:
    def choose(rows: Rows, centers: jax.Array) -> jax.Array:
        return k_center_greedy(rows, pool.k, centers=centers, sharding=place.pool)

    return Program(choose, (place.rows(pool), place.array((place.length(pool),), jnp.bool_)))


def k_dpp(pool: Pool, place: "Place") -> Program:
    return Program(lambda key, rows: k_dpp_swap(key, rows, pool.k), (place.key(), place.rows(pool)))


def coverage(pool: Pool, place: "Place") -> Program:
    return Program(lambda rows: coverage_greedy(rows, pool.k, bandwidth=1.0), (place.rows(pool),))


def weighted_draw(pool: Pool, place: "Place") -> Program:
    return Program(
        lambda key, weights: gumbel_top_k(key, weights, pool.k), (place.key(), place.array((pool.n,)))
    )


def clusters(pool: Pool, place: "Place") -> Program:
    def cluster(key: jax.Array, points: jax.Array) -> Clusters:
        return kmeans(key, points, pool.k)

    return Program(cluster, (place.key(), place.array((pool.n, pool.d))))


def members(pool: Pool, place: "Place") -> Program:
    points, count = place.array((pool.n, pool.d)), place.array((pool.k,), jnp.int32)
    found = jax.eval_shape(lambda key, points: kmeans(key, points, pool.k), place.key(), points)
    arguments = points, place.like(found), place.array((pool.n,), jnp.bool_), count
    return Program(nearest_members, arguments)


def learning(make_model: Callable[[], Model], shape: tuple[int, ...], step: str) -> Callable[..., Program]:
    """The fit of a network, or its query by BADGE: prediction of the pool and choice."""

    def make(pool: Pool, place: "Place") -> Program:
        model, options = make_model(), FitOptions(128)
        learner = make_active_learner(model, make_optimizer(1e-3), STRATEGIES["badge"](), pool.k, options)
        state = place.like(jax.eval_shape(lambda: learner.init(pool.n, 10, 10 * pool.k)))
        inputs = place.array((pool.n, *shape))
        if step == "fit":
            return Program(learner.fit, (place.key(), state, inputs))
        fitted = jax.eval_shape(learner.fit, place.key(), state, inputs)
        return Program(learner.ask, (place.key(), state, place.like(fitted.variables), inputs))

    return make


PROGRAMS: dict[str, Callable[[Pool, "Place"], Program]] = {
    "kmeans_plusplus": lambda pool, place: seeder(kmeans_plusplus, pool, place),
    "lazy_kmeans_plusplus": lambda pool, place: seeder(lazy_kmeans_plusplus, pool, place),
    "k_center_greedy": furthest_first,
    "k_dpp_swap": k_dpp,
    "coverage_greedy": coverage,
    "gumbel_top_k": weighted_draw,
    "kmeans": clusters,
    "nearest_members": members,
    "mlp: fit": learning(lambda: mlp(10), (784,), "fit"),
    "mlp: query": learning(lambda: mlp(10), (784,), "ask"),
    "resnet18: fit": learning(lambda: resnet18(10), (32, 32, 3), "fit"),
    "resnet18: query": learning(lambda: resnet18(10), (32, 32, 3), "ask"),
}
LARGE = ("kmeans_plusplus", "lazy_kmeans_plusplus", "k_center_greedy")  # those that take any pool
WANT_LIBRARIES = (
    "k_dpp_swap",
    "resnet18: fit",
    "resnet18: query",
)  # of CUDA: factors of matrices, convolutions
CASES = [
    *(Case(program, "MNIST", chip) for chip in TPUS for program in PROGRAMS),
    *(Case(program, "MNIST", chip) for chip in GPUS for program in PROGRAMS if program not in WANT_LIBRARIES),
    *(Case(program, "ImageNet", chip) for chip in CHIPS for program in LARGE),
    *(
        Case(program, pool, chip)
        for chip in SIXTEEN
        for pool in ("ImageNet", "ten million")
        for program in LARGE
    ),
]


class Place(NamedTuple):
    """Where the arguments of a program lie.

    Attributes:
        pool: how the rows of a pool lie on several chips; None on one.
        whole: for what every chip has.
    """

    pool: NamedSharding | None
    whole: Sharding

    def array(self, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        """A matrix lies row by row: by default a TPU stores a wide one by columns, and a sampler, which takes
        rows, would copy it first. Images lie as the compiler wants them."""
        where = self.whole if self.pool is None else self.pool
        row_major = Format(Layout(tuple(range(len(shape)))), where)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=row_major if len(shape) == 2 else where)

    def length(self, pool: Pool) -> int:
        """Rows of a pool, padded as `shard_pool` does for 16 chips."""
        return pool.n if self.pool is None else -(-pool.n // (16 * 4096)) * 16 * 4096

    def rows(self, pool: Pool) -> Rows:
        return Rows(self.array((self.length(pool), pool.c)), self.array((self.length(pool), pool.d)))

    def key(self) -> jax.ShapeDtypeStruct:
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=self.whole)

    def like(self, tree: Any) -> Any:
        """The same shapes, on every chip."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.whole), tree
        )


def compilers(kind: str) -> Path:
    """The folder with the compiler for a kind of chip, "tpu" or "cuda".

    Raises:
        FileNotFoundError: if it is not there.
    """
    folder = Path(os.environ.get("BADGE_JAX_CHIPS", ".chips")).resolve() / kind
    if not folder.exists():
        raise FileNotFoundError(f"{folder.parent} has no compiler for {kind}: `make devices` installs it there")
    return folder


def place_on(name: str) -> Place:
    """One chip of CHIPS, or all of a slice."""
    chip = (CHIPS | SIXTEEN)[name]
    devices = (gpus if name in GPUS else tpus)(chip.topology)
    if name in CHIPS:
        return Place(None, SingleDeviceSharding(devices[0]))
    mesh = Mesh(np.array(devices), ("pool",))
    return Place(NamedSharding(mesh, P("pool")), NamedSharding(mesh, P()))


def tpus(topology: str) -> list[jax.Device]:
    settings = {"SKIP_MDS_QUERY": "1", "ACCELERATOR_TYPE": "v5litepod-4", "WORKER_HOSTNAMES": "localhost"}
    os.environ |= {f"TPU_{name}": value for name, value in settings.items()}
    os.environ |= {"TPU_WORKER_ID": "0", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    os.environ["TPU_LIBRARY_PATH"] = str(compilers("tpu") / "libtpu" / "libtpu.so")
    return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices


def gpus(topology: str) -> list[jax.Device]:
    load_cuda(compilers("cuda"))
    return topologies.get_topology_desc(platform="cuda", target_config=H100, topology=topology).devices


@cache
def load_cuda(folder: Path) -> None:
    """Loads JAX's plugin from its file: where JAX finds it by itself, it looks for GPUs."""
    os.environ["PATH"] += f":{folder}/nvidia/cuda_nvcc/bin"
    flags = f"--xla_gpu_cuda_data_dir={folder}/nvidia/cuda_nvcc --xla_gpu_autotune_level=0"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    file = folder / "jax_plugins" / "xla_cuda12" / "__init__.py"
    spec = importlib.util.spec_from_file_location("xla_cuda12", file)
    assert spec is not None
    assert spec.loader is not None
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    plugin.initialize()


def compile_case(case: Case, place: Place) -> dict[str, Any]:
    """Compiles a program for arguments that lie there.

    Returns:
        A record: bytes of one chip, of arguments, results, temporaries and code; the entries of the largest
        array that moves between chips; seconds of compiling, and of processors while compiling.

    Raises:
        jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED, if the program needs more memory than the chip has.
    """
    program = PROGRAMS[case.program](POOLS[case.pool], place)
    lowered = jax.jit(program.function).lower(*program.arguments)
    start, start_cpu = time.perf_counter(), time.process_time()
    compiled = lowered.compile()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    found = compiled.memory_analysis()
    return {
        **case._asdict(),
        **POOLS[case.pool]._asdict(),
        "argument_bytes": found.argument_size_in_bytes,
        "output_bytes": found.output_size_in_bytes,
        "temporary_bytes": found.temp_size_in_bytes,
        "code_bytes": found.generated_code_size_in_bytes,
        "most_moved": max(collectives(compiled.as_text()), default=0),
        "compile_s": round(seconds, 1),
        "compile_cpu_s": round(cpu_seconds, 1),
        "versions": {name: versions()[name] for name in ("jax", "jaxlib")} | compiler_version(case.chip),
    }


def collectives(text: str) -> list[int]:
    """Entries of each array that a collective of a compiled program returns or takes, on one chip."""
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
    lines = re.findall(rf"= (.*?) (?:{kinds})(?:-start)?\(", text)
    shapes = [shape for line in lines for shape in re.findall(r"\w+\[([\d,]*)\]", line)]
    return [int(np.prod([int(size) for size in shape.split(",") if size])) for shape in shapes]


def compiler_version(chip: str) -> dict[str, str]:
    kind, package = ("cuda", "jax_cuda12_plugin") if chip in GPUS else ("tpu", "libtpu")
    (folder,) = compilers(kind).glob(f"{package}-*.dist-info")
    return {package: folder.name.removeprefix(f"{package}-").removesuffix(".dist-info")}


def read_records() -> dict[Case, dict[str, Any]]:
    """The latest line of each case."""
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    records = [json.loads(line) for line in lines]
    return {Case(r["program"], r["pool"], r["chip"]): r for r in records}


def table(records: dict[Case, dict[str, Any]]) -> str:
    lines = [
        "| pool | program | chip | arguments | temporaries | code | compiling, CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in [case for case in CASES if case in records]:
        record = records[case]
        lines.append(
            f"| {case.pool} | `{case.program}` | {case.chip} | {gib(record['argument_bytes'])} "
            f"| {gib(record['temporary_bytes'])} | {gib(record['code_bytes']) if record['code_bytes'] else ''} "
            f"| {record['compile_cpu_s']:.0f} |"
        )
    return "\n".join(lines)


def gib(number: int) -> str:
    return f"{number / GIB:.2f} GiB" if number >= GIB / 10 else f"{number / 2**20:.1f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="programs whose name starts so")
    parser.add_argument("--pool", choices=POOLS, help="one of the pools")
    parser.add_argument("--chip", choices=CHIPS | SIXTEEN, help="one of the chips")
    parser.add_argument("--table", action="store_true", help="compile nothing, print what is known as a table")
    options = parser.parse_args()
    if options.table:
        print(table(read_records()))
        return
    for case in CASES:
        is_wanted = options.chip in (None, case.chip) and options.pool in (None, case.pool)
        if not (is_wanted and case.program.startswith(options.only or "")) or case in read_records():
            continue
        try:
            record = compile_case(case, place_on(case.chip))
        except jax.errors.JaxRuntimeError as error:
            print(f"{case}: {str(error)[:300]}", flush=True)
            continue
        with RECORDS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
