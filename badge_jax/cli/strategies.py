"""``badge-jax strategies``: what there is, and what each needs."""

import inspect
import textwrap
from dataclasses import dataclass

import jax

from badge_jax.strategies import STRATEGIES


@dataclass(frozen=True)
class Strategies:
    """List the strategies: what each needs, where it runs, when to take it."""

    def execute(self) -> None:
        rows = [("name", "needs", "select", "first j", "options")]
        summaries = [""]
        for name, make in STRATEGIES.items():
            strategy = make()
            is_stateless = not jax.tree.leaves(jax.eval_shape(lambda s=strategy: s.init(1, 1)))
            is_for_any = strategy.plan is not None or (is_stateless and not strategy.needs)
            is_for_one = is_stateless and "labels" not in strategy.needs  # select has none
            where = "any pool" if is_for_any else "in memory" if is_for_one else "no"
            parameters = inspect.signature(make).parameters.values()
            options = ", ".join(f"{option.name}={option.default}" for option in parameters)
            needs = ", ".join(strategy.needs) or "–"
            prefix = "yes" if strategy.is_prefix_consistent else "no"
            rows.append((name, needs, where, prefix, options or "–"))
            summaries.append((inspect.getdoc(make) or "").partition("\n\n")[0])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row, summary in zip(rows, summaries, strict=True):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            for line in textwrap.wrap(summary, 100):
                print(f"    {line}")
        print(_NOTES)


_NOTES = """
select: whether `badge-jax select` runs it, on pools of any size or on those that fit the memory.
first j: whether the first j picks are the picks for --k j.
Options go in parentheses, such as 'badge(first=norm)'. One of yours: module:maker.
With embedding=representation, a strategy reads the representation in place of features.
Measure against random where you can."""
