"""An import points down the layers only, and the libraries stay in theirs.

``LAYERS`` is the one table of layers. The drawing in docs/design.md is made from it.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import badge_jax

PACKAGE = Path(badge_jax.__file__).parent
ROOT = PACKAGE.parent
LAYERS = [
    (("errors", "_version", "html"), "errors of one line; pages of one file"),
    (("shards", "files", "records", "names", "paper"), "shared basics"),
    (("rows", "pool"), "embeddings; what a strategy sees"),
    (
        ("array_files", "csv_files", "compiled", "devices"),
        "arrays and tables in files; compilation cache; devices",
    ),
    (("processes",), "several processes, joined"),
    (("embeddings", "models"), "last-layer gradients; networks"),
    (("samplers",), "choose k of n rows"),
    (("strategies", "training", "data"), "what to label next; the training loop; data sets by name"),
    (("learner", "selection"), "fit, ask, tell; the next batch from files"),
    (("runs", "campaign"), "experiments in folders; batch after batch with people who label"),
    (("analysis",), "statistics, tables and figures of finished runs"),
    (("cli",), "the command line"),
    (("__main__", "__init__"), "entry points"),
]
LEVEL = {name: level for level, (names, _) in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """The layer table's name of a module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of what a module imports, at its top or inside a function; ``from x import y`` is x.y."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    for name in imported(path):
        if name.split(".")[0] != "badge_jax" or part(path) == "__init__":
            continue
        below = name.split(".")[1] if name.split(".")[1] in LEVEL else "__init__"  # a public name
        if below != part(path):
            assert LEVEL[below] < LEVEL[part(path)], f"{part(path)} imports {name}"


def test_libraries_stay_in_their_layer():
    for path in MODULES:
        libraries = {name.split(".")[0] for name in imported(path)}
        if part(path) in {"data", "analysis", "errors", "files", "html", "array_files"}:
            assert not libraries & {"jax", "flax", "optax"}, f"{path} is to be numpy only"
        if path.stem not in {"figures", "report_figures", "drawing"}:
            assert "matplotlib" not in libraries, f"{path} imports matplotlib"
        if part(path) != "models":
            assert "flax" not in libraries, f"{path} imports flax"


# the first two load the others
TO_TRAIN = {"flax", "optax", "absl", "msgpack", "rich", "typing_extensions", "yaml"}
TO_PARSE = {"tyro", "docstring_parser", "typeguard", "typing_extensions", "tqdm"}  # and tyro those but the last
LOADED = {  # the packages that each may load, besides those that JAX does
    "import badge_jax": set(),
    "import badge_jax.runs, badge_jax.analysis, badge_jax.selection": set(),
    "from badge_jax.runs import run": TO_TRAIN,
    "import badge_jax.cli; badge_jax.cli.main(['--help'])": TO_PARSE,
    "import badge_jax.cli.run": TO_TRAIN | TO_PARSE,
    "import badge_jax.cli.sweep": TO_TRAIN | TO_PARSE,
}


@pytest.mark.parametrize("code", LOADED)
def test_start_loads_no_more_than_it_needs(code):
    """SciPy's statistics take a second to load, Flax and Optax a third of one."""
    done = subprocess.run(
        [sys.executable, "-c", PACKAGES_OF.format(code)], capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.splitlines()[-1].split() if not name.startswith("_")}
    assert loaded <= LOADED[code]


PACKAGES_OF = """
import sys, jax
before = {{*sys.modules}}
try:
    {}
except SystemExit:
    pass
after = {{name.split(".")[0] for name in {{*sys.modules}} - before}} - {{name.split(".")[0] for name in before}}
print(*after - {{"badge_jax"}} - {{*sys.stdlib_module_names}})
"""


@pytest.mark.parametrize("folder", ["experiments", "benchmarks"])
def test_scripts_import_public_modules_only(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imported(path):
            if name.split(".")[0] == "badge_jax":
                private = [word for word in name.split(".") if word.startswith("_")]
                assert not private, f"{path} imports {name}"
        assert "sys.path" not in path.read_text("utf-8"), f"{path} changes sys.path"
