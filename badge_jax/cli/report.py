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
    metric: str = "accuracy"
    """What is compared: accuracy, balanced_accuracy, macro_f1, log_loss or calibration_error."""

    def execute(self) -> None:
        """Writes the report, and prints its table, what was skipped, and the paths of its main files."""
        from badge_jax.analysis import report

        result = report(self.directories, self.out, metric=self.metric)
        print(result.table)
        print()
        if result.skipped:
            count = len(result.skipped)
            print(f"skipped {count} run{'s' if count > 1 else ''}; the page names them and says why")
        for path in (*result.pictures, result.summary, result.page):
            print(path)
