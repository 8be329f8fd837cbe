"""`select`: the next batch from features and logits, in Python and from the command line."""

import csv
import dataclasses
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import badge_embedding, softmax
from pools import pool_arrays

from badge_jax import STRATEGIES, Pool, Rows, Strategy, dense_rows, select
from badge_jax.cli import main
from badge_jax.errors import InputError
from badge_jax.samplers import KCenterGreedy, KMeansPlusPlus, _streamed_kmeans_plusplus, streamed
from badge_jax.selection import Inputs, SelectOptions, make_task, matrix_of, open_matrix, read_labeled, run_task
from badge_jax.selection import budget as budget_module
from badge_jax.selection import survey as survey_module
from badge_jax.strategies import Ranked, Spread, planned, stateless

SELECTABLE = [
    name
    for name, make in STRATEGIES.items()
    if not jax.tree.leaves(make().init(1, 1)) and "labels" not in make().needs
]
N, C, D = 3000, 5, 12


@pytest.fixture(scope="module")
def arrays():
    return pool_arrays()


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "probabilities.npy", softmax(arrays["logits"]).astype(np.float32))
    np.save(folder / "labeled.npy", np.arange(N) % 10 == 0)
    return folder


def needs(strategy, arrays):
    """What the strategy needs, and something to count rows by."""
    needed = {name: arrays[name] for name in STRATEGIES[strategy]().needs}
    return needed or {"logits": arrays["logits"]}


@pytest.mark.parametrize("strategy", SELECTABLE)
def test_it_is_the_strategy(strategy, arrays):
    """The same picks as the registered strategy makes of the whole pool in memory."""
    labeled = np.arange(0, N, 10)
    picks = select(40, **needs(strategy, arrays), strategy=strategy, labeled=labeled, seed=4)
    is_labeled = jnp.zeros(N, bool).at[labeled].set(True)
    pool = Pool(
        jnp.asarray(arrays["logits"]),
        jnp.asarray(arrays["features"]),
        jnp.full(N, -1, jnp.int32),
        is_labeled,
        ~is_labeled,
    )
    whole = STRATEGIES[strategy]()
    expected, _ = whole.query(jax.random.key(4), whole.init(N, 1), pool, 40)
    assert picks.dtype == np.int64
    assert picks.tolist() == expected.tolist()
    mask = np.zeros(N, bool)
    mask[labeled] = True
    same = select(40, **needs(strategy, arrays), strategy=whole, labeled=mask, seed=4)
    assert same.tolist() == picks.tolist(), "a strategy may be given itself"
    if whole.is_prefix_consistent:
        shorter = select(25, **needs(strategy, arrays), strategy=strategy, labeled=mask, seed=4)
        assert shorter.tolist() == picks[:25].tolist()


@pytest.mark.parametrize("strategy", ["badge", "badge_kcenter", "coreset", "margin"])
def test_picks_are_the_same_for_every_budget(strategy, folder, monkeypatch):
    """In memory, and read from disk in tiles of 100 rows with folds in between."""
    monkeypatch.setattr(streamed, "tile_size", lambda n, width: 100)
    monkeypatch.setattr(survey_module, "tile_size", lambda n, width: 100)
    plan = _streamed_kmeans_plusplus.make_sizes(N, C, D)._replace(proposals=16, fold_block=4, test_block=8)
    plan = plan._replace(pass_cost=0, batch_cost=0)
    monkeypatch.setattr(_streamed_kmeans_plusplus, "_sizes_of", lambda rows: plan)
    picks, budget = [], None
    for is_streamed in (False, True):
        inputs = Inputs(
            open_matrix(folder / "features.npy", "features"), open_matrix(folder / "logits.npy", "logits")
        )
        task = make_task(SelectOptions(80, strategy, memory_budget=budget), inputs)
        assert task.is_streamed == is_streamed
        budget = task.work_bytes
        picks.append(run_task(task).indices.tolist())
    assert picks[0] == picks[1]
    assert len(set(picks[0])) == 80


def test_a_strategy_without_a_plan_wants_the_pool_in_memory(folder, arrays, capsys, tmp_path):
    expected = select(12, **arrays, strategy="badge_kdpp", labeled=np.arange(0, N, 10)).tolist()
    out = tmp_path / "picks.csv"
    assert main(command_line(folder, out, "--strategy=badge_kdpp", "--memory=10MB")) == 0
    assert [int(row["index"]) for row in rows_of(out)] == expected
    assert main(command_line(folder, out, "--strategy=badge_kdpp", "--memory=1MB")) == 2
    error = capsys.readouterr().err
    assert "strategy badge_kdpp needs the whole pool in memory," in error
    assert "; the memory budget is 1 MB" in error


def test_a_representation_that_is_not_read_is_refused(arrays, fixed):
    with pytest.raises(InputError, match=r"strategy margin does not read a representation; wanted none, or"):
        select(5, **arrays, representation=fixed, strategy="margin")
    with pytest.raises(InputError, match=r"wants features, and there are none; .* embedding=representation"):
        select(5, representation=fixed, strategy="maxherding")


def test_what_select_does_not_have_is_named(arrays):
    for need in ("labels", "head", "samples"):
        strategy = Strategy(lambda n, rounds: (), None, needs=("logits", need))
        with pytest.raises(InputError, match=f"strategy .yours. needs pool.{need}, which select does not have"):
            select(5, **arrays, strategy=strategy)


def outermost(pool):
    """A score of the representation alone."""
    return jnp.sum(pool.representation**2, axis=1)


def spread_out(pool):
    """An embedding of both kinds of features."""
    return Rows(pool.representation.astype(jnp.float32), pool.features)


def fixed_rows(pool):
    return dense_rows(pool.representation)


PLANS = {
    "a score": (Ranked(outermost), ("representation",)),
    "seeding": (Spread(fixed_rows, KMeansPlusPlus()), ("representation",)),
    "from labeled rows": (Spread(fixed_rows, KCenterGreedy(), "labeled"), ("representation",)),
    "beside features": (Spread(spread_out, KMeansPlusPlus()), ("representation", "features")),
}
ON_REPRESENTATION = {case: planned("mine", plan, needs=needs) for case, (plan, needs) in PLANS.items()}


@pytest.fixture(scope="module")
def fixed(folder):
    """A representation in a file, and in an archive beside another array."""
    array = np.random.default_rng(3).normal(size=(N, 7)).astype(np.float16)
    np.save(folder / "representation.npy", array)
    np.savez(folder / "arrays.npz", other=array[:9], representation=array)
    return array


@pytest.mark.parametrize("case", ON_REPRESENTATION)
def test_a_strategy_on_the_representation_in_memory_and_streamed(case, folder, arrays, fixed, monkeypatch):
    """The same picks as the strategy makes of the whole pool, under every budget."""
    for module in (streamed, survey_module, budget_module):
        monkeypatch.setattr(module, "tile_size", lambda n, width: 100)
    strategy, labeled = ON_REPRESENTATION[case], np.arange(0, N, 10)
    is_labeled = jnp.zeros(N, bool).at[labeled].set(True)
    features = jnp.asarray(arrays["features"]) if "features" in strategy.needs else None
    pool = Pool(None, features, jnp.full(N, -1), is_labeled, ~is_labeled)
    pool = pool._replace(representation=jnp.asarray(fixed, jnp.float32))
    expected = strategy.query(jax.random.key(4), (), pool, 30)[0].tolist()
    given = {"features": arrays["features"], "representation": fixed, "strategy": strategy, "seed": 4}
    assert select(30, **given, labeled=labeled).tolist() == expected
    budget = None
    for is_streamed in (False, True):
        inputs = Inputs(
            open_matrix(folder / "features.npy", "features"),
            labeled=labeled,
            representation=open_matrix(folder / "arrays.npz", "--representation"),
        )
        task = make_task(SelectOptions(30, strategy, 4, memory_budget=budget), inputs)
        assert task.is_streamed == is_streamed
        assert task.pool_bytes == fixed.nbytes + (arrays["features"].nbytes if features is not None else 0)
        assert run_task(task).indices.tolist() == expected
        budget = task.work_bytes


def test_a_strategy_on_the_representation_without_a_plan_says_what_it_needs(fixed):
    def choose(key, pool, k):
        return jax.lax.top_k(jnp.where(pool.available, outermost(pool), -1.0), k)[1].astype(jnp.int32)

    strategy = stateless("mine", choose, needs=("representation",))
    expected = np.argsort(-(fixed.astype(np.float32) ** 2).sum(1))[:9]
    assert select(9, representation=fixed, strategy=strategy).tolist() == expected.tolist()
    wide = np.tile(fixed, (1, 100))
    task = make_task(SelectOptions(9, strategy), Inputs(representation=matrix_of(wide, "representation")))
    assert task.pool_bytes == wide.nbytes
    assert task.work_bytes > 3 * 4 * wide.size, "as float32, an embedding, the strategy's own work"
    wanted = -(-(task.work_bytes + task.pool_bytes) // 10**6)
    with pytest.raises(
        InputError, match=f"needs the whole pool in memory, {wanted} MB; the memory budget is 5 MB"
    ):
        select(9, representation=wide, strategy=strategy, memory_budget=5_000_000)


def test_a_representation_on_the_command_line(folder, fixed, own_module, tmp_path, capsys):
    out, strategy = tmp_path / "picks.csv", "--strategy=mine:outermost(power=2)"
    expected = np.argsort(-(fixed.astype(np.float32) ** 2).sum(1))[:9].tolist()
    words = ["select", "--k=9", strategy, f"--out={out}", "--force"]
    for name in ("representation.npy", "arrays.npz"):
        assert main([*words, f"--representation={folder / name}"]) == 0
        assert [int(row["index"]) for row in rows_of(out)] == expected
    assert main([*words, f"--representation={folder / name}", "--dry-run"]) == 0
    assert "pool: 3,000 rows, 0 MB, held in memory" in capsys.readouterr().out
    files = [f"--{name}={folder / name}.npy" for name in ("features", "logits", "representation")]
    assert main([*words, *files, "--explain"]) == 0
    assert [int(row["index"]) for row in rows_of(out)] == expected
    assert set(rows_of(out)[0]) >= {"predicted_class", "embedding_norm"}
    mine = tmp_path / "mine.npy"
    mine.write_bytes((folder / "representation.npy").read_bytes())
    for more, message in (
        ([f"--features={folder / 'features.npy'}"], "mine:outermost wants a representation, and there is none"),
        ([f"--representation={folder / 'none.npy'}"], "--representation: "),
        ([f"--representation={mine}", f"--out={mine}"], "which is read as input; wanted another file"),
    ):
        given = [word for word in words if not (word.startswith("--out") and more[-1].startswith("--out"))]
        assert main([*given, *more]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_representation_is_checked_as_features_are(arrays, fixed):
    strategy = ON_REPRESENTATION["a score"]
    for given, message in (
        (fixed[:7], "features has 3000 rows and representation has 7; wanted the same number"),
        (fixed[:, 0], r"representation has shape \(3000,\); wanted a matrix"),
        (fixed.astype(int), "representation is int64; wanted float16, float32, float64"),
        (
            np.where(np.arange(N)[:, None] == 5, np.nan, fixed),
            r"representation: 1 of 3000 rows with NaN .*row 5",
        ),
        (fixed.astype(np.float64) * 1e300, r"representation: 3000 of 3000 rows with NaN or infinity"),
    ):
        with pytest.raises(InputError, match=message):
            select(5, features=arrays["features"], representation=given, strategy=strategy)
    with (
        pytest.warns(UserWarning, match="representation: all 3000 rows are the same"),
        pytest.warns(UserWarning, match="4 of the 5 picks are copies of earlier picks"),
    ):
        select(5, representation=np.ones((N, 2), np.float32), strategy=strategy)
    odd = np.full((N, 2), np.nan, np.float32)
    assert len(select(5, representation=odd, strategy="random")) == 5, "it counts the rows, and is not read"


def test_mistakes_of_an_own_plan_are_one_line(arrays):
    for message, score in {
        "scores 3000 rows as NaN": lambda pool: pool.logits[:, 0] * jnp.nan,
        "TypeError|NoneType": lambda pool: jnp.sum(jnp.abs(pool.features), axis=1),
        r"the score has shape \(3000, 5\); wanted \(3000,\)": lambda pool: pool.logits,
    }.items():
        strategy = planned("mine", Ranked(score), needs=("logits",))
        with pytest.raises(InputError, match=message):
            select(5, logits=arrays["logits"], strategy=strategy)

    def floats(key, state, pool, k):
        return jnp.arange(5.0), state

    with pytest.raises(InputError, match=r"gives float32\[5\]; wanted int32\[5\], row numbers"):
        select(5, **arrays, strategy=Strategy(lambda n, rounds: (), floats))


def test_more_rows_than_were_asked_for_are_refused(arrays):
    def longer(key, state, pool, k):
        return jnp.concatenate([jnp.nonzero(pool.available, size=k)[0], jnp.array([-1, 10**6])]), state

    with pytest.raises(InputError, match=r"gives int32\[7\]; wanted int32\[5\]"):
        select(5, **arrays, strategy=Strategy(lambda n, rounds: (), longer))


@pytest.mark.parametrize("sampler", [KMeansPlusPlus(), KCenterGreedy()])
def test_an_embedding_that_is_not_finite_is_refused(arrays, sampler):
    """A cosine of a row of zeros, say: a distance that is NaN must neither be chosen by nor waited for."""

    def cosine(pool):
        return dense_rows(pool.features / jnp.linalg.norm(pool.features, axis=1, keepdims=True))

    features = arrays["features"].copy()
    features[7] = 0
    strategy = planned("cosine", Spread(cosine, sampler), needs=("features",))
    with pytest.raises(InputError, match=r"strategy \(yours\) embeds 1 rows as NaN or infinity, first row 7"):
        select(5, features=features, strategy=strategy)

    def partly(pool):
        return dense_rows(pool.features.at[:, 2].divide(pool.features[:, 2]))

    features[7, 0] = 1
    strategy = planned("partly", Spread(partly, sampler), needs=("features",))
    count = int((features[:, 2] == 0).sum())
    with pytest.raises(InputError, match=rf"strategy \(yours\) embeds {count} rows as NaN or infinity"):
        select(5, features=features, strategy=strategy)


def test_rows_that_a_strategy_does_not_find_are_counted(arrays):
    """Also where it gives rows that are not available, or twice."""

    def query(key, state, pool, k):
        return jnp.array([3, 3, -1, 0, 4000, 7], jnp.int32), state

    with pytest.raises(InputError, match=r"strategy \(yours\) found 2 of the 6 rows"):
        select(6, **arrays, strategy=Strategy(lambda n, rounds: (), query), labeled=[0])


def test_dtypes_and_probabilities(arrays):
    plain = select(40, **arrays)
    assert select(40, **{k: v.astype(np.float64) for k, v in arrays.items()}).tolist() == plain.tolist()
    assert select(40, **{k: jnp.asarray(v) for k, v in arrays.items()}).tolist() == plain.tolist()
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    same = {name: array.astype(np.float32) for name, array in halves.items()}
    assert select(40, **halves).tolist() == select(40, **same).tolist()
    probabilities = softmax(arrays["logits"]).astype(np.float32)
    by_margin = select(40, probabilities=probabilities, strategy="margin")
    assert by_margin.tolist() == select(40, logits=arrays["logits"], strategy="margin").tolist()
    one_hot = np.eye(C, dtype=np.float32)[arrays["logits"].argmax(1)]
    with pytest.warns(UserWarning, match="only 1 of the 40 picks differ"):  # every gradient is zero
        assert len(set(select(40, features=arrays["features"], probabilities=one_hot).tolist())) == 40


def test_copies_are_told_though_tiles_and_batches_round_them_differently():
    rng = np.random.default_rng(1)
    features = np.maximum(rng.normal(size=(10, 32)), 0).astype(np.float16)
    logits = (features.astype(np.float32) @ rng.normal(size=(32, 5)) / 6).astype(np.float32)
    pool = {"features": np.tile(features, (200, 1)), "logits": np.tile(logits, (200, 1))}
    with pytest.warns(UserWarning, match="only 10 of the 15 picks differ"):
        picks = select(15, **pool)
    assert len(set((picks[:10] % 10).tolist())) == 10


@pytest.mark.parametrize("strategy", ["badge", "margin", "badge_kdpp"])
def test_one_output_of_two_classes(strategy, arrays, tmp_path):
    """A logit z is [0, z], a probability p is [1 − p, p]; as [n] and as [n, 1], from memory and from files."""
    z = arrays["logits"][:, 0]
    p = (1 / (1 + np.exp(-z.astype(np.float64)))).astype(np.float32)
    both = {"logits": np.stack([0 * z, z], 1), "probabilities": np.stack([1 - p, p], 1)}
    for name, column in (("logits", z), ("probabilities", p)):
        given = {"features": arrays["features"], "strategy": strategy}
        expected = select(12, **given, **{name: both[name]}).tolist()
        for given_as in (column, column[:, None]):
            np.save(tmp_path / "column.npy", given_as)
            assert select(12, **given, **{name: given_as}).tolist() == expected
            assert select(12, **given, **{name: str(tmp_path / "column.npy")}).tolist() == expected
    with pytest.raises(
        InputError, match=r"probabilities: \d+ of 3000 rows that are no prob.*wanted values from 0 to 1"
    ):
        select(5, features=arrays["features"], probabilities=z)


@pytest.mark.extras
def test_torch_tensors(arrays):
    torch = pytest.importorskip("torch", reason="wants PyTorch (group peers)")
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    assert select(20, **tensors).tolist() == select(20, **arrays).tolist()


def odd_pools():
    plain = pool_arrays(64, 3, 4)
    return {
        "huge logits": plain | {"logits": np.sign(plain["logits"]) * np.float32(1e4)},
        "equal logits": plain | {"logits": plain["logits"] * 0 + 2},
        "copies": {name: np.repeat(array[:1], 64, axis=0) for name, array in plain.items()},
        "one class": pool_arrays(64, 1, 4),
        "one feature": pool_arrays(64, 3, 1),
        "one row": pool_arrays(1, 3, 4),
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("strategy", [name for name in SELECTABLE if name != "badge_kdpp"])  # k ≤ its rank
def test_odd_pools(strategy):
    for case, arrays in odd_pools().items():
        n = len(arrays["features"])
        picks = select(n, **needs(strategy, arrays), strategy=strategy)
        assert sorted(picks.tolist()) == list(range(n)), case


def test_what_looks_wrong_is_warned_of(arrays):
    probabilities = softmax(arrays["logits"]).astype(np.float32)
    with pytest.warns(UserWarning, match="taken as logits, but every row looks like probabilities"):
        select(5, features=arrays["features"], logits=probabilities)
    with pytest.warns(UserWarning, match="features: all 3000 rows are the same"):
        select(5, features=np.ones((N, 2), np.float32), logits=arrays["logits"])
    few = {name: array[np.arange(N) % 3] for name, array in arrays.items()}
    for strategy in ("badge", "badge_kcenter", "coreset"):
        with pytest.warns(UserWarning, match="only 3 of the 5 picks differ"):
            select(5, **needs(strategy, few), strategy=strategy)


@pytest.mark.parametrize("empty", [[], np.zeros(0, "U1"), np.zeros(0, int)], ids=repr)
def test_no_row_is_labeled(arrays, empty):
    assert len(select(5, logits=arrays["logits"], strategy="margin", labeled=empty)) == 5


BAD = [
    ({"k": 0}, "k is 0; wanted a whole number"),
    ({"k": N}, "k = 3000, but 2700 of 3000 rows are left"),
    ({"strategy": "bagde"}, "unknown strategy 'bagde'; did you mean badge?"),
    ({"strategy": "badge(first=last)"}, "first is 'last'; wanted one of uniform, max_norm, norm"),
    ({"strategy": "badge(frist=norm)"}, "badge has no option 'frist'"),
    ({"strategy": "albl"}, "albl learns from batch to batch, and select makes a single one"),
    ({"strategy": "badge_kdpp", "k": 60}, r"badge_kdpp: k = 60 rows cannot be independent.* = 48 at most"),
    ({"seed": -1}, "seed is -1"),
    ({"logits": None}, "strategy badge wants logits or probabilities, and there are none"),
    ({"features": None}, "strategy badge wants features"),
    ({"features": None, "logits": None, "strategy": "random"}, "wanted at least one of them"),
    ({"probabilities": np.ones((N, C), np.float32)}, "both logits and probabilities are given"),
    ({"logits": np.zeros((7, 3), np.float32)}, "features has 3000 rows and logits has 7"),
    ({"labeled": np.array([5, N, 5])}, "labeled holds row 3000; wanted 0 to 2999"),
    ({"labeled": np.array([-1])}, "labeled holds row -1"),
    ({"labeled": np.zeros(7, bool)}, r"labeled is a mask of shape \(7,\); wanted \(3000,\)"),
    ({"labeled": np.zeros(N, int)}, "labeled holds only 0 and 1, one for each row"),
    ({"labeled": np.array([0.5])}, "labeled is float64"),
    ({"unique": 0.0}, "unique is 0.0; wanted 1 to leave out copies, or a cosine between 0 and 1"),
    ({"unique": "yes"}, "unique is 'yes'; wanted 1"),
    (
        {"unique": 0.9, "features": None, "strategy": "margin"},
        "unique = 0.9 compares features; wanted features or a representation, or 1",
    ),
    ({"memory_budget": "1GB"}, "memory_budget is '1GB'; wanted a number of bytes"),
    ({"memory_budget": 1000}, "memory budget of 1 KB is too small; wanted"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_arguments(arrays, changes, message):
    with pytest.raises(InputError, match=message):
        select(**{"k": 5, **arrays, "labeled": np.arange(0, N, 10), **changes})


@pytest.mark.parametrize("strategy", ["badge", "coreset", "margin"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(arrays, strategy, value):
    """Wherever in the row they are: a vectorised maximum loses most NaNs."""
    for name in needs(strategy, arrays):
        for column in range(arrays[name].shape[1]):
            broken = {key: array.copy() for key, array in needs(strategy, arrays).items()}
            broken[name][[17, 2999], column] = value
            message = (
                rf"{name}: 2 of 3000 rows with NaN or infinity \(as float32\), first row 17; wanted finite"
            )
            with pytest.raises(InputError, match=message):
                select(5, **broken, strategy=strategy)


@pytest.mark.parametrize("strategy", ["badge", "coreset"])
def test_scale_of_the_features_changes_no_pick(arrays, strategy):
    plain = needs(strategy, arrays)
    for exponent in (-100, 100):
        scaled = plain | {"features": plain["features"] * np.float32(2.0**exponent)}
        assert select(9, **scaled, strategy=strategy).tolist() == select(9, **plain, strategy=strategy).tolist()


def test_values_beyond_float32(arrays):
    large = arrays["features"].astype(np.float64)
    large[3, 3] = 1e300
    with pytest.raises(InputError, match="features: 1 of 3000 rows with NaN or infinity"):
        select(5, features=large, logits=arrays["logits"])


def test_byte_order(arrays):
    for dtype in (">f2", ">f4", ">f8"):
        swapped = {name: array.astype(dtype) for name, array in arrays.items()}
        native = {name: array.astype(dtype[1:]) for name, array in arrays.items()}
        assert select(9, **swapped).tolist() == select(9, **native).tolist()


def test_what_are_no_probabilities(arrays):
    probabilities = softmax(arrays["logits"]).astype(np.float32)
    probabilities[40] *= 2
    with pytest.raises(InputError, match=r"probabilities: 1 of 3000 rows that are no prob.*, first row 40"):
        select(5, features=arrays["features"], probabilities=probabilities)


def command_line(folder, out, *options):
    """The command on the pool in ``folder``; an option given takes the place of the one there."""
    files = [f"--{name}={folder / name}.npy" for name in ("features", "logits", "labeled")]
    words = ["--k=12", *files, f"--out={out}", "--force"]
    given = {option.partition("=")[0] for option in options}
    return ["select", *(word for word in words if word.partition("=")[0] not in given), *options]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_command_line(folder, tmp_path, capsys, arrays):
    out = tmp_path / "picks.csv"
    assert main(command_line(folder, out)) == 0
    assert capsys.readouterr() == (f"{out}: 12 rows to label, of 3,000; 2,688 are left\n", "")
    assert out.read_text().splitlines()[0] == "rank,index"
    expected = select(12, **arrays, labeled=np.arange(0, N, 10)).tolist()
    assert [(row["rank"], row["index"]) for row in rows_of(out)] == [
        (str(rank), str(index)) for rank, index in enumerate(expected)
    ]
    (tmp_path / "ids.txt").write_text("".join(f"photo {i}, left\n" for i in range(N)))
    assert main(command_line(folder, out, "--ids", str(tmp_path / "ids.txt"))) == 0
    assert [row["id"] for row in rows_of(out)] == [f"photo {index}, left" for index in expected]


def test_ids_come_back_as_they_were(folder, tmp_path, capsys):
    """Whatever they hold, the CSV gives them back, and serves as --labeled."""
    odd = [
        "=1+2",
        "+49 30",
        "-x",
        "@me",
        '"quoted"',
        "a,b",
        "two\nlines",
        "old\rend",
        "\r\n",
        "",
        " ",
        "−5",
        "\0",
    ]
    ids = [odd[i % len(odd)] + str(i // len(odd)) for i in range(N)]
    out, words = tmp_path / "picks.csv", ["--k=60", "--strategy=random"]
    np.save(tmp_path / "ids.npy", ids)
    assert main(command_line(folder, out, f"--ids={tmp_path / 'ids.npy'}", *words)) == 0
    error = capsys.readouterr().err
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [ids[int(row["index"])] for row in rows]
    count = sum(row["id"][0] in "=+-@" for row in rows)
    assert f"warning: --ids: {count} of the ids picked begin with =, +, - or @, such as '" in error
    assert error.count("\n") == 1
    picks = sorted(int(row["index"]) for row in rows)
    with pytest.warns(UserWarning, match="has ids, and there is no --ids; its row numbers are used"):
        assert read_labeled([out], "labeled", N).tolist() == picks
    assert read_labeled([out], "labeled", N, ids=ids).tolist() == picks
    np.save(tmp_path / "ids.npy", -np.arange(N))
    assert main(command_line(folder, out, f"--ids={tmp_path / 'ids.npy'}", *words)) == 0
    assert capsys.readouterr().err == "", "a number is no formula"


def test_ids_are_checked_before_the_work(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("badge_jax.cli.select.run_task", None)
    np.save(tmp_path / "ids.npy", np.array(["\ud800"] * N))
    assert main(command_line(folder, tmp_path / "picks.csv", f"--ids={tmp_path / 'ids.npy'}")) == 2
    assert "holds text that is not Unicode" in capsys.readouterr().err


def test_the_output_is_no_input_and_no_device(folder, tmp_path, capsys):
    mine = tmp_path / "mine.npy"
    mine.write_bytes((folder / "features.npy").read_bytes())
    assert main(command_line(folder, mine, f"--features={mine}")) == 2
    assert "which is read as input; wanted another file" in capsys.readouterr().err
    assert mine.read_bytes() == (folder / "features.npy").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    assert main(command_line(folder, tmp_path / "pipe")) == 2
    assert "is not a regular file; wanted the name of a file" in capsys.readouterr().err
    (tmp_path / "link.csv").symlink_to(tmp_path / "target.csv")
    assert main(command_line(folder, tmp_path / "link.csv")) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "target.csv").read_text().startswith("rank,index")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert main(command_line(folder, tmp_path / "loop.csv")) == 2
    assert "is a link that leads back to itself" in capsys.readouterr().err
    assert main(command_line(folder, tmp_path / ("x" * 300))) == 2
    assert "File name too long" in capsys.readouterr().err


def test_later_batches_leave_out_all_earlier_ones(folder, tmp_path):
    """Files may be listed, or the option repeated; both as one word and as two."""
    batches = [tmp_path / f"{i}.csv" for i in range(4)]
    earlier = str(folder / "labeled.npy")
    for i, words in enumerate(
        (
            ["--labeled", earlier],
            ["--labeled", earlier, str(batches[0])],
            [f"--labeled={earlier}", f"--labeled={batches[0]}", f"--labeled={batches[1]}"],
            ["--labeled", str(batches[2]), f"--labeled={batches[0]}", "--labeled", str(batches[1]), earlier],
        )
    ):
        assert main(command_line(folder, batches[i], "--strategy=margin", *words)) == 0
    picks = [int(row["index"]) for batch in batches for row in rows_of(batch)]
    assert len({*picks, *range(0, N, 10)}) == 48 + N // 10


def test_ids_find_the_rows_of_a_rebuilt_pool(tmp_path, arrays, capsys):
    """Three batches by ids, each from the pool in another order and without some labeled rows."""
    rng, order, labeled = np.random.default_rng(0), np.arange(N), []
    for batch in range(3):
        pool = tmp_path / str(batch)
        pool.mkdir()
        for name, array in arrays.items():
            np.save(pool / f"{name}.npy", array[order])
        lines = "".join(f"photo {row};{row}\r\n" for row in order)
        (pool / "ids.csv").write_text(f"ID;size\r\n{lines}", "utf-8-sig", newline="")
        out = tmp_path / f"{batch}.csv"
        words = ["select", "--k=30", f"--out={out}", f"--ids={pool / 'ids.csv'}"]
        words += [f"--labeled={path}" for path in labeled]
        words += [f"--{name}={pool / name}.npy" for name in arrays]
        assert main(words) == 0
        labeled.append(str(out))
        order = rng.permutation(np.setdiff1d(order, [int(row["id"][6:]) for row in rows_of(out)[:9]]))
    assert capsys.readouterr().err.count("ids that are not in the pool") == 3
    picks = [row["id"] for path in labeled for row in rows_of(tmp_path / path)]
    assert len(set(picks)) == 90


def test_rows_that_annotators_skipped(folder, tmp_path, capsys):
    first, answers, second = tmp_path / "first.csv", tmp_path / "answers.csv", tmp_path / "second.csv"
    assert main(command_line(folder, first, "--strategy=margin")) == 0
    picks = [row["index"] for row in rows_of(first)]
    lines = [f"{row},{'' if i < 3 else 'cat'}\n" for i, row in enumerate(picks)]
    answers.write_text("index,label\n" + "".join(lines))
    words = ["--strategy=margin", "--labeled", str(folder / "labeled.npy"), str(answers)]
    capsys.readouterr()
    for more, is_offered in ((["--skipped=exclude"], False), ([], False), (["--skipped=offer"], True)):
        assert main(command_line(folder, second, *words, *more)) == 0
        assert "warning: --labeled: 3 rows have an empty label; they are" in capsys.readouterr().err
        again = [row["index"] for row in rows_of(second)]
        assert again[:3] == picks[:3] if is_offered else not {*again} & {*picks}


def test_a_batch_that_is_out_is_not_overwritten(folder, tmp_path, capsys):
    out = tmp_path / "picks.csv"
    words = [word for word in command_line(folder, out) if word != "--force"]
    assert main(words) == 0
    batch = out.read_bytes()
    assert main([*words, "--seed=1"]) == 2
    assert f"--out {out} is there already, perhaps a batch that is being labeled" in capsys.readouterr().err
    assert out.read_bytes() == batch
    assert main([*words, "--seed=1", "--force"]) == 0
    assert out.read_bytes() != batch


def test_explanation(folder, tmp_path, arrays):
    out = tmp_path / "picks.csv"
    assert main(command_line(folder, out, "--explain")) == 0
    rows = rows_of(out)
    picks = [int(row["index"]) for row in rows]
    points = badge_embedding(arrays["logits"], arrays["features"])
    squared = ((points[:, None] - points[None, picks]) ** 2).sum(-1)
    probabilities, is_free = softmax(arrays["logits"].astype(np.float64)), np.arange(N) % 10 != 0
    doubt = 1 - probabilities.max(1)
    uncertain = np.flatnonzero(is_free)[np.argsort(-doubt[is_free])[: N * 9 // 100]]
    apart = ((arrays["features"][uncertain, None] - arrays["features"][None, picks]) ** 2).sum(-1)
    nearest = apart.argmin(1)
    assert rows[0]["squared_distance"] == ""
    for t, (row, pick) in enumerate(zip(rows, picks, strict=True)):
        first, second = np.argsort(-probabilities[pick])[:2]
        assert (int(row["predicted_class"]), int(row["second_class"])) == (first, second)
        assert float(row["uncertainty"]) == pytest.approx(doubt[pick], rel=1e-4)
        assert float(row["second_probability"]) == pytest.approx(probabilities[pick, second], rel=1e-4)
        margin = probabilities[pick, first] - probabilities[pick, second]
        assert float(row["margin"]) == pytest.approx(margin, rel=1e-4, abs=1e-6)
        assert int(row["uncertainty_rank"]) == 1 + (doubt[is_free] > doubt[pick] + 1e-7).sum()
        assert float(row["embedding_norm"]) == pytest.approx(np.linalg.norm(points[pick]), rel=1e-4)
        assert int(row["uncertain_neighbors"]) == (nearest == t).sum()
        assert (row["copies_in_pool"], row["copies_in_batch"]) == ("0", "0")
        if t:
            assert float(row["squared_distance"]) == pytest.approx(squared[pick, :t].min(), rel=1e-4)


def with_copies(arrays):
    """Each of 500 rows three times, once with −0 for 0; a copy of row 7 is labeled."""
    pool = {name: np.tile(array[:500], (3, 1)) for name, array in arrays.items()}
    pool["features"][500, 0], pool["features"][0, 0] = -0.0, 0.0
    return pool, np.array([7])


def test_copies_are_told_and_left_out(arrays):
    pool, labeled = with_copies(arrays)
    given = {"logits": pool["logits"], "strategy": "margin", "labeled": labeled}
    with pytest.warns(UserWarning, match=r"^\d+ of the 20 picks are copies of earlier picks or of labeled"):
        chosen = select(20, **given, explain=True)
    repeats = np.bincount(chosen.indices % 500, minlength=500)
    assert chosen.explanation["copies_in_batch"].tolist() == [repeats[i % 500] - 1 for i in chosen.indices]
    expected = [1 if i % 500 == 7 else 2 for i in chosen.indices]
    assert chosen.explanation["copies_in_pool"].tolist() == expected
    alone = select(499, **given, unique=1.0)
    assert set(alone.tolist()) == {*range(500)} - {7}, "the first of each, and none like the labeled row"
    assert (
        alone.tolist() == select(499, logits=pool["logits"][:500], strategy="margin", labeled=labeled).tolist()
    )
    with pytest.raises(
        InputError, match="k = 500, but only 499 rows can be chosen that are not copies of each"
    ):
        select(500, **given, unique=1.0)


@pytest.mark.parametrize("strategy", ["badge", "coreset", "badge_kdpp", "maxherding", "random"])
def test_no_copies_by_any_strategy(strategy, arrays):
    """A copy that is left out is no labeled row either: the picks are those of the pool without it."""
    pool, labeled = with_copies(arrays)
    picks = select(20, **pool, strategy=strategy, labeled=labeled, unique=1)
    assert len({*(picks % 500).tolist()}) == 20
    assert 7 not in picks % 500
    if strategy in ("coreset", "maxherding"):
        part = {name: array[:500] for name, array in pool.items()}
        assert picks.tolist() == select(20, **part, strategy=strategy, labeled=labeled).tolist()


@pytest.mark.parametrize("strategy", ["badge", "margin", "badge_kdpp"])
def test_picks_are_as_far_apart_as_wanted(strategy, arrays):
    """Rows in tight groups: their features differ by little."""
    rng = np.random.default_rng(0)
    features = np.repeat(arrays["features"][:300] + 0.1, 10, axis=0)
    features += 1e-3 * rng.normal(size=features.shape).astype(np.float32)
    logits = np.repeat(arrays["logits"][:300], 10, axis=0) + 1e-3 * rng.normal(size=(N, C)).astype(np.float32)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    picks = select(30, features=features, logits=logits, strategy=strategy, unique=0.98)
    assert len({*picks.tolist()}) == 30
    cosines = (units[picks] @ units[picks].T)[np.triu_indices(30, 1)]
    assert cosines.max() < 0.98
    if strategy == "margin":  # greedy by score: the first that is apart from all before it
        by_margin, kept = select(N, logits=logits, strategy="margin"), []
        for row in by_margin:
            if len(kept) < 30 and (not kept or (units[kept] @ units[row]).max() < 0.98):
                kept.append(row)
        assert picks.tolist() == kept
    with pytest.raises(InputError, match=r"but only \d+ rows can be chosen that are not nearer than 0.02"):
        select(30, features=features, logits=logits, strategy=strategy, unique=0.02)


def check_explanations(strategy, sizes):
    """Pools of few rows, fewer than are computed at once: each row is counted for its nearest pick."""
    arrays = pool_arrays(max(sizes), 3, 4)
    for n in sizes:
        part = {name: array[:n] for name, array in arrays.items()}
        options = SelectOptions(min(n, 5), strategy, explain=True)
        inputs = Inputs(**{name: matrix_of(array, name) for name, array in part.items()})
        indices, remarks, columns = run_task(make_task(options, inputs))
        plain = run_task(make_task(dataclasses.replace(options, explain=False), inputs))
        assert indices.tolist() == plain.indices.tolist(), n
        assert remarks == [], n
        assert len({*indices.tolist()}) == min(n, 5), n
        doubt = 1 - softmax(part["logits"]).max(1)
        uncertain = np.argsort(-doubt)[: max(len(indices), round(0.1 * n))]
        squared = ((part["features"][uncertain, None] - part["features"][None, indices]) ** 2).sum(-1)
        nearest = np.bincount(squared.argmin(1), minlength=len(indices))
        assert columns["uncertain_neighbors"].tolist() == nearest.tolist(), n
        assert not columns["copies_in_pool"].any(), n
        assert {len(column) for column in columns.values()} == {len(indices)}, n


def test_explanations_of_small_pools():
    check_explanations("coreset", (1, 63))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", SELECTABLE)
def test_explanations_around_the_sizes_of_blocks(strategy):
    """Every size is another program; margin, the quickest to compile, has more of them."""
    many = (*range(1, 6), 31, 32, 33, *range(61, 68), *range(126, 131))
    sizes = many if strategy == "margin" else (2, 63, 64, 65, 129)
    check_explanations(strategy, sizes)
    jax.clear_caches()  # so many programs would exhaust the memory maps of the process


def test_explanation_of_confident_rows(folder, tmp_path):
    """Residuals underflow: the class is that of the largest logit all the same."""
    rng = np.random.default_rng(0)
    logits = rng.permuted(np.tile(np.arange(1, 5) * np.float32(1e4), (20, 1)), axis=1)
    np.save(tmp_path / "l.npy", logits)
    out = tmp_path / "picks.csv"
    options = ["--k", "5", "--strategy", "random", "--explain", "--out", str(out)]
    assert main(["select", "--logits", str(tmp_path / "l.npy"), *options]) == 0
    for row in rows_of(out):
        assert int(row["predicted_class"]) == logits[int(row["index"])].argmax()
        assert row["uncertainty"] == "0"


def test_explanation_of_what_is_given(folder, tmp_path):
    out = tmp_path / "picks.csv"
    base = ["select", "--k", "3", "--out", str(out), "--explain", "--force"]
    assert main([*base, "--strategy", "margin", "--logits", str(folder / "logits.npy")]) == 0
    by_outputs = ["predicted_class", "uncertainty", "uncertainty_rank", "second_class", "second_probability"]
    copies = ["copies_in_pool", "copies_in_batch"]
    assert list(rows_of(out)[0]) == ["rank", "index", *by_outputs, "margin", *copies]
    assert main([*base, "--strategy", "coreset", "--features", str(folder / "features.npy")]) == 0
    assert list(rows_of(out)[0])[2:] == ["embedding_norm", "squared_distance", *copies]


def test_explaining_changes_no_pick(folder, tmp_path):
    for strategy in ("margin", "entropy", "random"):
        plain, explained = tmp_path / "plain.csv", tmp_path / "explained.csv"
        assert main(command_line(folder, plain, "--strategy", strategy)) == 0
        assert main(command_line(folder, explained, "--strategy", strategy, "--explain")) == 0
        assert [row["index"] for row in rows_of(plain)] == [row["index"] for row in rows_of(explained)]
        assert all(row["embedding_norm"] for row in rows_of(explained))


def test_dry_run(folder, tmp_path, capsys):
    assert main(command_line(folder, tmp_path / "picks.csv", "--dry-run")) == 0
    printed = capsys.readouterr().out
    assert "3,000 rows, 0 MB, held in memory" in printed
    for line in ("peak memory: about", "read from files: at least", "time: about"):
        assert line in printed
    assert not (tmp_path / "picks.csv").exists()


def test_warnings_do_not_stop_it(folder, tmp_path, capsys):
    out = tmp_path / "picks.csv"
    assert main(command_line(folder, out, f"--logits={folder / 'probabilities.npy'}")) == 0
    assert "badge-jax: warning: --logits: taken as logits, but every row" in capsys.readouterr().err
    assert out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features=none.npy"], "--features: none.npy does not exist"),
        (["--labeled=none.txt"], "--labeled: none.txt does not exist"),
        (["--ids=none.txt"], "--ids: none.txt does not exist"),
        (["--k=0"], "k is 0; wanted a whole number, 1 or more"),
        (["--k=2701"], "k = 2701, but 2700 of 3000 rows are left to choose from"),
        (["--memory=lots"], "--memory is 'lots'; wanted a size such as 4GB"),
        (["--memory=1KB"], "the memory budget of 1 KB is too small; wanted"),
        (["--memory=4"], "the memory budget of 4 bytes is too small; wanted"),
        (["--strategy=albl"], "strategy albl learns from batch to batch"),
        (["--out=/nowhere/picks.csv"], "/nowhere is not a folder; wanted one that exists"),
        (["--out=."], "is a folder; wanted the name of a file"),
    ],
)
def test_bad_command_lines(folder, tmp_path, capsys, options, message):
    out = tmp_path / "picks.csv"
    assert main(command_line(folder, out, *options)) == 2
    error = capsys.readouterr().err
    assert error.startswith("badge-jax: ")
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_folder_that_cannot_be_written(folder, tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert main(command_line(folder, tmp_path / "picks.csv")) == 2
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


SAVES = pytest.mark.parametrize("save", [np.savez, np.savez_compressed])


def budget_for(capsys, words):
    """Just enough for the work, in bytes, as the refusal of less says."""
    assert main([*words, "--memory=1KB"]) == 2
    return int(re.search(r"wanted ([\d,]+) MB at least", capsys.readouterr().err)[1].replace(",", "")) * 10**6


@SAVES
def test_an_archive_under_a_budget(tmp_path, capsys, arrays, save):
    """What is not compressed is read in pieces; what is, is counted before it is read. Picks are the same."""
    logits, out, picks = np.tile(arrays["logits"], (1, 100)), tmp_path / "picks.csv", []
    np.save(tmp_path / "pool.npy", logits)
    save(tmp_path / "pool.npz", logits=logits)
    words = ["select", "--k=12", "--strategy=margin", f"--out={out}", "--force"]
    in_pieces = budget_for(capsys, [*words, f"--logits={tmp_path / 'pool.npy'}"])
    words.append(f"--logits={tmp_path / 'pool.npz'}")
    if is_compressed := save is np.savez_compressed:
        assert main([*words, f"--memory={in_pieces}"]) == 2
        error = capsys.readouterr().err
        assert "MB at least; --logits is compressed, so it is held in memory; a .npy" in error
        assert error.count("\n") == 1
        assert budget_for(capsys, words) == pytest.approx(in_pieces + logits.nbytes, abs=1e6)
    for budget in (in_pieces + (logits.nbytes if is_compressed else 0), 10**9):
        assert main([*words, f"--memory={budget}", "--dry-run"]) == 0
        where = "held in memory" if is_compressed or budget == 10**9 else "read in tiles"
        assert f"pool: 3,000 rows, 6 MB, {where}\n" in capsys.readouterr().out
        assert main([*words, f"--memory={budget}"]) == 0
        picks.append(out.read_text())
    assert picks[0] == picks[1]


@SAVES
def test_a_forecast_reads_no_archive_whole(tmp_path, capsys, monkeypatch, arrays, save):
    """Damage is not seen by a forecast, nor where the budget is refused; the selection itself finds it."""
    for module in (streamed, survey_module, budget_module):
        monkeypatch.setattr(module, "tile_size", lambda n, width: 100)
    save(tmp_path / "pool.npz", **arrays)
    content, out = bytearray((tmp_path / "pool.npz").read_bytes()), tmp_path / "picks.csv"
    content[len(content) // 2] ^= 1
    (tmp_path / "pool.npz").write_bytes(content)
    words = ["select", "--k=12", *(f"--{name}={tmp_path / 'pool.npz'}" for name in arrays), f"--out={out}"]
    budgets = (budget_for(capsys, words), 10**9)
    for budget in budgets:
        assert main([*words, f"--memory={budget}", "--dry-run"]) == 0
        assert main([*words, f"--memory={budget}"]) == 2
        assert "wanted a complete .npz file" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_large_pool_stays_within_its_budget(tmp_path, kind):
    """400 MB of float16 on disk under a budget of 150 MB; the same picks as in memory.

    Compiling takes 150 MB of its own. So the run that is measured is the second: it finds its programs kept.
    """
    rng = np.random.default_rng(0)
    for name, width in (("features", 480), ("logits", 20)):
        array = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float16, (400_000, width))
        for start in range(0, len(array), 50_000):
            array[start : start + 50_000] = np.maximum(rng.standard_normal((50_000, width)), -1)
        if kind == "npz":
            np.savez(tmp_path / f"{name}.npz", array)
        del array
    script = (
        "import re, sys; from badge_jax.cli import main; code = main(sys.argv[1:]); "
        "print(code, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    picks = []
    for time, budget in enumerate(("150MB", "150MB", "4GB")):
        out = tmp_path / f"{time}.csv"
        arguments = [f"--{name}={tmp_path / name}.{kind}" for name in ("features", "logits")]
        arguments += ["--k", "500", "--memory", budget, "--out", str(out)]
        done = subprocess.run(
            [sys.executable, "-c", script, "select", *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ},
        )
        code, peak = map(int, done.stdout.splitlines()[-1].split())
        assert code == 0
        picks.append(out.read_text())
        if time == 1:
            assert peak * 1024 < 150e6 + 400e6, "budget, interpreter and programs"
    assert picks[0] == picks[1] == picks[2]
