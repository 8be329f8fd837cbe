"""Learning curves on the chess endgames: BADGE, margin and random, two seeds each.

    make demo        (or: python -m experiments.demo)

Trains the paper's perceptron on kropt (OpenML 184, rebuilt from the rules of chess) with 100 random labels
and four queries of 1,000, at learning rate 1e-3, with which one-hot kropt fits in about 100 epochs. Prints
the accuracies and where the picture is. Runs already finished in runs/demo are not run again. About a minute
and a half on 2 CPU cores; expect 60 to 65 % at 4,100 labels from all three.
"""

from pathlib import Path

from tqdm import tqdm

from badge_jax.analysis import report
from badge_jax.runs import RunOptions, run

OUT = Path("runs/demo")
STRATEGIES = ("badge", "margin", "random")
SEEDS = (0, 1)
ROUNDS = 4


def main() -> None:
    jobs = [(strategy, seed) for seed in SEEDS for strategy in STRATEGIES]
    with tqdm(total=len(jobs) * (ROUNDS + 1), unit="round", disable=None) as bar:
        for strategy, seed in jobs:
            bar.set_description(f"{strategy}, seed {seed}")
            options = RunOptions("kropt", strategy, 1000, ROUNDS, seed=seed, learning_rate=1e-3)
            run(options, OUT / f"{strategy}-seed{seed}", lambda line: bar.update() and None)
    result = report([OUT], OUT / "report")
    print(f"\n{result.table}\n")
    for path in (*result.pictures, result.summary, result.page):
        print(path)


if __name__ == "__main__":
    main()
