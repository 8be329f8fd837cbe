"""The README's Python runs as it stands, and it names every strategy."""

import re
from pathlib import Path

import jax
import pytest

from badge_jax import STRATEGIES
from badge_jax.cli import main

README = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FROM_TORCH = next(block for block in BLOCKS if "torch" in block)


def test_python_blocks_run(capsys):
    namespace = {}
    for block in BLOCKS:
        if block != FROM_TORCH:
            exec(block, namespace)
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0]) for line in lines] == [150, 200, 250, 300, 350]
    picks = namespace["picks"]
    assert len(set(picks.tolist())) == 50
    assert int(picks.min()) >= 100
    model, x = namespace["nnx_model"], namespace["x"]
    logits, features, _ = model.apply(model.init(jax.random.key(0), x), x, mask=None, train=True)
    assert (logits.shape, features.shape) == ((2000, 3), (2000, 64))


@pytest.mark.extras
def test_from_torch_to_a_labeling_file(tmp_path, monkeypatch):
    """The block that saves tensors, then the command below it."""
    pytest.importorskip("torch", reason="wants PyTorch (group peers)")
    monkeypatch.chdir(tmp_path)
    exec(FROM_TORCH, {})
    command = re.search(r"badge-jax (select .*)", README.partition(FROM_TORCH)[2])[1]
    assert main(command.split()) == 0
    header, *lines = (tmp_path / "to_label.csv").read_text().splitlines()
    assert header == ("rank,index,predicted_class,uncertainty,embedding_norm,squared_distance,represents")
    assert len({line.split(",")[1] for line in lines}) == 100


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_names_every_strategy(name):
    assert f"`{name}`" in README
