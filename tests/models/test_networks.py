"""What every registered network keeps, and what the convolutional ones have of their own."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from badge_jax import MODELS, FitOptions, linear, make_fit, make_optimizer, resnet18, standardized, vgg11
from badge_jax.models import PRECISIONS, linen_model
from badge_jax.models.layers import dense, torch_model

IMAGES = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))


def outputs(model, variables, x, mask, train):
    """A program of its own each time: eager calls would compile every operation by itself."""
    return jax.jit(lambda variables, x: model.apply(variables, x, mask=mask, train=train))(variables, x)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_contract(name):
    """Shapes and dtypes; the last linear layer on the features gives the logits; masked rows matter to none;
    bfloat16 inside changes little, and nothing outside."""
    options = {"resnet18": {"width": 4}}.get(name, {})
    model = MODELS[name](5, **options)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGES[:1])
    mask = jnp.array([True, True, True, False])
    for train in (False, True):
        x = jnp.concatenate([IMAGES, IMAGES.at[3].set(1e4)])
        masks = jnp.concatenate([mask, mask & False]) if train else None
        logits, features, after = outputs(model, variables, x, masks, train)
        assert logits.shape == (8, 5)
        assert features.ndim == 2
        assert logits.dtype == features.dtype == jnp.float32
        params = variables["params"]
        for path, kernel in jax.tree_util.tree_leaves_with_path(params):
            assert jax.tree_util.keystr(path[-1:]) != "['kernel']" or jnp.std(kernel) > 0, "zeros never learn"
        head = params["output"]
        expected = features @ head["kernel"] + head.get("bias", jnp.zeros(5))[None]
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(logits[4:7], logits[:3], atol=1e-5)
    if "dtype" in inspect.signature(MODELS[name]).parameters and name != "vgg11":
        model = MODELS[name](5, **options, dtype=PRECISIONS["bfloat16"])
        coarse, features, after = outputs(model, variables, x, masks, True)
        dtypes = {leaf.dtype.name for leaf in jax.tree.leaves((coarse, features, after))}
        assert dtypes == {"float32"}
        difference = float(jnp.max(jnp.abs(logits[:3] - coarse[:3])))
        assert 0 < difference < 0.2 * float(jnp.std(logits[:3]))  # 8 bits a product, some tens of layers


def test_initial_law_is_torchs_default():
    """Kernels and biases uniform on ±1/√fan_in; normalisation starts as the identity."""
    variables = jax.jit(vgg11(10).init)(jax.random.key(0), IMAGES[:1])
    params = variables["params"]
    for name, fan_in in (("stage1_conv1", 27), ("stage3_conv2", 2304), ("output", 512)):
        law = stats.uniform(-(fan_in**-0.5), 2 * fan_in**-0.5)
        for part in ("kernel", "bias"):
            values = np.asarray(params[name][part]).ravel()[:50_000]
            assert stats.kstest(values, law.cdf).pvalue > 1e-4
    assert (params["stage2_norm1"]["scale"] == 1).all()
    assert (params["stage2_norm1"]["bias"] == 0).all()
    assert (variables["batch_stats"]["stage2_norm1"]["var"] == 1).all()


def test_images_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"vgg11 is for images .* at least 32 × 32 .* shape \(28, 28, 1\)"):
        vgg11(10).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    with pytest.raises(ValueError, match=r"resnet18 is for images .* shape \(16,\)"):
        resnet18(10).init(jax.random.key(0), jnp.zeros((1, 16)))


def test_standardized_sees_uint8_images_as_the_formula_says():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 3)).astype(np.uint8)
    mean, sd = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    model = standardized(linear(2), mean, sd)
    variables = model.init(jax.random.key(0), jnp.asarray(pixels))
    _, features, _ = model.apply(variables, jnp.asarray(pixels), mask=None, train=False)
    expected = (pixels.astype(np.float64) / 255 - mean) / sd
    np.testing.assert_allclose(features, expected.reshape(3, -1), atol=1e-5)


def test_a_narrow_resnet_learns_from_uint8_and_more_labels_compile_nothing(compilations):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40).astype(np.int32)
    pixels = rng.integers(0, 100, (40, 8, 8, 3)).astype(np.uint8)
    pixels[labels == 1, :4] += 100
    model = standardized(resnet18(2, width=4), (0.5,) * 3, (0.25,) * 3)
    fit = jax.jit(make_fit(model, make_optimizer(1e-2), FitOptions(16, max_epochs=60)))
    args = [
        (
            jax.random.key(i),
            jnp.asarray(pixels),
            jnp.asarray(labels),
            jnp.arange(40, dtype=jnp.int32),
            jnp.int32(33 + i),
        )
        for i in range(2)
    ]
    result = fit(*args[0])
    assert bool(result.converged)
    compilations.clear()
    jax.block_until_ready(fit(*args[1]))
    assert compilations == []


class Mixed(nn.Module):
    """A linear layer of ours, and a parameter of the user's own."""

    @nn.compact
    def __call__(self, x, *, mask, train):
        features = x * self.param("gain", nn.initializers.ones, (4,))[None, :]
        return dense(features, 3, name="output"), features


def test_every_weight_is_drawn_or_refused():
    """Under `linen_model` each layer draws its own; `torch_model` knows kernels, biases and norms only."""
    key, x = jax.random.key(0), jnp.ones((2, 4))
    params = linen_model(Mixed(), output="output").init(key, x)["params"]
    assert params["gain"].tolist() == [1, 1, 1, 1]
    assert min(jnp.std(params["output"][name]) for name in ("kernel", "bias")) > 0
    with pytest.raises(ValueError, match="cannot draw gain; wanted"):
        torch_model(Mixed()).init(key, x)
