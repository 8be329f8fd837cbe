"""The examples in docstrings run and print what they show, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import badge_jax

MODULES = {
    name: importlib.import_module(name)
    for name in ("badge_jax", *(m.name for m in pkgutil.walk_packages(badge_jax.__path__, "badge_jax.")))
    if not name.endswith("__main__")
}
# the command line is described by its help texts
PACKAGES = [name for name, module in MODULES.items() if hasattr(module, "__path__") and name != "badge_jax.cli"]


def docstrings(name, value):
    """The docstring of a function or class and, for a class, of its public methods and properties."""
    yield name, value.__doc__
    if inspect.isclass(value):
        for attribute, member in vars(value).items():
            # other members, such as a default, have the docstring of their type
            is_method = isinstance(member, property | classmethod | staticmethod) or inspect.isroutine(member)
            if is_method and not attribute.startswith("_"):
                yield f"{name}.{attribute}", member.__doc__


def has_example(docstring):
    return ">>>" in (docstring or "")


def all_examples():
    """Name → (docstring, module) of everything that a module of badge_jax defines and gives an example of."""
    return {
        name: (docstring, module)
        for module_name, module in MODULES.items()
        for attribute, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module_name
        for name, docstring in docstrings(f"{module_name}.{attribute}", value)
        if has_example(docstring)
    }


EXAMPLES = all_examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    docstring, module = EXAMPLES[name]
    # as in doctest.testmod, an example may use the names of its module
    example = doctest.DocTestParser().get_doctest(docstring, dict(vars(module)), name, name, 0)
    report = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_has_an_example(package):
    values = {name: getattr(MODULES[package], name) for name in MODULES[package].__all__}
    functions = {
        name: value
        for name, value in values.items()
        if callable(value) and not inspect.isclass(value) and value.__module__ in MODULES
    }
    assert functions
    assert [name for name, function in functions.items() if not has_example(function.__doc__)] == []
