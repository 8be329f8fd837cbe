"""What every strategy picks from one pool of points in the plane: the pictures of docs/each-strategy.md.

    python -m experiments.pictures                      all strategies, into docs/pictures
    python -m experiments.pictures --strategy badge     one of them

Four classes of 200, 80, 40 and 20 points, three random labels of each, a linear classifier trained on these.
Its features are the coordinates and a 1, so everything that a strategy reads can be seen. Each picture has nine
picks, the most that a k-DPP can make of gradients of three features and four classes. The first one is marked
where the order means something. A minute of 2 CPU cores.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from badge_jax import (
    STRATEGIES,
    FitOptions,
    Model,
    Pool,
    linear,
    make_active_learner,
    make_optimizer,
)
from experiments.repeats import execute

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
NUM_PICKS = 9
COLOURS = ("#4477aa", "#cc6677", "#228833", "#aa8800")  # of the classes; told apart with any kind of sight
EDGE = 3.2


def main() -> None:
    """Draws the pictures of the strategies that are asked for."""
    matplotlib.use("agg")  # draws into files, with no screen
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategy", nargs="+", choices=[*STRATEGIES], default=[*STRATEGIES], metavar="NAME")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    points, labels = make_points()
    pool, regions = trained_pool(points, labels)
    for name in options.strategy:
        path = options.out / f"{name}.png"
        draw(name, picks_of(name, pool), points, pool, regions, path)
        print(path)


def make_points() -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and a 1, [340, 3] float32, the first two of mean 0, and classes [340] int32."""
    rng = np.random.default_rng(7)
    sizes, spreads = (200, 80, 40, 20), (0.75, 0.5, 0.4, 0.25)
    middles = np.array([[-0.7, -0.3], [1.3, 1.0], [1.5, -1.3], [-1.4, 1.9]])
    groups = zip(middles, spreads, sizes, strict=True)
    points = np.concatenate([middle + spread * rng.normal(size=(n, 2)) for middle, spread, n in groups])
    inputs = np.insert(points - points.mean(0), 2, 1.0, axis=1).astype(np.float32)
    return inputs, np.repeat(np.arange(4), sizes).astype(np.int32)


def trained_pool(points: np.ndarray, labels: np.ndarray) -> tuple[Pool, np.ndarray]:
    """The pool as a classifier with twelve labels sees it, and the class it gives each place of a square."""
    model: Model = linear(4)
    options = FitOptions(12, max_epochs=300)
    learner = make_active_learner(model, make_optimizer(3e-2), STRATEGIES["random"](), 1, options)
    rng = np.random.default_rng(3)
    first = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:3] for c in range(4)])
    state = learner.init(len(points), 1, 12)
    state = learner.tell(state, jnp.asarray(first), jnp.asarray(labels[first]))
    variables = learner.fit(jax.random.key(0), state, jnp.asarray(points)).variables

    def logits_of(x: np.ndarray) -> jax.Array:
        return model.apply(variables, jnp.asarray(x, jnp.float32), mask=None, train=False)[0]

    labeled = jnp.zeros(len(points), bool).at[first].set(True)
    pool = Pool(logits_of(points), jnp.asarray(points), jnp.where(labeled, labels, -1), labeled, ~labeled)
    ticks = np.linspace(-EDGE, EDGE, 200)
    square = np.stack([*np.meshgrid(ticks, ticks), np.ones((200, 200))], axis=-1).reshape(-1, 3)
    return pool, np.asarray(jnp.argmax(logits_of(square), axis=1)).reshape(200, 200)


def picks_of(name: str, pool: Pool) -> np.ndarray:
    """The strategy's batch, [NUM_PICKS] int32."""
    strategy = STRATEGIES[name]()
    rows, _ = strategy.query(jax.random.key(1), strategy.init(len(pool.labels), 1), pool, NUM_PICKS)
    return np.asarray(rows)


def draw(name: str, picks: np.ndarray, points: np.ndarray, pool: Pool, regions: np.ndarray, path: Path) -> None:
    """Writes one picture, 480 pixels wide."""
    points = points[:, :2]
    figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
    extent = (-EDGE, EDGE, -EDGE, EDGE)
    axes.imshow(
        regions, origin="lower", extent=extent, cmap=ListedColormap(COLOURS), alpha=0.15, vmin=0, vmax=3
    )
    labeled = np.asarray(pool.labeled)
    axes.scatter(*points[~labeled].T, s=7, color="#888888", linewidths=0, label="pool")
    for c, colour in enumerate(COLOURS):
        rows = labeled & (np.asarray(pool.labels) == c)
        axes.scatter(
            *points[rows].T, s=45, color=colour, marker="s", edgecolors="white", label=None if c else "labeled"
        )
    axes.scatter(*points[picks].T, s=48, color="black", marker="o", edgecolors="white", label="picked")
    if STRATEGIES[name]().is_prefix_consistent:
        axes.scatter(*points[picks[:1]].T, s=170, facecolors="none", edgecolors="black", label="first pick")
    axes.set(title=name, xticks=[], yticks=[], xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE))
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8, handletextpad=0.1)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    execute(main)
