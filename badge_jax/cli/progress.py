"""How far the work is, on stderr."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

_EVERY = 60.0  # seconds between two lines where there is no terminal


class Progress:
    """A bar on a terminal; in a pipe or a file, a line a minute.

    Args:
        what: what is done at first.
    """

    def __init__(self, what: str) -> None:
        layout = "{desc} {percentage:3.0f} %|{bar}| {elapsed}{postfix}"
        self._bar = tqdm(total=1, disable=None, bar_format=layout, desc=what)
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()

    def show(self, what: str, done: int, total: int, detail: str = "") -> None:
        """Says that ``done`` of ``total`` is done of what is worked at, and a detail."""
        if not self._bar.disable:
            self._bar.total, self._bar.n = total, done
            self._bar.set_description_str(what, refresh=False)
            self._bar.set_postfix_str(detail, refresh=False)
            self._bar.update(0)
        elif (now := time.monotonic()) - self._last >= _EVERY:
            self._last = now
            minutes = (now - self._start) / 60
            line = f"{what} {done:,} of {total:,}, {minutes:.0f} min"
            print(f"badge-jax: {line}{detail and ', '}{detail}", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Prints a line on stdout, above the bar."""
        tqdm.write(line)
