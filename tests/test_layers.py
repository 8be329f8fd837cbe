"""An import points down the layers only (the README draws them)."""

import ast
from pathlib import Path

import pytest

import badge_jax

PACKAGE = Path(badge_jax.__file__).parent
LAYERS = [
    {"errors", "_version"},
    {"files"},
    {"rows"},
    {"gradients", "samplers", "models"},
    {"training", "strategies", "evaluation"},
    {"active_learning", "data"},
    {"run_directory", "plots", "html"},
    {"runs", "report", "select"},
    {"cli"},
    {"__main__", "__init__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE).parts
    return relative[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of what a module imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    for name in imported(path):
        if name.startswith("badge_jax.") and (below := name.split(".")[1]) != part(path):
            assert LEVEL[below] < LEVEL[part(path)], f"{part(path)} imports {below}"


def test_libraries_stay_in_their_layer():
    for path in MODULES:
        libraries = {name.split(".")[0] for name in imported(path)}
        if part(path) in {"data", "evaluation", "errors", "files"}:
            assert not libraries & {"jax", "flax", "optax"}, f"{path} is to be numpy only"
        if part(path) != "plots":
            assert "matplotlib" not in libraries, f"{path} imports matplotlib"
        if part(path) != "models":
            assert "flax" not in libraries, f"{path} imports flax"
