"""The order of strategies in tables and figures, and the look of each."""

from collections.abc import Iterable
from itertools import cycle
from typing import NamedTuple

from badge_jax.strategies import STRATEGIES


class Style(NamedTuple):
    """How a strategy's line is drawn.

    Attributes:
        colour: ``#RRGGBB``.
        dashes: A line style of matplotlib: its name, or (offset, lengths in points of dashes and gaps).
        marker: A marker of matplotlib.
    """

    colour: str
    dashes: str | tuple[float, tuple[float, ...]]
    marker: str


# The colours of Okabe and Ito, grey and brown: the colour-blind can tell them apart. Dashes and markers serve
# grey print. These are the paper's nine strategies, the first of the registry, in its order.
PAPER_STYLES = (
    Style("#0072B2", "-", "o"),
    Style("#000000", "--", "s"),
    Style("#E69F00", "-.", "v"),
    Style("#D55E00", "-", "^"),
    Style("#CC79A7", ":", "D"),
    Style("#009E73", "-", "P"),
    Style("#7F7F7F", "-.", "<"),
    Style("#8B6508", ":", ">"),
    Style("#56B4E9", "--", "X"),
)

# Colours of Paul Tol's muted scheme, also safe for the colour-blind, each with its marker. Five of these and
# four kinds of dashes make 20 styles, and neighbours differ in both.
_LOOKS = (("#332288", "*"), ("#999933", "x"), ("#882255", "d"), ("#117733", "+"), ("#AA4499", "p"))
_DASHES = (
    (0.0, (7.0, 1.5)),
    (0.0, (1.0, 1.0, 1.0, 3.0)),
    (0.0, (9.0, 2.0, 3.0, 2.0)),
    (0.0, (5.0, 1.0, 1.0, 1.0, 1.0, 1.0)),
)
OTHER_STYLES = tuple(
    Style(colour, dashes, marker)
    for _, (colour, marker), dashes in zip(range(20), cycle(_LOOKS), cycle(_DASHES), strict=False)
)


def in_order(strategies: Iterable[str]) -> list[str]:
    """The order of strategies in all tables and figures: as registered, then all others by name.

    Args:
        strategies: Names, with their options if they have any; repeats are ignored.

    Returns:
        Each name once.

    Example:
        >>> in_order(["mine:make", "random", "badge(first=norm)", "badge", "random"])
        ['badge', 'random', 'badge(first=norm)', 'mine:make']
    """
    names = set(strategies)
    known = [name for name in STRATEGIES if name in names]
    return [*known, *sorted(names - set(known))]


def styles_of(strategies: Iterable[str]) -> dict[str, Style]:
    """The look of each strategy of a report.

    The paper's nine strategies always look the same. All others take the next of 20 further styles, in the
    order of their names, so a report draws a strategy alike in all figures if all get the same ``strategies``.

    Args:
        strategies: All strategies of the report; repeats are ignored.

    Returns:
        Strategy → style, as ordered by `in_order`.

    Example:
        >>> styles_of(["mine:make", "badge"])["badge"]
        Style(colour='#0072B2', dashes='-', marker='o')
    """
    names = in_order(strategies)
    styles = dict(zip(STRATEGIES, PAPER_STYLES, strict=False))
    styles |= zip(sorted(set(names) - styles.keys()), cycle(OTHER_STYLES), strict=False)
    return {name: styles[name] for name in names}
