"""ResNet-18 and VGG-11 beside their PyTorch definitions, with the same weights.

PyTorch comes with the dependency group "peers".
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import resnet18, vgg11

torch = pytest.importorskip("torch", reason="needs PyTorch (dependency group peers)")
pytestmark = pytest.mark.extras
from benchmarks import torch_twin  # noqa: E402


def layers_of_ours(variables):
    """Layers in the order in which they are applied, as (kind, {name: array})."""
    params, stats = variables["params"], variables["batch_stats"]

    def walk(names, params, stats):
        for name in names:
            layer, more = params[name], stats.get(name, {})
            if "kernel" in layer:
                yield ("output" if layer["kernel"].ndim == 2 else "conv"), layer
            elif "scale" in layer:
                yield "norm", {**layer, **more}
            else:
                order = ("conv1", "norm1", "conv2", "norm2", "shortcut", "shortcut_norm")
                yield from walk([n for n in order if n in layer], layer, more)

    def position(name):
        head = {"stem": 0, "stem_norm": 0.5, "output": 99}.get(name)
        if head is not None:
            return head
        stage, part = name.removeprefix("stage").split("_")
        return int(stage) + int(part[-1]) / 10 + (0.05 if part.startswith("norm") else 0)

    return list(walk(sorted(params, key=position), params, stats))


def copy_to_torch(variables, network):
    modules = [
        m
        for m in network.modules()
        if isinstance(m, torch_twin.nn.Conv2d | torch_twin.nn.BatchNorm2d | torch_twin.nn.Linear)
    ]
    ours = layers_of_ours(variables)
    assert len(modules) == len(ours)
    as_tensor = lambda array: torch.tensor(np.asarray(array))  # noqa: E731
    with torch.no_grad():
        for module, (kind, layer) in zip(modules, ours, strict=True):
            if kind == "norm":
                module.weight.copy_(as_tensor(layer["scale"]))
                module.bias.copy_(as_tensor(layer["bias"]))
                module.running_mean.copy_(as_tensor(layer["mean"]))
                module.running_var.copy_(as_tensor(layer["var"]))
                continue
            order = (3, 2, 0, 1) if kind == "conv" else (1, 0)
            module.weight.copy_(as_tensor(np.transpose(layer["kernel"], order)))
            if "bias" in layer:
                module.bias.copy_(as_tensor(layer["bias"]))


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def perturbed(variables):
    """Vectors moved at random, so that no scale is 1 and no running average 0."""
    leaves, treedef = jax.tree.flatten(variables)
    rng = np.random.default_rng(0)
    moved = [
        leaf if leaf.ndim > 1 else leaf + jnp.asarray(rng.uniform(-0.2, 0.2, leaf.shape), leaf.dtype)
        for leaf in leaves
    ]
    return jax.tree.unflatten(treedef, moved)


MAKERS = {
    "resnet18": (lambda: resnet18(10), lambda: torch_twin.resnet18(10), 11_173_962),
    "vgg11": (lambda: vgg11(10), lambda: torch_twin.vgg11(10), 9_231_114),
}


@pytest.mark.parametrize("name", MAKERS)
def test_parameters_logits_and_features(name):
    """In evaluation, and in training with the last rows masked, running averages after it included."""
    make_ours, make_theirs, num_parameters = MAKERS[name]
    model, network = make_ours(), make_theirs()
    x = np.random.default_rng(1).normal(size=(6, 32, 32, 3)).astype(np.float32)
    variables = perturbed(jax.jit(model.init)(jax.random.key(0), jnp.asarray(x[:1])))
    assert count(variables) == sum(p.numel() for p in network.parameters()) == num_parameters
    copy_to_torch(variables, network)
    images = torch.tensor(x).permute(0, 3, 1, 2)

    logits, features, _ = jax.jit(lambda v, x: model.apply(v, x, mask=None, train=False))(variables, x)
    network.eval()
    with torch.no_grad():
        np.testing.assert_allclose(features, network.features(images), atol=1e-4)
        np.testing.assert_allclose(logits, network(images), atol=1e-4)

    mask = jnp.arange(6) < 5
    poisoned = jnp.where(mask[:, None, None, None], x, 1e4)
    logits, _, after = jax.jit(lambda v, x: model.apply(v, x, mask=mask, train=True))(variables, poisoned)
    network.train()
    with torch.no_grad():
        np.testing.assert_allclose(logits[:5], network(images[:5]), atol=5e-4, rtol=1e-4)
    norms = [m for m in network.modules() if isinstance(m, torch_twin.nn.BatchNorm2d)]
    ours = [layer for kind, layer in layers_of_ours(after) if kind == "norm"]
    for module, layer in zip(norms, ours, strict=True):
        np.testing.assert_allclose(layer["mean"], module.running_mean, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(layer["var"], module.running_var, atol=1e-4, rtol=1e-4)


def test_gradients():
    """Of the loss in every parameter of a narrow ResNet-18, five rows of six, against float64.

    (On a busy machine PyTorch's float32 gradients of so small a network were seen to change from call to call.)
    """
    model, network = resnet18(10, width=4), torch_twin.resnet18(10, width=4).double()
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(6, 16, 16, 3)).astype(np.float32), rng.integers(0, 10, 6)
    variables = perturbed(jax.jit(model.init)(jax.random.key(0), jnp.asarray(x[:1])))
    copy_to_torch(variables, network)
    mask = jnp.arange(6) < 5

    def loss(params):
        logits, _, _ = model.apply({**variables, "params": params}, x, mask=mask, train=True)
        picked = jax.nn.log_softmax(logits)[jnp.arange(6), y]
        return -jnp.sum(jnp.where(mask, picked, 0.0)) / 5

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    torch.nn.functional.cross_entropy(
        network(torch.tensor(x[:5]).double().permute(0, 3, 1, 2)), torch.tensor(y[:5])
    ).backward()
    other = torch_twin.resnet18(10, width=4).double()
    copy_to_torch({**variables, "params": gradients}, other)
    for ours, theirs in zip(other.parameters(), network.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach(), theirs.grad, atol=2e-4, rtol=2e-3)
