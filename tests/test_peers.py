"""The benchmark's way to run the authors' query without their networks, on stand-ins for their file."""

import textwrap

import numpy as np
import pytest

from benchmarks.peers import load_authors_badge, probabilities_of

pytest.importorskip("sklearn", reason="needs scikit-learn (group peers)")
pytestmark = pytest.mark.extras

SINCE_JULY_2023 = """
    import a_package_that_nobody_has
    from .strategy import Strategy

    def largest(left, right, k):
        print("noise")
        return np.argsort(-np.sum(left**2, 1) * np.sum(right**2, 1))[:k]

    class BadgeSampling(Strategy):
        def __init__(self, X, Y, idxs_lb, net, handler, args):
            super(BadgeSampling, self).__init__(X, Y, idxs_lb, net, handler, args)

        def query(self, n):
            free = np.arange(self.n_pool)[~self.idxs_lb]
            embs, probs = self.get_embedding(self.X[free], self.Y.numpy()[free], return_probs=True)
            embs, probs = embs.numpy(), probs.numpy()
            left = -probs
            left[np.arange(len(probs)), probs.argmax(-1)] += 1
            return free[largest(left, embs, n)]
"""
BEFORE = """
    import a_package_that_nobody_has

    class BadgeSampling(Strategy):
        def query(self, n):
            free = np.arange(self.n_pool)[~self.idxs_lb]
            dense = self.get_grad_embedding(self.X[free], self.Y.numpy()[free]).numpy()
            return free[np.argsort(-np.linalg.norm(dense, axis=1))[:n]]
"""


@pytest.mark.parametrize(("source", "writes_out"), [(SINCE_JULY_2023, False), (BEFORE, True)])
def test_the_query_of_a_checkout_gets_the_outputs(tmp_path, source, writes_out, capsys):
    (tmp_path / "query_strategies").mkdir()
    (tmp_path / "query_strategies" / "badge_sampling.py").write_text(textwrap.dedent(source))
    rng = np.random.default_rng(0)
    probabilities, features = rng.dirichlet(np.ones(4), 30), rng.normal(size=(30, 5))
    residuals = probabilities - np.eye(4)[probabilities.argmax(1)]
    lengths = np.linalg.norm(residuals[:, :, None] * features[:, None, :], axis=(1, 2))
    badge = load_authors_badge(tmp_path)
    assert badge.query(probabilities, features, 7).tolist() == np.argsort(-lengths)[:7].tolist()
    assert (badge.writes_out, "before" in badge.name) == (writes_out, writes_out)
    assert capsys.readouterr().out == ""
    np.testing.assert_allclose(probabilities_of(residuals), probabilities, atol=1e-15)


def test_a_folder_that_is_no_checkout_is_named(tmp_path):
    with pytest.raises(SystemExit, match="wanted a checkout of the authors' repository"):
        load_authors_badge(tmp_path)
