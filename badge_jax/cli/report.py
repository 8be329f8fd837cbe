"""``badge-jax report``: tables, curves and comparisons of finished runs."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Report:
    """Turn run directories into tables, learning curves, comparisons of strategies, and a page of all these."""

    directories: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders that hold them."""
    out: Path
    """Folder to write the report to."""

    def execute(self) -> None:
        """Writes the report, and prints its table and the paths of its main files."""
        from badge_jax.analysis import report

        result = report(self.directories, self.out)
        print(result.table)
        print()
        for path in (*result.pictures, result.summary, result.page):
            print(path)
