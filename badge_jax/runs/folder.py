"""The folder of a run that several processes may make together."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from badge_jax.processes import agree, told_by_first
from badge_jax.runs.directory import open_directory


class Folder(NamedTuple):
    """The folder of a run. Of several processes, the first one alone reads and writes it.

    Attributes:
        out: its path.
        is_shared: whether several processes make the run.
    """

    out: Path
    is_shared: bool

    @property
    def is_here(self) -> bool:
        """Whether this process reads and writes it."""
        return not self.is_shared or jax.process_index() == 0

    def opened(self) -> contextlib.AbstractContextManager[None]:
        """Locked for a ``with`` block."""
        return open_directory(self.out) if self.is_here else contextlib.nullcontext()

    def told(self, read: Callable[[], Any]) -> Any:
        """What is read there, in all processes: for several, as JSON gives it back."""
        if not self.is_shared:
            return read()
        content = json.dumps(read(), default=np.ndarray.tolist).encode() if self.is_here else None
        return json.loads(told_by_first(content))

    def write(self, write: Callable[[Path, Any], None], content: Any) -> None:
        """Writes one of its files."""
        if self.is_here:
            write(self.out, content)

    def wait(self) -> None:
        """Until all processes are here, and none has failed: a program that they share would wait for ever."""
        if self.is_shared:
            agree()
