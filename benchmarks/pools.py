"""Pools of gradient embeddings to seed from: synthetic recipes, and those of a network trained on MNIST."""

import gzip
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from badge_jax import FitOptions, Rows, gradient_embedding, make_fit, make_optimizer, make_predict, mlp

RECIPES = ("soft", "confident", "long_tailed")


def synthetic_pool(recipe: str, n: int, c: int, d: int) -> Rows:
    """Gradient embeddings of `pool_outputs`."""
    return jax.block_until_ready(jax.jit(gradient_embedding)(*pool_outputs(recipe, n, c, d)))


def pool_outputs(recipe: str, n: int, c: int, d: int) -> tuple[jax.Array, jax.Array]:
    """Logits [n, c] and features [n, d], float32: features max(0, N(0, 1)); logits N(0, 1), and with it

    soft:        nothing else: the network is unsure everywhere
    confident:   a gap of U(0, 20) on one random class: most rows are all but certain
    long_tailed: features times a lognormal factor (σ = 2): norms over several orders of magnitude
    """
    feature_key, logit_key, class_key, gap_key, scale_key = jax.random.split(jax.random.key(0), 5)
    features = jnp.maximum(jax.random.normal(feature_key, (n, d)), 0)
    logits = jax.random.normal(logit_key, (n, c))
    if recipe == "confident":
        winners = jax.nn.one_hot(jax.random.randint(class_key, (n,), 0, c), c)
        logits = logits + winners * jax.random.uniform(gap_key, (n, 1), maxval=20.0)
    if recipe == "long_tailed":
        features = features * jnp.exp(2 * jax.random.normal(scale_key, (n, 1)))
    return logits, features


def clustered_features(n: int, d: int, num_clusters: int = 40) -> jax.Array:
    """Features max(0, N(μ, σ²)) of clusters whose sizes and spreads differ, σ lognormal: [n, d] float32."""
    middle_key, size_key, spread_key, cluster_key, key = jax.random.split(jax.random.key(0), 5)
    middles = jax.random.normal(middle_key, (num_clusters, d))
    spreads = 0.8 * jnp.exp(0.4 * jax.random.normal(spread_key, (num_clusters, 1)))
    shares = jax.random.dirichlet(size_key, 0.7 * jnp.ones(num_clusters))
    cluster = jax.random.choice(cluster_key, num_clusters, (n,), p=shares)
    return jnp.maximum(middles[cluster] + spreads[cluster] * jax.random.normal(key, (n, d)), 0)


def mnist_pool(folder: Path) -> Rows:
    """The 60,000 training images under the paper's perceptron trained on 2,100 random labels (c = 10, d = 256).

    folder: holds the original train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz
    """
    pixels = np.frombuffer(gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    labels = np.frombuffer(gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
    inputs = jnp.asarray((pixels.reshape(-1, 784) / 255 - 0.1307) / 0.3081, jnp.float32)
    model = mlp(10)
    labeled = np.random.default_rng(0).choice(len(labels), 2100, replace=False)
    fit = jax.jit(make_fit(model, make_optimizer(1e-3), FitOptions(64)))
    variables = fit(
        jax.random.key(0),
        inputs,
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(labeled, jnp.int32),
        jnp.int32(2100),
    ).variables
    outputs = jax.jit(make_predict(model))(variables, inputs)
    return jax.block_until_ready(jax.jit(gradient_embedding)(outputs.logits, outputs.features))
