"""What a campaign knows: labels, the open batch, and the rows reserved for the audit, as pure functions.

**The audit.** Before the first batch, a share of the pool is drawn uniformly and reserved, in random order. The
strategy and the head are never shown these rows: whatever they do, they do without them. A share of each batch
comes from the head of that order. So at any time the audit rows asked for are the first of a uniformly random
order of rows that had no influence on any model, which is what a test set is. The share of them that a model
gets right is an unbiased estimate of how often it is right about rows like those of the pool that it was not
trained on. The strategy chooses its rows for being hard, so their labels would not do.

People may leave rows unanswered, perhaps the hard ones. So the audit counts from the head of the order up to
the first row that has no answer yet.
"""

from typing import NamedTuple

import numpy as np

SKIPPED = -1
"""The label of a row that people could not or would not label."""
ON_SKIPPED = ("exclude", "offer")
"""What becomes of such a row: it is not offered again, or it may be."""

_AUDIT_STREAM = 2  # numbers the random stream of the audit's order, beside the seed


class CampaignState(NamedTuple):
    """What is known of a pool of n rows. Nothing in it is ever changed; functions return a new one.

    Attributes:
        labels: [n] int32, −1 where not known.
        excluded: [n] bool, rows that were skipped and are not to be offered again.
        reserve: [m] int64, rows of the audit, in the order in which they are asked for.
        num_audited: how many of ``reserve``, from its head, were part of a batch so far.
        batch: [k] int64, rows of the last batch in its order; empty before the first.
        is_open: [k] bool, rows of the last batch that have no answer yet.
        num_batches: batches so far.
        num_asked: rows of all batches so far.
    """

    labels: np.ndarray
    excluded: np.ndarray
    reserve: np.ndarray
    num_audited: int
    batch: np.ndarray
    is_open: np.ndarray
    num_batches: int
    num_asked: int


class Taken(NamedTuple):
    """What answers did to a campaign.

    Attributes:
        rows: [m] int64, the rows whose answers changed anything.
        labels: [m] int32, their labels; −1 for skipped.
        num_new: rows that had no label and have one now.
        num_corrected: rows that had another label.
        num_repeated: answers that were known already.
        num_skipped: rows without a label that were skipped.
        num_kept: rows that were skipped and keep the label that they have.
        num_blank: rows without a label whose empty label counts for nothing.
    """

    rows: np.ndarray
    labels: np.ndarray
    num_new: int
    num_corrected: int
    num_repeated: int
    num_skipped: int
    num_kept: int
    num_blank: int = 0


def begin(n: int, *, audit: float = 0.0, seed: int = 0) -> CampaignState:
    """A campaign with nothing asked or labeled yet.

    Args:
        n: rows of the pool.
        audit: share of the pool, and of each batch, that is for the audit; at least 0 and below 1.
        seed: of the order of the audit's rows.

    Raises:
        ValueError: for no rows, or a share out of range.

    Example:
        >>> from badge_jax.campaign import begin
        >>> len(begin(1000, audit=0.1).reserve)
        100
    """
    if n < 1:
        raise ValueError(f"n is {n}; wanted at least one row")
    if not 0 <= audit < 1:
        raise ValueError(f"audit is {audit}; wanted a share of at least 0 and below 1")
    # sorting raw bits: NumPy promises that these stay the same from version to version, unlike its permutations
    bits = np.random.PCG64(np.random.SeedSequence([seed, _AUDIT_STREAM])).random_raw(n)
    return CampaignState(
        labels=np.full(n, -1, np.int32),
        excluded=np.zeros(n, bool),
        reserve=np.argsort(bits, kind="stable")[: _share_of(n, audit)],
        num_audited=0,
        batch=np.zeros(0, np.int64),
        is_open=np.zeros(0, bool),
        num_batches=0,
        num_asked=0,
    )


def reserved(state: CampaignState) -> np.ndarray:
    """The rows of the audit: [n] bool. No strategy and no model may see them.

    Example:
        >>> from badge_jax.campaign import begin, reserved
        >>> int(reserved(begin(50, audit=0.2)).sum())
        10
    """
    is_reserved = np.zeros(len(state.labels), bool)
    is_reserved[state.reserve] = True
    return is_reserved


def training_rows(state: CampaignState) -> np.ndarray:
    """The labeled rows outside the audit, in ascending order: [m] int64.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import begin, take, training_rows
        >>> state, _ = take(begin(5), np.array([3, 1]), np.array([0, 1]))
        >>> training_rows(state).tolist()
        [1, 3]
    """
    return np.flatnonzero((state.labels >= 0) & ~reserved(state))


def next_audit_rows(state: CampaignState, k: int, audit: float) -> np.ndarray:
    """The audit's part of the next batch: [a] int64, from the head of its order.

    After any number of batches, the audit has had ``audit`` times the rows of all of them, rounded, as far as
    there are rows. Rows that were skipped or told without being asked for are passed over.

    Args:
        state: the campaign's.
        k: rows of the batch.
        audit: share, as in `begin`.

    Raises:
        ValueError: if fewer than ``k`` rows are left.

    Example:
        >>> from badge_jax.campaign import begin, next_audit_rows
        >>> state = begin(1000, audit=0.1)
        >>> len(next_audit_rows(state, 25, audit=0.1))  # 2.5, rounded up
        3
    """
    waiting = state.reserve[(state.labels[state.reserve] < 0) & ~state.excluded[state.reserve]]
    num_offered = int(offered(state).sum())
    if k > len(waiting) + num_offered:
        raise ValueError(
            f"k is {k}, and {len(waiting) + num_offered} rows are left to ask for; wanted no more than these"
        )
    due = _share_of(state.num_asked + k, audit) - _share_of(state.num_asked, audit)
    return waiting[: max(min(due, len(waiting)), k - num_offered)]


def offered(state: CampaignState) -> np.ndarray:
    """The rows from which a strategy may choose: [n] bool; neither labeled, nor excluded, nor for the audit.

    Example:
        >>> from badge_jax.campaign import begin, offered
        >>> int(offered(begin(50, audit=0.2)).sum())
        40
    """
    return (state.labels < 0) & ~state.excluded & ~reserved(state)


def ask(state: CampaignState, rows: np.ndarray) -> CampaignState:
    """Opens a batch.

    Args:
        state: the campaign's; its last batch must be answered.
        rows: [k] int, distinct rows that have no label and are not excluded.

    Raises:
        ValueError: if a batch is open, or for rows that cannot be asked for.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import ask, begin
        >>> state = ask(begin(5), np.array([4, 2]))
        >>> state.num_batches, state.is_open.tolist()
        (1, [True, True])
    """
    rows = np.asarray(rows, np.int64)
    if state.is_open.any():
        raise ValueError(f"batch {state.num_batches} has {int(state.is_open.sum())} rows without an answer")
    if not len(rows):
        raise ValueError("wanted one row or more")
    _check_rows(rows, len(state.labels))
    if (state.labels[rows] >= 0).any() or state.excluded[rows].any():
        raise ValueError("rows that are labeled or excluded were chosen; wanted others")
    places = np.flatnonzero(np.isin(state.reserve, rows))
    return state._replace(
        num_audited=max(state.num_audited, int(places.max(initial=-1)) + 1),
        batch=rows,
        is_open=np.ones(len(rows), bool),
        num_batches=state.num_batches + 1,
        num_asked=state.num_asked + len(rows),
    )


def take(
    state: CampaignState, rows: np.ndarray, labels: np.ndarray, *, skipped: str = "exclude"
) -> tuple[CampaignState, Taken]:
    """Takes answers: to a whole batch or a part of it, in any order, also of rows that were never asked for.

    - A label replaces the one that the row has.
    - The label −1 says that the row was skipped. A row that has a label keeps it. Any other is closed in its
      batch and, with ``skipped="exclude"``, not offered again; with "offer" it may be, even if it was excluded.
    - What is known already changes nothing.

    Args:
        state: the campaign's.
        rows: [m] int, distinct rows.
        labels: [m] int, their labels, or −1.
        skipped: "exclude" or "offer".

    Returns:
        The new state, and what the answers did.

    Raises:
        ValueError: for rows outside the pool or given twice, labels below −1, or another ``skipped``.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import ask, begin, take
        >>> state = ask(begin(5), np.array([4, 2]))
        >>> state, taken = take(state, np.array([4]), np.array([1]))
        >>> taken.num_new, state.labels.tolist(), state.is_open.tolist()
        (1, [-1, -1, -1, -1, 1], [False, True])
    """
    n = len(state.labels)
    rows, labels = np.asarray(rows, np.int64), np.asarray(labels, np.int64)
    if rows.ndim != 1 or rows.shape != labels.shape:
        raise ValueError(f"rows have shape {rows.shape} and labels {labels.shape}; wanted [m] and [m]")
    _check_rows(rows, n)
    if labels.min(initial=0) < -1 or labels.max(initial=0) >= 2**31:
        raise ValueError("wanted labels from 0 to 2³¹ − 1, or −1 for skipped")
    if skipped not in ON_SKIPPED:
        raise ValueError(f"skipped is {skipped!r}; wanted one of {', '.join(ON_SKIPPED)}")
    is_label, known, was_excluded = labels >= 0, state.labels[rows], state.excluded[rows]
    was_open = np.isin(rows, state.batch[state.is_open])
    is_new = is_label & (known < 0)
    is_corrected = is_label & (known >= 0) & (known != labels)
    is_kept = ~is_label & (known >= 0)
    is_excluding = skipped == "exclude"
    is_skipped = ~is_label & ~is_kept & (was_open | (was_excluded != is_excluding))
    is_change = is_new | is_corrected | is_skipped

    told, excluded = state.labels.copy(), state.excluded.copy()
    told[rows[is_new | is_corrected]] = labels[is_new | is_corrected]
    excluded[rows[is_new]] = False
    excluded[rows[is_skipped]] = is_excluding
    taken = Taken(
        rows[is_change],
        labels[is_change].astype(np.int32),
        num_new=int(is_new.sum()),
        num_corrected=int(is_corrected.sum()),
        num_repeated=int((~is_change & ~is_kept).sum()),
        num_skipped=int(is_skipped.sum()),
        num_kept=int(is_kept.sum()),
    )
    is_open = state.is_open & ~np.isin(state.batch, rows)
    return state._replace(labels=told, excluded=excluded, is_open=is_open), taken


def withdraw(state: CampaignState, rows: np.ndarray) -> tuple[CampaignState, np.ndarray]:
    """Takes answers back, as if nobody had given them.

    The rows have no label, and may be asked for again; also those that were skipped. Rows of the last batch are
    open again. The audit's rows keep their places in its order: they come first in its next part, and until
    they are answered the audit counts up to the first of them.

    Args:
        state: the campaign's.
        rows: [m] int, distinct rows.

    Returns:
        The new state, and the rows that had an answer: [m'] int64.

    Raises:
        ValueError: for rows outside the pool or given twice.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import ask, begin, take, withdraw
        >>> state, _ = take(ask(begin(5), np.array([4, 2])), np.array([4, 2]), np.array([1, 0]))
        >>> state, rows = withdraw(state, np.array([4, 3]))
        >>> rows.tolist(), state.labels.tolist(), state.is_open.tolist()
        ([4], [-1, -1, 0, -1, -1], [True, False])
    """
    rows = np.asarray(rows, np.int64)
    _check_rows(rows, len(state.labels))
    was_closed = np.isin(rows, state.batch[~state.is_open])
    changed = rows[(state.labels[rows] >= 0) | state.excluded[rows] | was_closed]
    labels, excluded = state.labels.copy(), state.excluded.copy()
    labels[changed], excluded[changed] = -1, False
    is_open = state.is_open | np.isin(state.batch, changed)
    return state._replace(labels=labels, excluded=excluded, is_open=is_open), changed


def audit_rows(state: CampaignState) -> np.ndarray:
    """The audit's rows that count: [m] int64, in the order of the audit.

    They are the labeled ones among those asked for, from the head of the order up to the first that has no
    answer yet. Rows that were skipped are passed over, so the estimates are of rows that can be labeled.

    Example:
        >>> import numpy as np
        >>> from badge_jax.campaign import ask, audit_rows, begin, take
        >>> state = begin(10, audit=0.5)
        >>> state = ask(state, state.reserve[:3])
        >>> state, _ = take(state, state.reserve[[0, 2]], np.array([1, 1]))  # the second is not answered
        >>> len(audit_rows(state))
        1
    """
    asked = state.reserve[: state.num_audited]
    has_answer = (state.labels[asked] >= 0) | state.excluded[asked]
    counted = asked[: int(has_answer.argmin())] if not has_answer.all() else asked
    return counted[state.labels[counted] >= 0]


def _check_rows(rows: np.ndarray, n: int) -> None:
    """Raises ValueError unless the rows are of a pool of n, each once."""
    if len(np.unique(rows)) < len(rows) or rows.min(initial=0) < 0 or rows.max(initial=0) >= n:
        raise ValueError(f"wanted distinct rows from 0 to {n - 1}")


def _share_of(count: int, audit: float) -> int:
    """The share of a count, to the nearest whole number, halves up."""
    return int(np.floor(count * audit + 0.5))
