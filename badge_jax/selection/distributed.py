"""A selection by several processes: each reads its own rows of the pool, and all choose together."""

import zlib
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from badge_jax._version import __version__
from badge_jax.array_files import StoredArray
from badge_jax.errors import InputError
from badge_jax.processes import agree, mesh_of_processes, sampled_rows
from badge_jax.selection._select import Selection
from badge_jax.selection.choose import check_picks
from badge_jax.selection.copies import remarks_on_repeats
from badge_jax.selection.matrices import Matrix
from badge_jax.selection.survey import (
    Embed,
    Part,
    Validity,
    check_values,
    embedding_of,
    errors_of_strategy,
    look_at,
    pool_of,
    validity_of,
)
from badge_jax.selection.task import Task
from badge_jax.shards import Shards, on_each_device, shard_pool
from badge_jax.strategies import Ranked, Strategy, on_devices


def run_distributed(task: Task) -> Selection:
    """Reads the pool and chooses, in all processes of a `badge_jax.processes.joined` block together.

    The picks are those that the strategy makes of the whole pool in the memory of one device, as far as
    docs/devices.md says so.

    Args:
        task: what to choose, and from what; the same in all processes.

    Returns:
        `Selection`, the same in all processes but for remarks.

    Raises:
        InputError: as `run_task`, and for what several processes cannot do.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from badge_jax.selection import Inputs, SelectOptions, make_task, open_matrix, run_distributed
        >>> with tempfile.TemporaryDirectory() as folder:  # one process is enough
        ...     path = Path(folder) / "logits.npy"
        ...     np.save(path, np.array([[0.0, 9.0], [1.0, 1.1], [0.0, 5.0]], np.float32))
        ...     task = make_task(SelectOptions(2, "margin"), Inputs(logits=open_matrix(path, "logits")))
        ...     run_distributed(task).indices.tolist()
        [1, 2]
    """
    mesh = mesh_of_processes()
    strategy = _on_devices(task, NamedSharding(mesh, P("pool")))
    agree(_description(task))
    part = _spread(task, mesh)
    agree()
    with errors_of_strategy(task):
        valid = _validity(
            part,
            score=task.strategy.plan if isinstance(task.strategy.plan, Ranked) else None,
            embed=embedding_of(task),
            has_probabilities=task.has_probabilities,
            sharding=NamedSharding(mesh, P("pool")),
        )
    valid = multihost_utils.process_allgather(valid, tiled=True)
    remarks = check_values(task, jax.tree.map(lambda are: are[: len(task.available)], valid))
    agree()
    with errors_of_strategy(task):
        picks = _picks(
            np.uint32(task.seed), part, strategy=strategy, k=task.k, has_probabilities=task.has_probabilities
        )
    indices = check_picks(task, picks)
    if jax.process_index() == 0:  # for what is read here, the others need not wait
        remarks += remarks_on_repeats(task, indices)
    return Selection(indices, remarks, {})


def _on_devices(task: Task, sharding: NamedSharding) -> Strategy:
    """The task's strategy for a pool on all devices. Raises InputError for a task that cannot be spread so."""
    if task.strategy.plan is None and task.strategy.needs:
        raise InputError(
            f"strategy {task.name} has no plan, so it needs the whole pool in one process; wanted it without "
            "--distributed, or one that scores or embeds every row by itself, such as badge, coreset or margin"
        )
    for matrix in task.needed:
        stored = matrix.stored
        is_member = isinstance(stored, StoredArray) and stored.member is not None  # its checksum is of all rows
        if stored is None or is_member or stored.why_whole is not None:
            found = "no file" if stored is None else stored.why_whole or "in an archive"
            raise InputError(
                f"{matrix.name} is {found}; wanted a .npy file in C order, so that a process reads its own rows"
            )
    try:
        return on_devices(task.strategy, sharding)
    except ValueError as error:
        raise InputError(f"strategy {task.name}: {error}") from None


def _description(task: Task) -> str:
    """What is to be the same in all processes; of the files, the shapes and a few rows."""
    files = [
        (
            matrix.name,
            matrix.shape,
            matrix.dtype.str,
            zlib.crc32(matrix.take(sampled_rows(matrix.shape[0])).tobytes()),
        )
        for matrix in task.needed
    ]
    rows = zlib.crc32(task.available.tobytes())
    return repr((__version__, jax.__version__, task.k, task.seed, task.name, task.code, files, rows))


def _spread(task: Task, mesh: Mesh) -> Part:
    """The pool on all devices, float32, padded with rows that are neither available nor labeled."""
    outputs, features, representation = (
        m and _FromFile(m) for m in (task.outputs, task.features, task.representation)
    )
    part, _ = shard_pool(Part(outputs, features, representation, task.is_labeled, task.available), mesh)
    return part


@dataclass(frozen=True)
class _FromFile:
    """A matrix as an array whose rows `shard_pool` takes by slices."""

    matrix: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        return self.matrix.read(start, max(start, stop)).astype(np.float32)


@partial(jax.jit, static_argnames=("score", "embed", "has_probabilities", "sharding"))
def _validity(
    part: Part, *, score: Ranked | None, embed: Embed | None, has_probabilities: bool, sharding: NamedSharding
) -> Validity:
    """Which rows are valid; each device looks at its own."""

    def look(shards: Shards, whole: tuple[()], part: Part) -> Validity:
        return validity_of(look_at(part, score=score, embed=embed, has_probabilities=has_probabilities))

    return on_each_device(sharding, look, (), part, is_sharded=True)


@partial(jax.jit, static_argnames=("strategy", "k", "has_probabilities"))
def _picks(seed: jax.Array, part: Part, *, strategy: Strategy, k: int, has_probabilities: bool) -> jax.Array:
    """The strategy's picks: [k] int32, the same on all devices."""
    pool = pool_of(part, has_probabilities)
    return strategy.query(jax.random.key(seed), strategy.init(len(part.available), 1), pool, k)[0]
