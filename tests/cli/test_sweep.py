"""Options of the command line take the place of what the file of a sweep says."""

import pytest

from badge_jax.cli import main

SPEC = """
dataset = "kropt"
strategy = ["badge", "random"]
batch_size = 100
rounds = 20
seeds = "0-9"
"""


@pytest.mark.parametrize(
    ("words", "seeds", "rounds", "diagnostics"),
    [
        ([], 10, 20, False),
        (["--seeds", "3-4", "--rounds", "0"], 2, 0, False),
        (["--seeds", "7", "--diagnostics"], 1, 20, True),
    ],
)
def test_options_over_the_file(tmp_path, monkeypatch, words, seeds, rounds, diagnostics):
    made = []
    monkeypatch.setattr("badge_jax.cli.sweep.sweep_with_bar", lambda runs, *rest: made.extend(runs))
    (tmp_path / "spec.toml").write_text(SPEC)
    assert main(["sweep", str(tmp_path / "spec.toml"), "--out", str(tmp_path / "runs"), *words]) == 0
    assert len(made) == 2 * seeds
    assert {(run.rounds, run.diagnostics) for run in made} == {(rounds, diagnostics)}
