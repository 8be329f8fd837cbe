"""What is proposed, and what it may depend on."""

import numpy as np
import pytest
from campaigns import CLASSES, blobs

from badge_jax import select
from badge_jax.campaign import (
    CampaignOptions,
    ask,
    begin,
    check_options,
    current_model,
    fit_head,
    frozen_pool,
    head_outputs,
    offered,
    propose,
    reserved,
    take,
)
from badge_jax.campaign.pools import outputs_of
from badge_jax.campaign.propose import guesses
from badge_jax.errors import InputError
from badge_jax.selection import matrix_of, open_matrix

FEATURES, LABELS = blobs(120)


def options(**more):
    return CampaignOptions(CLASSES, **{"strategy": "margin", "cold_start": "random", "audit": 0.2, **more})


def labeled(state, rows, labels=LABELS):
    rows = np.asarray(rows)
    return take(state, rows, labels[rows])[0]


@pytest.fixture(scope="module")
def state():
    """A first batch of 30 is answered, and rows 5 and 6 are skipped."""
    state = begin(120, audit=0.2)
    state = labeled(state, state.reserve[:6])
    state = labeled(state, np.flatnonzero(offered(state))[:24])
    return take(state, np.flatnonzero(offered(state))[:2], np.array([-1, -1]))[0]


@pytest.mark.parametrize("strategy", ["badge", "coreset", "maxherding(embedding=representation)"])
@pytest.mark.parametrize("is_cold", [True, False])
def test_neither_strategy_nor_head_is_influenced_by_the_audit_or_by_skipped_rows(state, strategy, is_cold):
    chosen = options(strategy=strategy, cold_start="kmeans")
    start = begin(120, audit=0.2) if is_cold else state
    hidden = reserved(start) | start.excluded
    changed = FEATURES.copy()
    changed[hidden] = 100 * np.random.default_rng(1).normal(size=changed[hidden].shape)
    labels = LABELS.copy()
    labels[hidden] = (labels[hidden] + 1) % 3
    told = start if is_cold else labeled(start, start.reserve[:6], labels)
    first = propose(chosen, start, frozen_pool(FEATURES), 20)
    second = propose(chosen, told, frozen_pool(changed), 20)
    assert first.rows.tolist() == second.rows.tolist()
    assert reserved(start)[first.rows].sum() == 4
    assert (first.model is None) == is_cold
    if not is_cold:
        agree = first.model.outputs.predictions == second.model.outputs.predictions
        assert agree[~hidden].all()


@pytest.mark.parametrize("strategy", ["margin", "badge", "coreset"])
def test_a_batch_is_what_select_says_of_the_rows_that_may_be_seen(state, strategy):
    logits = np.random.default_rng(2).normal(size=(120, 3)).astype(np.float32)
    seen = np.flatnonzero(~reserved(state) & ~state.excluded)
    rows = propose(options(strategy=strategy), state, frozen_pool(FEATURES), 10, logits=logits).rows
    chosen = rows[~reserved(state)[rows]]
    if strategy != "badge":  # which draws
        given = {"logits": logits[seen]} if strategy == "margin" else {"features": FEATURES[seen]}
        picks = select(8, strategy=strategy, labeled=np.flatnonzero(state.labels[seen] >= 0), **given)
        assert chosen.tolist() == seen[picks].tolist()
    assert len(chosen) == 8
    assert offered(state)[chosen].all()


def test_the_audit_s_rows_are_spread_over_the_batch():
    state = begin(120, audit=0.2)
    rows = propose(options(), state, frozen_pool(FEATURES), 20).rows
    assert np.flatnonzero(reserved(state)[rows]).tolist() == [2, 7, 12, 17]


def test_batches_differ_and_repeat(state):
    chosen = options(strategy="random")
    first = propose(chosen, state, frozen_pool(FEATURES), 10).rows
    assert propose(chosen, state, frozen_pool(FEATURES), 10).rows.tolist() == first.tolist()
    later = state._replace(num_batches=5)
    assert propose(chosen, later, frozen_pool(FEATURES), 10).rows.tolist() != first.tolist()


def test_outputs_of_a_model_with_two_classes_in_all_their_forms():
    """One column or two, logits or probabilities: the same rows, classes and probabilities."""
    z = np.random.default_rng(4).normal(size=120).astype(np.float32)
    p = 1 / (1 + np.exp(-z.astype(np.float64)))
    two = np.stack([np.zeros_like(z), z], axis=1)
    chosen = CampaignOptions(("no", "yes"), "margin")
    found = []
    for given in (
        {"logits": two},
        {"logits": z},
        {"logits": z[:, None]},
        {"probabilities": np.stack([1 - p, p], axis=1)},
        {"probabilities": p},
    ):
        proposal = propose(chosen, begin(120), frozen_pool(FEATURES), 10, **given)
        predicted, scores = guesses(proposal.model, np.arange(120))
        assert proposal.model.outputs.predictions.tolist() == (z > 0).tolist()
        assert predicted.tolist() == (z > 0).tolist()
        np.testing.assert_allclose(scores, np.maximum(p, 1 - p), atol=0.5e-4 + 1e-6)  # four digits of float32
        found.append(proposal.rows.tolist())
    assert all(rows == np.argsort(np.abs(z))[:10].tolist() for rows in found)


def test_every_row_of_own_outputs_is_checked(state):
    """Those of the audit too, which no strategy sees; the number is that of the row in the file."""
    for row in (int(state.reserve[-1]), 119):
        logits = np.zeros((120, 3), np.float32)
        logits[row, 1] = np.nan
        with pytest.raises(
            InputError, match=f"logits: 1 of 120 rows with NaN .*, first row {row}; wanted finite"
        ):
            propose(options(), state, frozen_pool(FEATURES), 5, logits=logits)
        skipped = state._replace(excluded=np.arange(120) == row)
        propose(options(strategy="margin"), skipped, frozen_pool(FEATURES), 5, logits=logits)
        with pytest.raises(InputError, match="logits: every row looks like probabilities; wanted logits, or"):
            propose(options(), state, frozen_pool(FEATURES), 5, logits=np.full((120, 3), 1 / 3))
        chances = np.full((120, 3), 1 / 3)
        chances[row] = 0.5
        with pytest.raises(
            InputError, match=f"1 of 120 rows that are no probabilities, first row {row}; wanted"
        ):
            propose(options(), state, frozen_pool(FEATURES), 5, probabilities=chances)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_outputs_in_files_are_those_in_memory(tmp_path, state, head):
    np.save(tmp_path / "features.npy", FEATURES)
    chosen = options(strategy="badge", head=head, memory_budget=10**9)
    matrix = open_matrix(tmp_path / "features.npy", "features")
    pool = frozen_pool(FEATURES)._replace(features=matrix, representation=matrix)
    in_files = propose(chosen, state, pool, 10, scratch=tmp_path)
    assert propose(chosen, state, frozen_pool(FEATURES), 10).rows.tolist() == in_files.rows.tolist()
    names = {path.name for path in tmp_path.iterdir()} - {"features.npy"}
    assert names == {".logits.tmp"} | ({".hidden.tmp"} if head == "mlp" else set())


@pytest.mark.parametrize("n", [49, 50, 51, 120])
def test_outputs_in_tiles_are_those_of_all_rows(monkeypatch, tmp_path, state, n):
    """The last tile overlaps the one before it."""
    monkeypatch.setattr("badge_jax.campaign.pools.TILE", 50)
    head = current_model(options(head="mlp"), state, frozen_pool(FEATURES)).head
    logits, hidden = head_outputs(head, FEATURES[:n])
    for scratch in (None, tmp_path):
        found = outputs_of(head, matrix_of(FEATURES[:n], "features"), scratch, with_hidden=True)
        # float32 sums of 6 and of 256 terms below 10, in another order
        np.testing.assert_allclose(found.scores.read(0, n), logits, rtol=0, atol=256 * 10 * 2**-24)
        np.testing.assert_allclose(found.hidden.read(0, n), hidden, rtol=0, atol=6 * 10 * 2**-24)
        assert found.predictions.tolist() == logits.argmax(axis=1).tolist()


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_head_learns_separated_classes_at_any_scale(state, head, scale):
    model = current_model(options(head=head), state, frozen_pool(scale * FEATURES + scale))
    assert model.num_training == 24
    assert np.mean(model.outputs.predictions == LABELS) > 0.95


def test_the_strategy_sees_the_head_s_own_layer():
    """The hidden units of a perceptron, whose product with its last layer is the logits."""
    import jax

    trained = fit_head(jax.random.key(0), "mlp", 3, FEATURES, LABELS)
    logits, hidden = head_outputs(trained, FEATURES)
    kernel = np.asarray(trained.variables["params"]["output"]["kernel"], np.float64)
    np.testing.assert_allclose(logits, hidden.astype(np.float64) @ kernel, rtol=1e-4, atol=1e-4)


def test_one_class_and_one_label_are_enough_to_go_on():
    state = labeled(begin(120), [3])
    proposal = propose(options(audit=0.0), state, frozen_pool(FEATURES), 5)
    assert len(set(proposal.rows.tolist())) == 5
    assert (proposal.model.outputs.predictions == LABELS[3]).all()


def test_before_the_first_label_the_cold_start_reads_the_representation():
    fixed = np.random.default_rng(3).normal(size=(120, 2)).astype(np.float32)
    chosen = options(cold_start="kmeans", audit=0.0)
    state = begin(120)
    alone = propose(chosen, state, frozen_pool(fixed), 10).rows
    assert propose(chosen, state, frozen_pool(FEATURES, fixed), 10).rows.tolist() == alone.tolist()
    assert propose(chosen, state, frozen_pool(FEATURES), 10).rows.tolist() != alone.tolist()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"strategy": "bagde"}, "did you mean badge"),
        ({"strategy": "albl"}, "learns from batch to batch"),
        ({"cold_start": "margin"}, "--cold-start margin needs pool.logits, and before the first labels"),
        ({"head": "tree"}, "unknown head 'tree'"),
        ({"audit": 1.0}, "--audit is 1.0"),
        ({"audit": float("nan")}, "--audit is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"memory_budget": 10}, "memory budget"),
        ({"classes": ("cat",)}, "names 1 class"),
        ({"classes": ("cat", "cat")}, "holds 'cat' 2 times"),
        ({"classes": ("cat", "")}, "holds the name ''"),
    ],
)
def test_options_that_cannot_be(more, message):
    with pytest.raises(InputError) as caught:
        check_options(CampaignOptions(**{"classes": CLASSES, **more}), frozen_pool(FEATURES))
    assert message in str(caught.value)


def test_inputs_that_do_not_fit(state):
    with pytest.raises(InputError, match=r"logits has shape \(120, 2\); wanted \(120, 3\)"):
        propose(options(), state, frozen_pool(FEATURES), 5, logits=np.zeros((120, 2)))
    with pytest.raises(InputError, match=r"probabilities has shape \(120, 1\); wanted \(120, 3\)"):
        propose(options(), state, frozen_pool(FEATURES), 5, probabilities=np.zeros(120))
    with pytest.raises(InputError, match="both logits and probabilities are given; wanted one of the two"):
        propose(options(), state, frozen_pool(FEATURES), 5, logits=FEATURES, probabilities=FEATURES)
    with pytest.raises(
        InputError, match=r"wanted \(120, 2\), rows and classes, or \(120, 1\), of the second class"
    ):
        propose(CampaignOptions(("no", "yes")), state, frozen_pool(FEATURES), 5, logits=np.zeros(119))
    with pytest.raises(InputError, match="wanted the same number"):
        frozen_pool(FEATURES, FEATURES[:5])
    with pytest.raises(InputError, match="k is 100, and 88 rows are left to ask for"):
        propose(options(), state, frozen_pool(FEATURES), 100)
    everything = ask(begin(3), np.arange(3))
    with pytest.raises(InputError, match="k is 1, and 0 rows are left"):
        propose(options(audit=0.0), labeled(everything, np.arange(3)), frozen_pool(FEATURES[:3]), 1)
