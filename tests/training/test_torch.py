"""The training loop beside its PyTorch twin. PyTorch comes with the dependency group "peers"."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from badge_jax import make_optimizer, mlp
from badge_jax.training import make_train_step

torch = pytest.importorskip("torch", reason="needs PyTorch (dependency group peers)")
pytestmark = pytest.mark.extras


def test_losses_follow_pytorch_for_200_steps():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1000, 784)).astype(np.float32)
    labels = rng.integers(0, 10, 1000).astype(np.int32)
    model, optimizer = mlp(10, hidden=256), make_optimizer(1e-3)
    variables = model.init(jax.random.key(0), inputs[:1])
    network = torch.nn.Sequential(
        torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10, bias=False)
    )
    params = variables["params"]
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor(np.asarray(params["hidden"]["kernel"]).T))
        network[0].bias.copy_(torch.tensor(np.asarray(params["hidden"]["bias"])))
        network[2].weight.copy_(torch.tensor(np.asarray(params["output"]["kernel"]).T))
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    step, state = jax.jit(make_train_step(model, optimizer)), optimizer.init(variables)
    ours, theirs = [], []
    for _ in range(200):
        rows = rng.choice(1000, 64, replace=False)
        x, y = jnp.asarray(inputs[rows]), jnp.asarray(labels[rows])
        variables, state, metrics = step(variables, state, x, y, jnp.ones(64, bool))
        ours.append(float(metrics.loss))
        adam.zero_grad()
        logits = network(torch.tensor(inputs[rows]))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[rows]).long())
        loss.backward()
        torch.nn.utils.clip_grad_value_(network.parameters(), 0.1)
        adam.step()
        theirs.append(loss.item())
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
