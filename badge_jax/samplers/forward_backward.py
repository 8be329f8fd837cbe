"""Greedy design: add rows one by one, then remove some of them one by one."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from badge_jax.rows import Rows, check_rows
from badge_jax.samplers.checks import availability, check_count
from badge_jax.samplers.fisher import Change, Form, Information, Scores, after, change_of, refreshed

ADD, REMOVE = 1.0, -1.0
_EQUAL = 2.0**-20  # relative difference up to which gains are equal: they are sums of float32 numbers
_UPDATES = 128  # changes after which P is computed from M
_SCORED = 1024  # changes after which all scores are computed from P, if they have not fallen
_FALLEN = 16.0  # and if they have: then four of their 24 bits are lost


class Sizes(NamedTuple):
    """How many steps are taken at once.

    Attributes:
        num_steps: m, steps that are proposed among few rows before all rows are looked at.
        num_candidates: these few rows, those of the greatest gains.
    """

    num_steps: int
    num_candidates: int


def sizes_for(rows: Rows) -> Sizes:
    """Steps enough for a matrix product with all rows that is no longer bound by reading them."""
    num_steps = max(1, 16 // rows.left.shape[1])
    return Sizes(num_steps, 512 if num_steps > 1 else 1)


@partial(jax.jit, static_argnames=("form", "k", "num_forward", "sizes"))
def forward_backward(
    form: Form,
    rows: Rows,
    k: int,
    base: jax.Array,
    target: jax.Array,
    *,
    available: jax.Array | None = None,
    num_forward: int | None = None,
    sizes: Sizes | None = None,
) -> jax.Array:
    """Chooses k rows S that make tr((base + Σ_S I(x))⁻¹ target) small, greedily.

    First ``num_forward`` times the row that lowers it most is added. Then the row whose removal raises it least
    is removed, until k are left. Of equal rows (to 1e-6 of their gain) the one of the lower index is added, and
    the one added last is removed.

    The objective is not submodular, so an old gain is no bound of today's. But what a step does to a row is
    known from the row's products with a few vectors, and these follow from the row that is added. So several
    steps are proposed among the rows of the greatest gains. One matrix product of all rows with the vectors of
    all these steps then gives every row's gain before each of them. Steps are kept up to the first for which
    another row would have been better. So each pick is the best of all rows, and several picks share one
    reading of the pool.

    P is refreshed every 128 changes, and all gains are computed from P whenever they have fallen to a 16th. All
    is float32: a pick may lack a share of the best gain of about 1e-8 times the condition number of M.

    Args:
        form: of `FORMS`.
        rows: `Rows` of n rows, with the form's left factors and the features on the right, float32.
        k: how many to choose, 1 ≤ k ≤ n.
        base: [b, e, e] float32, the information before any row is chosen; positive definite.
        target: [b, e, e] float32, what the information is for. Its scale does not matter.
        available: [n] bool, rows that may be chosen. None: all rows.
        num_forward: how many to add, k to n. None: k.
        sizes: `Sizes`. None: what suits the form. They decide on the time only.

    Returns:
        [k] int32, in the order added. −1 for the surplus where fewer than k rows are available, and from the
        first addition for which a gain is not finite.

    Raises:
        ValueError: for shapes or counts that do not fit.

    References:
        Ash, Goel, Krishnamurthy and Kakade, NeurIPS 2021.

    Example:
        >>> import jax.numpy as jnp
        >>> from badge_jax import Rows
        >>> from badge_jax.samplers.fisher import FORMS, total_information
        >>> from badge_jax.samplers.forward_backward import forward_backward
        >>> rows = Rows(jnp.ones((4, 1)), jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.5]]))
        >>> target = total_information(FORMS["binary"], rows, jnp.ones(4))
        >>> forward_backward(FORMS["binary"], rows, 2, jnp.eye(2)[None], target).tolist()
        [0, 2]
    """
    check_rows(rows)
    n = len(rows)
    check_count(k, n)
    num_forward = k if num_forward is None else num_forward
    if not k <= num_forward <= n:
        raise ValueError(f"num_forward is {num_forward}; wanted k = {k} to n = {n}")
    free = availability(available, n)
    sizes = sizes or sizes_for(rows)
    scale = jnp.trace(jnp.sum(target, axis=0)) / target.shape[0] / target.shape[1]
    target = jnp.ldexp(target, -jnp.frexp(jnp.where(scale > 0, scale, 1.0))[1])
    count = jnp.minimum(num_forward, jnp.sum(free))
    design = _greedy(
        form, rows, free, Information(base, jnp.zeros_like(base), target), count, ADD, num_forward, sizes
    )
    if num_forward == k:
        return design.chosen
    return _without_the_least(form, rows, design, k, sizes)


def _without_the_least(form: Form, rows: Rows, design: "Design", k: int, sizes: Sizes) -> jax.Array:
    """The rows chosen in ``design``, without those whose removal costs least: [k] int32 in the order added."""
    last_first = design.chosen[::-1]  # so that of equal rows the one added last comes first
    is_row = last_first >= 0
    some = rows[jnp.maximum(last_first, 0)]
    count = design.number - k  # negative if there are fewer
    pruned = _greedy(form, some, is_row, design.information, count, REMOVE, len(some) - k, sizes)
    places = jnp.nonzero(pruned.free[::-1], size=k, fill_value=-1)[0]
    return jnp.where(places >= 0, design.chosen[places], -1)


class Design(NamedTuple):
    """A greedy choice, complete or in progress.

    Attributes:
        chosen: [m] int32, rows added or removed, in order; −1 from ``number`` on.
        number: scalar int32, how many of them there are.
        free: [n] bool, rows that may still be chosen.
        information: `Information` with all of them.
        scores: `Scores` of all rows.
        heights: [2] float32, the greatest G and H when the scores were last computed from P.
        ages: [2] int32, changes since P was computed from M, and the scores from P.
        is_going: scalar bool, False once a gain is not finite.
    """

    chosen: jax.Array
    number: jax.Array
    free: jax.Array
    information: Information
    scores: Scores
    heights: jax.Array
    ages: jax.Array
    is_going: jax.Array


def _greedy(
    form: Form,
    rows: Rows,
    free: jax.Array,
    information: Information,
    count: jax.Array,
    sign: float,
    most: int,
    sizes: Sizes,
) -> Design:
    """Adds or removes ``count`` rows (at most ``most``), each the one of the greatest gain."""
    m = sizes.num_steps

    def is_short(design: Design) -> jax.Array:
        return design.is_going & (design.number < count)

    def step(design: Design) -> Design:
        design = _kept_exact(form, rows, design)
        picks, changes = _propose(form, rows, design, sign, sizes)
        happened, free, scores, is_going = _verify(
            form, rows, design, picks, changes, jnp.arange(m) < count - design.number, sign
        )
        number = jnp.sum(happened, dtype=jnp.int32)
        places = jnp.where(happened, design.number + jnp.arange(m), most)
        return design._replace(
            chosen=design.chosen.at[places].set(picks, mode="drop"),
            number=design.number + number,
            free=free,
            information=after(design.information, changes, sign, happened),
            scores=scores,
            ages=design.ages + number,
            is_going=is_going,
        )

    nothing = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(form.scores, information, rows)
    )
    design = Design(
        chosen=jnp.full(most, -1, jnp.int32),
        number=jnp.int32(0),
        free=free,
        information=information,
        scores=nothing,
        heights=jnp.full(2, jnp.inf),  # so that the first step computes the scores
        ages=jnp.zeros(2, jnp.int32),
        is_going=jnp.bool_(True),
    )
    return jax.lax.while_loop(is_short, step, design)


def _propose(form: Form, rows: Rows, design: Design, sign: float, sizes: Sizes) -> tuple[jax.Array, Change]:
    """The next m picks if no other rows were there than those of the greatest gains.

    Returns:
        [m] int32 row numbers, and `Change` with a first axis [m].
    """
    gains = _gains(form, design.scores, design.free, sign)
    best = jax.lax.top_k(gains, min(len(rows), sizes.num_candidates))[1]
    if sizes.num_candidates == 1:
        best = _first_best(gains)[None]
    indices = jnp.sort(best)
    some, scores = rows[indices], jax.tree.map(lambda part: part[indices], design.scores)

    def step(carry: tuple, _: None) -> tuple[tuple, tuple[jax.Array, Change]]:
        information, scores, free = carry
        place = _first_best(_gains(form, scores, free, sign))
        change = change_of(information, form.factor(some[place[None]]), sign)
        alone = jax.tree.map(lambda part: part[None], change)
        u, t = form.project(some, jnp.stack([change.moved, change.pulled]))
        scores = form.update(scores, change, u, t)
        information = after(information, alone, sign, jnp.ones(1, bool))
        return (information, scores, free.at[place].set(False)), (indices[place], change)

    start = design.information, scores, design.free[indices]
    return jax.lax.scan(step, start, length=sizes.num_steps)[1]


def _verify(
    form: Form,
    rows: Rows,
    design: Design,
    picks: jax.Array,
    changes: Change,
    is_wanted: jax.Array,
    sign: float,
) -> tuple[jax.Array, jax.Array, Scores, jax.Array]:
    """Takes the proposed steps while each is the best of all rows. The first always is.

    Returns:
        happened [m] bool, free [n] bool and `Scores` after these steps, and False if a gain is not finite.
    """
    m = len(picks)
    products = form.project(rows, jnp.concatenate([changes.moved, changes.pulled]))

    def step(carry: tuple, proposal: tuple) -> tuple[tuple, jax.Array]:
        is_live, is_going, free, scores = carry
        pick, change, is_first, is_wanted, u, t = proposal
        gains = _gains(form, scores, free, sign)
        best = jnp.max(gains)
        is_going = is_going & (jnp.isfinite(best) | ~is_live | ~is_wanted)
        is_best = gains[pick] >= best - 2 * _EQUAL * jnp.abs(best)
        is_live = (
            is_live & is_wanted & is_going & is_best & (is_first | ~_has_fallen(design.heights, scores, free))
        )
        later = form.update(scores, change, u, t)
        scores = jax.tree.map(partial(jnp.where, is_live), later, scores)
        free = free.at[jnp.where(is_live, pick, len(free))].set(False, mode="drop")
        return (is_live, is_going, free, scores), is_live

    start = jnp.bool_(True), design.is_going, design.free, design.scores
    proposals = picks, changes, jnp.arange(m) == 0, is_wanted, products[:m], products[m:]
    (_, is_going, free, scores), happened = jax.lax.scan(step, start, proposals)
    return happened, free, scores, is_going


def _kept_exact(form: Form, rows: Rows, design: Design) -> Design:
    """``design`` with P, and the scores, computed anew if their rounding errors may matter.

    P is a difference of many numbers; it is right again once it is computed from M, which is a sum. So are the
    scores, whose errors are those of the greatest values that they have had.
    """
    is_due = (design.ages[1] >= _SCORED) | _has_fallen(design.heights, design.scores, design.free)
    information = jax.lax.cond(
        is_due | (design.ages[0] >= _UPDATES), refreshed, lambda information: information, design.information
    )
    ages = jnp.where(jnp.stack([is_due | (design.ages[0] >= _UPDATES), is_due]), 0, design.ages)

    def score(information: Information) -> tuple[Scores, jax.Array]:
        scores = form.scores(information, rows)
        return scores, _heights(scores, design.free)

    scores, heights = jax.lax.cond(is_due, score, lambda _: (design.scores, design.heights), information)
    return design._replace(information=information, scores=scores, heights=heights, ages=ages)


def _has_fallen(heights: jax.Array, scores: Scores, free: jax.Array) -> jax.Array:
    """Whether the greatest G + 1 or H is below a 16th of the ``heights`` [2]."""
    return jnp.any(heights > _FALLEN * (_heights(scores, free) + jnp.array([1.0, 0.0])))


def _heights(scores: Scores, free: jax.Array) -> jax.Array:
    """The greatest G and H of the ``free`` rows, by their traces: [2] float32."""

    def height(part: jax.Array) -> jax.Array:
        if part.ndim == 3:
            part = jnp.diagonal(part, axis1=1, axis2=2)
        return jnp.max(jnp.where(free, jnp.sum(part, axis=1), 0.0))

    return jnp.stack([height(scores.known), height(scores.pull)])


def _gains(form: Form, scores: Scores, free: jax.Array, sign: float) -> jax.Array:
    """The gains of the ``free`` rows, −∞ for others: [n] float32."""
    return jnp.where(free, form.gains(scores, sign), -jnp.inf)


def _first_best(gains: jax.Array) -> jax.Array:
    """The first place whose gain is the greatest, but for rounding."""
    best = jnp.max(gains)
    return jnp.argmax(gains >= best - _EQUAL * jnp.abs(best)).astype(jnp.int32)
