"""The Python of the README and of docs/ runs as it stands; drawing and table of strategies are whole."""

import re
from pathlib import Path

import jax
import pytest
from documents import OTHER_PAGES, PAGES, ROOT, blocks_of, python_blocks, text_of
from test_layers import LAYERS

from badge_jax import STRATEGIES, Pool, Strategy
from badge_jax.cli import main

WITH_OWN_TEST = (
    "README.md",
    "docs/library.md",
    "docs/start.md",
)  # the last one's Python reads what its commands made
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


FROM_TORCH = next(block.text for block in blocks_of("docs/selection.md") if block.needs == "PyTorch")


def run_page(page, folder, monkeypatch):
    """Runs the blocks of a page in one namespace, in a folder of their own, and returns the namespace."""
    monkeypatch.chdir(folder)
    namespace = {}
    for number, block in enumerate(python_blocks(page)):
        exec(compile(block, f"{page}, block {number}", "exec"), namespace)
    return namespace


def pool_of(namespace):
    logits, features = namespace["logits"], namespace["features"]
    labeled = jax.numpy.arange(len(logits)) < 100
    return Pool(logits, features, jax.numpy.where(labeled, 0, -1), labeled, ~labeled)


def test_readme(tmp_path, monkeypatch, capsys):
    namespace = run_page("README.md", tmp_path, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0]) for line in lines] == [150, 200, 250, 300, 350]
    assert namespace["longest"](power=0.5).needs == ("logits", "features")


def test_the_readme_s_own_strategy_runs(tmp_path, monkeypatch):
    """The block that defines it, as the file mine.py, and the string that the commands below it use."""
    monkeypatch.chdir(tmp_path)
    block = next(block for block in python_blocks("README.md") if "planned(" in block)
    Path("mine.py").write_text(block, "utf-8")
    strategy = re.search(r"run .*--strategy '(mine:[^']+)'", text_of("README.md"))[1]
    options = ["--dataset=kropt", "--model=linear", "--batch-size=10", "--rounds=1", "--max-epochs=1"]
    assert main(["run", "--strategy", strategy, "--out=run", *options]) == 0
    assert len(Path("run/rounds.jsonl").read_text().splitlines()) == 2


def test_library(tmp_path, monkeypatch, capsys):
    namespace = run_page("docs/library.md", tmp_path, monkeypatch)
    picks, x = namespace["picks"], namespace["x"]
    assert len(set(picks.tolist())) == 50
    assert int(picks.min()) >= 100
    num_labeled, num_excluded = map(int, capsys.readouterr().out.split())
    assert num_labeled in (130, 131)  # of rows 7 and 1500 the second may be among those asked for
    assert num_excluded == 2
    for name in ("plain", "linen", "nnx_model", "eqx_model"):
        model = namespace[name]
        logits, features, _ = model.apply(model.init(jax.random.key(0), x), x, mask=None, train=True)
        assert (logits.shape, features.shape) == ((2000, 3), (2000, 64)), name
    pool = pool_of(namespace)
    for name in ("doubtful", "damped", "mixed", "alternating"):
        strategy = namespace[name]
        assert isinstance(strategy, Strategy)
        rows, _ = strategy.query(jax.random.key(0), strategy.init(2000, 3), pool, 50)
        assert pool.available[rows].all(), name
        assert len(set(rows.tolist())) == 50, name


@pytest.mark.parametrize("page", [page for page in PAGES if page not in WITH_OWN_TEST])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    run_page(page, tmp_path, monkeypatch)


@pytest.mark.extras
def test_from_torch_to_a_labeling_file(tmp_path, monkeypatch):
    """The block that saves tensors, then the command below it."""
    pytest.importorskip("torch", reason="wants PyTorch (group peers)")
    monkeypatch.chdir(tmp_path)
    exec(FROM_TORCH, {})
    command = re.search(r"badge-jax (select .*)", text_of("docs/selection.md").partition(FROM_TORCH)[2])[1]
    assert main(command.split()) == 0
    header, *lines = (tmp_path / "to_label.csv").read_text().splitlines()
    assert header.startswith("rank,index,predicted_class,uncertainty,uncertainty_rank,second_class,")
    assert len({line.split(",")[1] for line in lines}) == 100


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_has_its_line(name):
    assert f"| `{name}` |" in text_of("docs/strategies.md")


def drawing():
    """The layers, the top one first: names, and what they are."""
    lines = [("  ".join(names), what) for names, what in reversed(LAYERS)]
    width = max(len(names) for names, _ in lines)
    return "".join(f"{names:<{width}}   {what}\n" for names, what in lines)


def test_the_drawing_of_the_layers_is_made_from_their_table():
    assert f"```text\n{drawing()}```" in text_of("docs/design.md"), f"wanted in docs/design.md:\n{drawing()}"


@pytest.mark.parametrize("page", PAGES + OTHER_PAGES)
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for target, anchor in LINK.findall(prose):
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        if path == ROOT / "docs" / "reference" / "command-line.md":
            continue  # made when the site is built
        assert path.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in [anchor_of(heading) for heading in headings], f"{page} links to {target}#{anchor}"


def anchor_of(heading):
    """As code hosts make it: lower case, spaces to hyphens, punctuation dropped."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
