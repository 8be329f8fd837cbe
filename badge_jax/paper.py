"""The numbers of Ash et al., ICLR 2020, and of the authors' code, in one place."""

from typing import NamedTuple

NUM_INITIAL = 100  # labels to start with
COLD_START = "random"  # how these are chosen
MAX_LABELS = 50_000  # labels at the end of the longest curves
MAX_POOL = 50_000  # rows of a pool where the data set brings no test set
TEST_SHARE = 10  # one row in so many is a test row there
TARGET_ACCURACY = 0.99  # training accuracy at which a fit ends
MAX_EPOCHS = 3000  # ours: the authors' code restarts a fit that stays poor
CLIP = 0.1  # gradients are clipped elementwise to ± this

BASELINE = "random"  # the strategy that n_0, normalized errors and gains refer to
SATURATED = 0.99  # share of the baseline's last accuracy at which a curve counts as done
SIGNIFICANT = 0.05  # p-value of the paired t-test
MIN_SEEDS = 5  # repeats of every comparison; with fewer nothing is tested
ZOOM_RATIO = 1.08  # a curve is enlarged from where the best accuracy exceeds the worst by this factor
LARGE_BATCH = 10_000  # curves of batches of this size are not enlarged


class Recipe(NamedTuple):
    """How the paper trains on a data set.

    Attributes:
        hidden: units of the perceptron's hidden layer.
        learning_rate: Adam's.
        minibatch_size: rows in a gradient step.
    """

    hidden: int
    learning_rate: float
    minibatch_size: int


TABLES = Recipe(hidden=1024, learning_rate=1e-4, minibatch_size=128)  # OpenML
DIGITS = Recipe(hidden=256, learning_rate=1e-3, minibatch_size=64)  # MNIST, SVHN
PHOTOS = Recipe(hidden=256, learning_rate=1e-3, minibatch_size=128)  # CIFAR-10
