"""What a campaign knows: against plain dictionaries, and the audit's order against its law."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from badge_jax.campaign import (
    ask,
    audit_rows,
    begin,
    next_audit_rows,
    offered,
    reserved,
    take,
    training_rows,
    withdraw,
)


def told(state, answers, **more):
    """The state after answers: row → label."""
    return take(state, np.array([*answers], np.int64), np.array([*answers.values()], np.int64), **more)


def opened(state, k, audit, rng):
    """The state after a batch whose other rows are chosen at random."""
    audited = next_audit_rows(state, k, audit)
    chosen = rng.choice(np.flatnonzero(offered(state)), k - len(audited), replace=False)
    return ask(state, np.concatenate([audited, chosen]))


def test_the_audit_s_order_is_uniform():
    """All 60 ordered triples of 5 rows, over 12,000 seeds."""
    count = Counter(tuple(begin(5, audit=0.6, seed=seed).reserve.tolist()) for seed in range(12_000))
    assert set(count) <= set(itertools.permutations(range(5), 3))
    assert chisquare([count[order] for order in itertools.permutations(range(5), 3)]).pvalue > 1e-4


def test_the_audit_s_order_stays_as_it_is():
    """A campaign that began with another version must keep its reserve."""
    assert begin(20, audit=0.3, seed=7).reserve.tolist() == [14, 10, 8, 6, 11, 4]


@given(
    n=st.integers(20, 300),
    audit=st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5]),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_each_batch_has_its_share_of_the_audit_and_no_row_comes_twice(n, audit, sizes, seed):
    rng, state, asked, audited = np.random.default_rng(seed), begin(n, audit=audit, seed=seed), [], []
    for k in sizes:
        if k > n - len(asked):
            with pytest.raises(ValueError, match="rows are left to ask for"):
                next_audit_rows(state, k, audit)
            break
        state = opened(state, k, audit, rng)
        asked += state.batch.tolist()
        audited += [row for row in state.batch.tolist() if reserved(state)[row]]
        state, _ = told(state, dict.fromkeys(state.batch.tolist(), 0))
        num_others = n - len(state.reserve)
        # the share of all rows asked for, to the nearest one, unless the strategy's rows have run out
        assert abs(len(audited) - audit * len(asked)) <= 0.5 or len(asked) - len(audited) == num_others
    assert len(set(asked)) == len(asked)
    assert audited == state.reserve[: len(audited)].tolist(), "in the order of the reserve"
    assert not set(training_rows(state)) & set(state.reserve)


def test_a_pool_can_be_labeled_to_its_last_row():
    rng, state = np.random.default_rng(0), begin(53, audit=0.1)
    for k in (20, 20, 13):
        state = opened(state, k, 0.1, rng)
        state, _ = told(state, dict.fromkeys(state.batch.tolist(), 1))
    assert (state.labels == 1).all()
    assert not offered(state).any()


def test_answers_to_a_part_corrections_and_repeats():
    state = ask(begin(10), np.array([4, 2, 7]))
    state, taken = told(state, {2: 1, 9: 0})  # one that was asked for, and one that was not
    assert (taken.num_new, state.is_open.tolist()) == (2, [True, False, True])
    state, taken = told(state, {2: 1, 4: 1})
    assert (taken.num_repeated, taken.num_new, taken.rows.tolist()) == (1, 1, [4])
    state, taken = told(state, {2: 0, 4: 1})
    assert (taken.num_corrected, taken.num_repeated, taken.rows.tolist()) == (1, 1, [2])
    assert state.labels.tolist() == [-1, -1, 0, -1, 1, -1, -1, -1, -1, 0]
    assert state.is_open.tolist() == [False, False, True]


def test_skipped_rows():
    state = ask(begin(6), np.array([0, 1, 2]))
    excluding, taken = told(state, {0: -1, 1: -1})
    assert (taken.num_skipped, excluding.is_open.tolist()) == (2, [False, False, True])
    assert offered(excluding).tolist() == [False, False, True, True, True, True]
    offering, taken = told(state, {0: -1}, skipped="offer")
    assert (taken.num_skipped, offering.is_open.tolist(), offered(offering).all()) == (
        1,
        [False, True, True],
        True,
    )
    again, taken = told(excluding, {0: -1}, skipped="offer")  # thought better of it
    assert (taken.num_skipped, again.excluded.tolist()) == (1, [False, True, False, False, False, False])
    labeled, taken = told(excluding, {0: 1})
    assert (taken.num_new, bool(labeled.excluded[0]), int(labeled.labels[0])) == (1, False, 1)
    kept, taken = told(labeled, {0: -1})
    assert (taken.num_kept, len(taken.rows), int(kept.labels[0])) == (1, 0, 1), (
        "an empty label takes no label away"
    )
    assert told(excluding, {0: -1})[1].num_repeated == 1


def is_as_never_told(withdraw, seed):
    """Whether withdrawing the answers to some rows leaves the state that the other answers alone make."""
    rng = np.random.default_rng(seed)
    state = opened(begin(24, audit=0.25, seed=seed), 9, 0.25, rng)
    rows = np.concatenate([rng.permutation(state.batch)[:6], rng.choice(24, 6)])
    answers = {int(row): int(rng.integers(-1, 3)) for row in rows}
    wrong = rng.choice(24, 7, replace=False)
    skipped = str(rng.choice(["exclude", "offer"]))
    kept = {row: label for row, label in answers.items() if row not in wrong}
    left, withdrawn = withdraw(told(state, answers, skipped=skipped)[0], wrong)
    assert set(withdrawn.tolist()) <= set(answers) & set(wrong.tolist())
    wanted = told(state, kept, skipped=skipped)[0]
    return all(np.array_equal(a, b) for a, b in zip(left, wanted, strict=True))


def test_withdrawn_answers_are_as_never_given():
    assert all(is_as_never_told(withdraw, seed) for seed in range(300))


@pytest.mark.parametrize("forgotten", ["labels", "excluded", "is_open"])
def test_a_withdrawal_that_forgets_a_part_is_found(forgotten):
    def mutant(state, rows):
        after, withdrawn = withdraw(state, rows)
        return after._replace(**{forgotten: getattr(state, forgotten)}), withdrawn

    assert not all(is_as_never_told(mutant, seed) for seed in range(300))


def test_a_withdrawn_row_of_the_audit_is_asked_for_again():
    """The audit counts up to it, and again all when it has an answer."""
    state = begin(20, audit=0.5, seed=3)
    rows = state.reserve[:4]
    state, _ = told(ask(state, rows), dict.fromkeys(rows.tolist(), 1))
    assert audit_rows(state).tolist() == rows.tolist()
    state, _ = told(state, {int(rows[3]): -1})  # a row that has a label keeps it
    other = int(offered(state).argmax())
    state, _ = told(ask(state, np.array([other])), {other: 0})
    state, withdrawn = withdraw(state, rows[[1]])
    assert withdrawn.tolist() == [rows[1]]
    assert not state.is_open.any(), "it is of an earlier batch"
    assert audit_rows(state).tolist() == [rows[0]]
    assert next_audit_rows(state, 4, 0.5).tolist() == [rows[1], state.reserve[4]]
    state, _ = told(ask(state, rows[[1]]), {int(rows[1]): 0})
    assert audit_rows(state).tolist() == rows.tolist()


def test_an_argument_is_never_changed():
    state = ask(begin(6, audit=0.5), np.array([0, 1, 2]))
    state, _ = told(state, {2: 1})
    before = [np.copy(part) for part in state]
    told(state, {0: 1, 1: -1, 5: 0})
    withdraw(state, np.array([2, 5]))
    assert all(np.array_equal(a, b) for a, b in zip(before, state, strict=True))


def test_the_audit_counts_up_to_the_first_row_without_an_answer():
    state = begin(20, audit=0.5, seed=3)
    first, second, third, fourth = state.reserve[:4].tolist()
    state = ask(state, np.array([first, second, third]))
    state, _ = told(state, {fourth: 1, third: 1})  # the fourth was not asked for
    assert audit_rows(state).tolist() == []
    state, _ = told(state, {first: 0})
    assert audit_rows(state).tolist() == [first]
    state, _ = told(state, {second: -1})
    assert audit_rows(state).tolist() == [first, third], (
        "skipped rows are passed over, and the fourth is not due"
    )
    assert next_audit_rows(state, 2, 0.5).tolist() == [state.reserve[4]]
    state = ask(state, state.reserve[4:5])
    state, _ = told(state, {int(state.reserve[4]): 0})
    assert audit_rows(state).tolist() == [first, third, fourth, int(state.reserve[4])]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda state: begin(0), "n is 0"),
        (lambda state: begin(5, audit=1.0), "audit is 1.0"),
        (lambda state: ask(state, np.array([5])), "batch 1 has 1 rows without an answer"),
        (lambda state: ask(begin(5), np.array([1, 1])), "distinct rows from 0 to 4"),
        (lambda state: ask(begin(5), np.array([5])), "distinct rows from 0 to 4"),
        (lambda state: ask(told(begin(5), {1: 0})[0], np.array([1])), "labeled or excluded"),
        (lambda state: told(state, {9: 0}), "distinct rows from 0 to 7"),
        (lambda state: told(state, {1: -2}), "wanted labels from 0"),
        (lambda state: take(state, np.array([1, 1]), np.array([0, 0])), "distinct rows"),
        (lambda state: take(state, np.array([1]), np.array([0, 0])), "wanted [m] and [m]"),
        (lambda state: told(state, {1: 0}, skipped="drop"), "skipped is 'drop'"),
        (lambda state: withdraw(state, np.array([1, 1])), "distinct rows from 0 to 7"),
        (lambda state: ask(begin(5), np.zeros(0, int)), "wanted one row or more"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        call(ask(begin(8), np.array([3])))
