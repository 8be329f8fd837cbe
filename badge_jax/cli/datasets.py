"""``badge-jax datasets``: lists the data sets, or fetches one before it is needed."""

from dataclasses import dataclass
from typing import Literal

import tyro

from badge_jax.data import (
    DATASETS,
    UNCACHED,
    DatasetInfo,
    fetch,
    on_this_machine,
    resolve_source,
    where_kept,
)
from badge_jax.errors import InputError


@dataclass(frozen=True)
class Datasets:
    """List the data sets, or fetch one into the cache."""

    action: tyro.conf.Positional[Literal["list", "fetch"]] = "list"
    """What to do."""
    name: tyro.conf.Positional[str | None] = None
    """The data set to fetch: a name that is listed, or openml:ID."""
    source: str | None = None
    """Where to fetch it from; without it, the first source listed."""

    def execute(self) -> None:
        """Prints the list, or fetches the data set. Raises InputError for wrong arguments."""
        if self.action == "fetch":
            if self.name is None:
                raise InputError(f"datasets fetch wants a name (known: {', '.join(DATASETS)}, openml:ID)")
            if resolve_source(self.name, self.source) in UNCACHED:
                raise InputError(f"{self.name} is your own file or function; there is nothing to fetch")
            data = fetch(self.name, self.source)
            print(f"{self.name}: {len(data.labels):,} rows, in {where_kept(self.name, self.source)}")
            return
        if self.name is not None or self.source is not None:
            raise InputError(f"datasets list takes no {self.name or '--source'}; `datasets fetch` does")
        rows = [("name", "source", "size", "shape", "classes", "here", "")]
        rows += [
            (
                name,
                source,
                *_size_and_shape(info, source),
                str(info.num_classes),
                "yes" if on_this_machine(name, source) else "no",
                info.summary,
            )
            for name, info in DATASETS.items()
            for source in info.sources
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        print(
            "\nA data set may also be openml:ID for any other classification set of OpenML, the path of an .npz"
        )
        print("file with inputs and labels, or module:function for your own function that returns them.")
        print("The first source listed is the default; --source takes another.")


def _size_and_shape(info: DatasetInfo, source: str) -> tuple[str, str]:
    """The number of rows, with test rows behind a plus, and the shape of a row, as text."""
    num_rows = info.sources[source].num_rows
    size = f"{num_rows:,} + {info.num_test:,}" if info.num_test else f"{num_rows:,}"
    return size, " × ".join(map(str, info.shape)) if info.channels else f"{info.shape[0]} columns"
