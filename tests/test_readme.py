"""The README's Python runs as it stands, and it names every strategy."""

import re
from pathlib import Path

import jax
import pytest

from badge_jax import STRATEGIES

README = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run(capsys):
    namespace = {}
    for block in BLOCKS:
        exec(block, namespace)
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0]) for line in lines] == [150, 200, 250, 300, 350]
    picks = namespace["picks"]
    assert len(set(picks.tolist())) == 50
    assert int(picks.min()) >= 100
    model, x = namespace["nnx_model"], namespace["x"]
    logits, features, _ = model.apply(model.init(jax.random.key(0), x), x, mask=None, train=True)
    assert (logits.shape, features.shape) == ((2000, 3), (2000, 64))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_names_every_strategy(name):
    assert f"`{name}`" in README
