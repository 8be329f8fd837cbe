"""Options of commands that several processes share."""

import contextlib
from dataclasses import dataclass, fields

from badge_jax.errors import InputError
from badge_jax.processes import joined


@dataclass(frozen=True)
class Processes:
    """Options of a command that is started several times, once in each process."""

    distributed: bool = False
    """Share the work with other processes, started by SLURM, Open MPI or Kubernetes, or by hand with the next
    three options. Process 0 writes."""
    coordinator: str | None = None
    """HOST:PORT where process 0 listens."""
    num_processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Number of this process, from 0."""

    def joined(self) -> contextlib.AbstractContextManager[None]:
        """The other processes, joined for a ``with`` block; nothing happens without ``--distributed``.

        Raises:
            InputError: for the other options without it.
        """
        if self.distributed:
            return joined(self.coordinator, self.num_processes, self.process_id)
        for field in fields(self)[1:]:
            if getattr(self, field.name) is not None:
                raise InputError(
                    f"--{field.name.replace('_', '-')} is given without --distributed; wanted both or neither"
                )
        return contextlib.nullcontext()

    def check_shared(self, **alone: object) -> None:
        """Raises InputError if one of the options ``alone``, which are of one process only, is given."""
        for name, value in alone.items():
            if self.distributed and value:
                raise InputError(
                    f"--{name.replace('_', '-')} is for a single process; wanted it without --distributed"
                )
