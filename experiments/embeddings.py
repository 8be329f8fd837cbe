"""Every strategy on published embeddings of MNIST, from the first labels to 300, with a linear probe.

    python -m experiments.embeddings run --dataset FOLDER     the missing curves; the same command resumes
    python -m experiments.embeddings figures                  CSV files and figures of the curves there are
    python -m experiments.embeddings probe --dataset FOLDER   the probe against the published table

FOLDER holds embeddings_betatcvae_{train,test}.npy and labels_{train,test}.npy of
github.com/fbickfordsmith/vae-embeddings (MIT): the codes of a β-TCVAE for MNIST, 60,000 x 10 and 10,000 x 10.

The protocol is near that of Bickford Smith et al., AISTATS 2024 (arXiv 2404.17249): a pool with the same number
of rows of each class, drawn by the seed, and up to 300 labels. Theirs has 4,000 rows a class and starts from
two labels of each. Here there are 1,000, the first ten labels are those of a cold start, and a batch is ten.
The network is a linear probe: logistic regression with an L2 penalty, as scikit-learn's with C = 1, on
standardized embeddings, trained anew each round.

All strategies, 20 seeds: results/few-labels.md says how long it takes and what comes out.
"""

import argparse
import functools
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from badge_jax import Pool, names
from badge_jax.analysis import CurvePoint, Panel, csv_text, plot_panels, points_of
from badge_jax.array_files import open_npy
from badge_jax.compiled import keep_compiled_programs
from badge_jax.data.own import own_arrays
from badge_jax.errors import InputError
from badge_jax.files import write_whole
from badge_jax.pool import Head
from badge_jax.rows import mark_rows
from badge_jax.strategies import STRATEGIES, Strategy
from experiments.repeats import execute

NUM_CLASSES = 10
ROWS_A_CLASS = 1000
BATCH = 10
MOST_LABELS = 300
LABELS = list(range(BATCH, MOST_LABELS + 1, BATCH))
NUM_SEEDS = 20
NUM_NEWTON_STEPS = 15

GROUPS = {
    "the paper's": (
        "random",
        "badge",
        "margin",
        "confidence",
        "entropy",
        "coreset",
        "badge_kcenter",
        "badge_kdpp",
        "albl",
    ),
    "coverage": ("random", "badge", "maxherding", "uherding", "probcover", "coreset"),
    "clusters": ("random", "badge", "kmeans", "typiclust", "cluster_margin"),
    "draws and information": (
        "random",
        "badge",
        "gradnorm",
        "stochastic",
        "falcun",
        "bait",
        "bait(fisher=full)",
    ),
}
COLD_STARTS = ("random", "kmeans", "typiclust", "maxherding")
AFTER_COLD_STARTS = ("random", "badge", "margin")

# Mean and standard deviation over 20 seeds, from the README of the embeddings: labels -> test accuracy of a
# linear probe on random labels, the same number of each class.
PUBLISHED = {
    10: (0.4354, 0.1094), 50: (0.7205, 0.0693), 100: (0.8032, 0.0389), 200: (0.8586, 0.0129),
    300: (0.8865, 0.0146), 400: (0.8945, 0.0108), 500: (0.9033, 0.0133),
}  # fmt: skip


class Data(NamedTuple):
    """Embeddings, standardized by the training rows, and labels.

    Attributes:
        inputs: [n, d] float32.
        labels: [n] int32.
        test_inputs: [m, d] float32.
        test_labels: [m] int32.
    """

    inputs: jax.Array
    labels: jax.Array
    test_inputs: jax.Array
    test_labels: jax.Array


class Job(NamedTuple):
    """One learning curve to make."""

    strategy: str
    cold_start: str
    seed: int


# the probe


def fit_probe(inputs: jax.Array, labels: jax.Array, counted: jax.Array) -> Head:
    """Logistic regression with an L2 penalty of ½‖kernel‖² on the sum of cross-entropies, trained to the end.

    Args:
        inputs: [m, d] float32.
        labels: [m] int32.
        counted: [m] bool, rows that count.

    Returns:
        The output layer: kernel [d, c] and bias [c].
    """
    d = inputs.shape[1]
    rows = jnp.where(counted[:, None], inputs, 0.0)

    def head_of(weights: jax.Array) -> Head:
        return Head(weights[NUM_CLASSES:].reshape(d, NUM_CLASSES), weights[:NUM_CLASSES])

    def loss(weights: jax.Array) -> jax.Array:
        head = head_of(weights)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits_of(head, rows), labels)
        return jnp.sum(jnp.where(counted, losses, 0.0)) + jnp.sum(head.kernel**2) / 2

    def newton(_: int, weights: jax.Array) -> jax.Array:
        # a constant added to every bias changes nothing: without the 1 the Hessian would be singular
        curvature = jax.hessian(loss)(weights).at[:NUM_CLASSES, :NUM_CLASSES].add(1.0)
        step = jax.scipy.linalg.solve(curvature, jax.grad(loss)(weights), assume_a="pos")
        tried = weights[None, :] - jnp.array([1.0, 0.5, 0.2, 0.05, 0.0])[:, None] * step[None, :]
        return tried[jnp.argmin(jax.vmap(loss)(tried))]

    return head_of(jax.lax.fori_loop(0, NUM_NEWTON_STEPS, newton, jnp.zeros((d + 1) * NUM_CLASSES)))


def logits_of(head: Head, inputs: jax.Array) -> jax.Array:
    """Logits [n, c] of inputs [n, d]."""
    return inputs @ head.kernel + head.bias[None, :]


def accuracy_of(head: Head, inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of rows whose largest logit is that of their label."""
    return jnp.mean(jnp.argmax(logits_of(head, inputs), axis=1) == labels)


# a learning curve


def make_curve(strategy: Strategy, cold_start: Strategy) -> Callable[[jax.Array, Data], tuple]:
    """Makes the function ``(key, data) -> accuracies [30], rows [300]``: test accuracy with 10, 20, … 300
    labels, and the rows in the order in which they were labeled."""
    num_rounds = MOST_LABELS // BATCH

    def curve(key: jax.Array, data: Data) -> tuple:
        n = data.inputs.shape[0]
        cold_key, key = jax.random.split(key)

        def look(rows: jax.Array, head: Head | None) -> Pool:
            labeled = mark_rows(n, rows)
            logits = None if head is None else logits_of(head, data.inputs)
            known = jnp.where(labeled, data.labels, -1)
            return Pool(logits, data.inputs, known, labeled, ~labeled, head, data.inputs)

        def fit(rows: jax.Array) -> tuple[Head, jax.Array]:
            head = fit_probe(data.inputs[rows], data.labels[rows], rows >= 0)
            return head, accuracy_of(head, data.test_inputs, data.test_labels)

        def play_round(carry: tuple, i: jax.Array) -> tuple:
            rows, state = carry
            head, accuracy = fit(rows)
            batch, state = strategy.query(jax.random.fold_in(key, i), state, look(rows, head), BATCH)
            return (jax.lax.dynamic_update_slice(rows, batch, (i * BATCH,)), state), accuracy

        nothing = jnp.full(MOST_LABELS, -1, jnp.int32)
        first, _ = cold_start.query(cold_key, cold_start.init(n, 1), look(nothing, None), BATCH)
        start = nothing.at[:BATCH].set(first), strategy.init(n, num_rounds - 1)
        (rows, _), accuracies = jax.lax.scan(play_round, start, jnp.arange(1, num_rounds))
        return jnp.append(accuracies, fit(rows)[1]), rows

    return curve


def all_jobs(num_seeds: int) -> list[Job]:
    """Every curve, seed by seed: all strategies after ten random labels, and a few after each cold start."""
    strategies = dict.fromkeys(itertools.chain(*GROUPS.values()))
    pairs = dict.fromkeys(
        [(strategy, "random") for strategy in strategies]
        + list(itertools.product(AFTER_COLD_STARTS, COLD_STARTS))
    )
    return [Job(*pair, seed) for seed in range(num_seeds) for pair in pairs]


@functools.cache
def program_of(strategy: str, cold_start: str) -> Callable[[jax.Array, Data], tuple]:
    """The compiled `make_curve` of two strings."""
    made = [
        names.make("strategy", names.find("strategy", text, STRATEGIES), Strategy)
        for text in (strategy, cold_start)
    ]
    return jax.jit(make_curve(*made))


def run(data: Data, path: Path, num_seeds: int) -> None:
    """Makes the curves that are missing, and writes the file anew after each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    curves = read_curves(path)
    missing = [job for job in all_jobs(num_seeds) if job not in curves]
    for seed, jobs in itertools.groupby(missing, key=lambda job: job.seed):
        pool = drawn(data, seed)
        for job in jobs:
            start, program = time.perf_counter(), program_of(job.strategy, job.cold_start)
            accuracies, rows = jax.block_until_ready(program(jax.random.key(seed), pool))
            seconds = round(time.perf_counter() - start, 2)
            num_labels = len(np.unique(rows[rows >= 0]))
            if num_labels != MOST_LABELS:
                raise RuntimeError(f"{job} labeled {num_labels} distinct rows; wanted {MOST_LABELS}")
            curves[job] = {"accuracy": [round(float(a), 4) for a in accuracies], "seconds": seconds}
            lines = [json.dumps({**job._asdict(), **curve}) + "\n" for job, curve in curves.items()]
            write_whole(path, "".join(lines).encode())
            print(
                f"{job.strategy} after {job.cold_start}, seed {seed}: {accuracies[-1]:.4f}, {seconds} s",
                flush=True,
            )


def drawn(data: Data, seed: int) -> Data:
    """The pool of a seed: 1,000 rows of each class."""
    rng, labels = np.random.default_rng(seed), np.asarray(data.labels)
    rows = [rng.permutation(np.flatnonzero(labels == label))[:ROWS_A_CLASS] for label in range(NUM_CLASSES)]
    order = jnp.asarray(rng.permutation(np.concatenate(rows)))
    return data._replace(inputs=data.inputs[order], labels=data.labels[order])


# what comes out


def read_curves(path: Path) -> dict[Job, dict[str, Any]]:
    """The curves there are: accuracies with 10, 20, … labels, and how many seconds they took."""
    try:
        lines = [json.loads(text) for text in (path.read_text().splitlines() if path.exists() else ())]
        return {Job(line.pop("strategy"), line.pop("cold_start"), line.pop("seed")): line for line in lines}
    except (ValueError, AttributeError, KeyError):
        raise InputError(f"--runs {path} is damaged, or no file of this script's; remove it") from None


def by_pair(curves: dict[Job, dict[str, Any]]) -> dict[tuple[str, str], dict[int, dict[str, Any]]]:
    """(strategy, cold start) -> seed -> curve, sorted."""
    groups: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for job, curve in sorted(curves.items()):
        groups.setdefault(job[:2], {})[job.seed] = curve
    return groups


def write_figures(curves: dict[Job, dict[str, Any]], out: Path) -> list[Path]:
    """Writes every curve, a summary and two figures; returns the files."""
    if not curves:
        raise InputError("there are no curves yet; wanted some, by the command run")
    groups = by_pair(curves)
    means = {
        pair: mean_curve([curve["accuracy"] for curve in seeds.values()]) for pair, seeds in groups.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    by_seed = [[*job, *curve["accuracy"]] for job, curve in sorted(curves.items())]
    write_whole(out / "curves.csv", csv_text(["strategy", "cold_start", "seed", *LABELS], by_seed).encode())
    write_whole(out / "summary.csv", csv_text(*summary(groups)).encode())

    def panel(title: str, pairs: dict[str, tuple[str, str]], **more: Any) -> Panel:
        known = {name: means[pair] for name, pair in pairs.items() if pair in means}
        return Panel(title, "test accuracy (%)", known, scale=100, **more)

    strategies = [panel(title, {name: (name, "random") for name in group}) for title, group in GROUPS.items()]
    cold_starts = [
        panel(
            f"{name}, after ten labels of …",
            {start: (name, start) for start in COLD_STARTS},
            labels=(BATCH, 100),
        )
        for name in AFTER_COLD_STARTS
    ]
    pictures = [*plot_panels(strategies, out / "strategies"), *plot_panels(cold_starts, out / "cold_starts")]
    return [out / "curves.csv", out / "summary.csv", *pictures]


def mean_curve(accuracies: list[list[float]]) -> list[CurvePoint]:
    """The mean curve of several seeds."""
    return points_of(
        {n: dict(enumerate(seeds)) for n, seeds in zip(LABELS, np.array(accuracies).T, strict=True)}
    )


def summary(groups: dict[tuple[str, str], dict[int, dict[str, Any]]]) -> tuple[list[str], list[list]]:
    """Header and rows: for each strategy and cold start the mean accuracy at some numbers of labels and over
    all of them, how far the latter is above that of random labels with the same seed, its standard error, and
    the seconds of a curve."""
    shown = (10, 50, 100, 200, 300)
    header = ["strategy", "cold_start", "seeds", *(f"accuracy_{n}" for n in shown), "area", "area_above_random",
              "standard_error", "median_seconds"]  # fmt: skip
    areas = {
        pair: {seed: float(np.mean(curve["accuracy"])) for seed, curve in seeds.items()}
        for pair, seeds in groups.items()
    }
    bases = areas.get(("random", "random"), {})
    rows = []
    for pair, seeds in groups.items():
        accuracy = np.mean([curve["accuracy"] for curve in seeds.values()], axis=0)
        means = [*(accuracy[LABELS.index(n)] for n in shown), np.mean(list(areas[pair].values()))]
        above = [area - bases[seed] for seed, area in areas[pair].items() if seed in bases]
        error = np.std(above, ddof=1) / len(above) ** 0.5 if len(above) > 1 else float("nan")
        seconds = np.median([curve["seconds"] for curve in seeds.values()])
        numbers = (*means, np.mean(above) if above else float("nan"), error)
        rows.append([*pair, len(seeds), *(round(float(x), 4) for x in numbers), round(float(seconds), 2)])
    return header, rows


def check_probe(data: Data) -> list[list]:
    """Our probe on random labels, the same number of each class, beside the published table.

    Returns:
        Rows of labels, mean, standard deviation over the seeds, the published two, and the difference of the
        means over its standard error.
    """
    fit = jax.jit(lambda inputs, labels: fit_probe(inputs, labels, jnp.ones(len(labels), bool)))
    rows = []
    for num_labels, (mean, std) in PUBLISHED.items():
        found = []
        for seed in range(NUM_SEEDS):
            pool = drawn(data, seed)
            of_class = [np.flatnonzero(np.asarray(pool.labels) == label) for label in range(NUM_CLASSES)]
            chosen = np.concatenate([members[: num_labels // NUM_CLASSES] for members in of_class])
            head = fit(pool.inputs[chosen], pool.labels[chosen])
            found.append(float(accuracy_of(head, data.test_inputs, data.test_labels)))
        ours = float(np.mean(found)), float(np.std(found))
        error = ((std**2 + ours[1] ** 2) / NUM_SEEDS) ** 0.5
        rows.append([num_labels, *(round(x, 4) for x in ours), mean, std, round((ours[0] - mean) / error, 2)])
    return rows


def load(folder: Path) -> Data:
    """The embeddings and labels in a folder.

    Raises:
        InputError: for a file that is missing or damaged, and for arrays that are not as described above.
    """
    files = {"inputs": "embeddings_betatcvae_train", "labels": "labels_train",
             "test_inputs": "embeddings_betatcvae_test", "test_labels": "labels_test"}  # fmt: skip
    given = {field: open_npy(folder / f"{name}.npy", "--dataset") for field, name in files.items()}
    arrays = own_arrays(str(folder), given)
    if len(arrays.classes) != NUM_CLASSES or arrays.inputs.ndim != 2:
        found = f"inputs {arrays.inputs.shape} of {len(arrays.classes)} classes"
        raise InputError(f"--dataset {folder} holds {found}; wanted [n, d] of {NUM_CLASSES}")
    mean, std = arrays.inputs.mean(axis=0), arrays.inputs.std(axis=0)
    inputs, test_inputs = (jnp.asarray((part - mean) / std) for part in (arrays.inputs, arrays.test_inputs))
    return Data(inputs, jnp.asarray(arrays.labels), test_inputs, jnp.asarray(arrays.test_labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "figures", "probe"))
    parser.add_argument("--dataset", type=Path, help="folder of the embeddings, for run and probe")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS, help="seeds 0, 1, …")
    parser.add_argument("--runs", type=Path, default=Path("runs/embeddings.jsonl"), help="file of the curves")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/embeddings"))
    options = parser.parse_args()
    if options.command != "figures" and options.dataset is None:
        raise InputError(f"{options.command} wants --dataset FOLDER; --help says which files")
    if options.seeds < 1:
        raise InputError(f"--seeds is {options.seeds}; wanted at least 1")
    if options.command == "run":
        keep_compiled_programs()
        run(load(options.dataset), options.runs, options.seeds)
    elif options.command == "figures":
        print(*write_figures(read_curves(options.runs), options.out), sep="\n")
    else:
        header = ["labels", "mean", "std", "published_mean", "published_std", "difference_over_its_error"]
        text = csv_text(header, check_probe(load(options.dataset)))
        options.out.mkdir(parents=True, exist_ok=True)
        write_whole(options.out / "probe.csv", text.encode())
        print(text, end="")


if __name__ == "__main__":
    execute(main)
