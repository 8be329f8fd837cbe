"""Learning curves on the chess endgames: BADGE, margin and random, two seeds each.

    make demo        (or: python -m experiments.demo)

Trains the paper's perceptron on kropt (OpenML 184, rebuilt from the rules of chess) with 100 random labels and
four queries of 1,000, at learning rate 1e-3, with which one-hot kropt fits in about 100 epochs. Prints the
accuracies and where the picture is. Runs already finished in runs/demo are not run again. About a minute and a
half on 2 CPU cores; expect 60 to 65 % at 4,100 labels from all three.
"""

from pathlib import Path

from badge_jax import report
from badge_jax.cli import sweep_with_bar
from badge_jax.runs import make_runs
from experiments.repeats import execute

OUT = Path("runs/demo")
GRID = {
    "dataset": "kropt",
    "strategy": ["badge", "margin", "random"],
    "batch_size": 1000,
    "seeds": "0-1",
    "rounds": 4,
    "learning_rate": 1e-3,
}


def main() -> None:
    sweep_with_bar(make_runs([GRID]), OUT)
    result = report([OUT], OUT / "report")
    print(f"\n{result.table}\n")
    for path in (*result.pictures, result.summary, result.page):
        print(path)


if __name__ == "__main__":
    execute(main)
