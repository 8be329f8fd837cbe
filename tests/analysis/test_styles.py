"""The order and the look of strategies, on paper, in grey and for the colour-blind."""

from itertools import pairwise

from badge_jax import STRATEGIES
from badge_jax.analysis import in_order, styles_of
from badge_jax.analysis.styles import OTHER_STYLES, PAPER_STYLES

PAPER = {  # as in every report since 0.1
    "badge": ("#0072B2", "-", "o"),
    "random": ("#000000", "--", "s"),
    "margin": ("#D55E00", "-", "^"),
    "confidence": ("#E69F00", "-.", "v"),
    "entropy": ("#CC79A7", ":", "D"),
    "coreset": ("#009E73", "-", "P"),
    "badge_kcenter": ("#56B4E9", "--", "X"),
    "albl": ("#7F7F7F", "-.", "<"),
    "badge_kdpp": ("#8B6508", ":", ">"),
}
OWN = ["mine:make(alpha=0.3)", "badge(first=norm)", "$odd$", "another", *map(str, range(8))]


def test_the_nine_of_the_paper_are_fixed():
    assert styles_of(PAPER) == PAPER
    assert {name: style for name, style in styles_of([*OWN, *PAPER]).items() if name in PAPER} == PAPER


def test_no_two_strategies_look_alike():
    styles = [*PAPER_STYLES, *OTHER_STYLES]
    assert len({(style.dashes, style.marker) for style in styles}) == len(styles), "in grey print"
    assert len({(style.colour, style.dashes) for style in styles}) == len(styles), "without markers"
    assert not {style.colour for style in PAPER_STYLES} & {style.colour for style in OTHER_STYLES}
    assert len(OTHER_STYLES) >= 12
    for first, second in pairwise(OTHER_STYLES):
        assert all(ours != theirs for ours, theirs in zip(first, second, strict=True)), "neighbours"


def test_other_strategies_get_styles_of_their_own_by_their_names():
    styles = styles_of([*OWN, "badge"])
    assert len(set(styles.values())) == len(OWN) + 1
    assert styles == styles_of(["badge", *reversed(OWN), *OWN])
    assert [styles[name] for name in sorted(OWN)] == list(OTHER_STYLES[: len(OWN)])


def test_more_strategies_than_styles_repeat_them():
    names = [f"own{i:03}" for i in range(50)]
    assert styles_of(names)["own049"] == OTHER_STYLES[49 % len(OTHER_STYLES)]


def test_order():
    assert in_order([*OWN, *reversed(list(STRATEGIES))]) == [*STRATEGIES, *sorted(OWN)]
