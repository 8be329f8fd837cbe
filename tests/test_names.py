"""One string names a thing: the grammar, its canonical form, and modules of the user's own."""

import os
import subprocess
import sys
import uuid
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from badge_jax import STRATEGIES, Strategy, names
from badge_jax.errors import InputError
from badge_jax.names import find


def number(*, alpha=1, name="mean", sizes=(1, 2), flag=False, limit=None):
    return {"alpha": alpha, "name": name, "sizes": sizes, "flag": flag, "limit": limit}


def given_first(num_classes, hidden=10, *, dtype="float32"):
    return num_classes, hidden, dtype


def wants_width(*, width, depth=2):
    return width, depth


def takes_any(**options):
    return options


REGISTRY = {"number": number, "model": given_first, "wide": wants_width, "any": takes_any}


def text_of(text, **more):
    return find("thing", text, REGISTRY, **more).text


def options_of(text, **more):
    return find("thing", text, REGISTRY, **more).options


def error_of(text, registry=REGISTRY, what="thing", **more):
    """The message, which is one line."""
    with pytest.raises(InputError) as caught:
        find(what, text, registry, **more)
    assert len(str(caught.value).splitlines()) == 1
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder of its own; the modules and paths of a test are forgotten after it."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def fresh_name():
    """A module's name that no other test has used."""
    return f"own_{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("number", "number"),
        ("  number ", "number"),
        ("number()", "number"),
        ("number ( )", "number"),
        ("number( alpha = 3 ,)", "number(alpha=3)"),
        ("number(\n    alpha=3,\n    flag=True\n)", "number(alpha=3, flag=True)"),
        ("number(flag=True, alpha=3)", "number(alpha=3, flag=True)"),
        ("number(alpha=1, name=mean)", "number"),
        ("number(name='median')", "number(name=median)"),
        ('number(name="median")', "number(name=median)"),
        ("number(name='two words')", "number(name='two words')"),
        ('number(name="it\'s")', 'number(name="it\'s")'),
        ("number(name='None')", "number(name='None')"),
        ("number(name='')", "number(name='')"),
        ("number(name='a, alpha=2')", "number(name='a, alpha=2')"),
        ("number(name='badge(first=norm)')", "number(name='badge(first=norm)')"),
        ("number(name=')(')", "number(name=')(')"),
        ("number(alpha=-3)", "number(alpha=-3)"),
        ("number(alpha=1_000)", "number(alpha=1000)"),
        ("number(alpha=3e-1)", "number(alpha=0.3)"),
        ("number(sizes=(3,))", "number(sizes=(3,))"),
        ("number(sizes=(1,2))", "number"),
        ("number(sizes=[1,2])", "number(sizes=[1, 2])"),
        ("number(limit='None')", "number(limit='None')"),
        ("number(limit=None)", "number"),
    ],
)
def test_the_shortest_form(text, canonical):
    assert text_of(text) == canonical
    assert text_of(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "alpha"),
    [
        ("3", 3), ("-0.5", -0.5), ("None", None), ("True", True), ("'True'", "True"), ("norm", "norm"),
        ("'norm'", "norm"), ("(1, 'a')", (1, "a")), ("{'a': [1]}", {"a": [1]}), ("b'x'", b"x"),
    ],
)  # fmt: skip
def test_values_are_literals_and_a_bare_word_is_text(text, alpha):
    found = options_of(f"number(alpha={text})")["alpha"]
    assert (found, type(found)) == (alpha, type(alpha))


def test_one_is_not_true():
    assert text_of("number(alpha=True)") == "number(alpha=True)"
    assert text_of("number(flag=0)") == "number(flag=0)"
    assert text_of("number(alpha=1.0)") == "number(alpha=1.0)"
    assert options_of("number(alpha=True)")["alpha"] is True


def test_all_options_are_filled_in():
    assert options_of("number(alpha=7)") == {**number(), "alpha": 7}
    found = find("thing", "number(alpha=7)", REGISTRY)
    assert found.make is number
    assert found.source is None


def test_the_callers_defaults_replace_the_makers():
    more = {"num_given": 1, "reserved": ("dtype",), "defaults": {"hidden": 1024, "unheard_of": 1}}
    assert options_of("model", **more) == {"hidden": 1024}
    assert text_of("model(hidden=1024)", **more) == "model"
    assert text_of("model(hidden=10)", **more) == "model(hidden=10)"


def test_what_the_caller_gives_is_no_option():
    more = {"num_given": 1, "reserved": ("dtype",)}
    assert (
        error_of("model(dtype=float64)", **more) == "thing model has no option 'dtype' (its options: hidden=10)"
    )
    assert "has no option 'num_classes'" in error_of("model(num_classes=3)", **more)


def test_an_option_without_a_default_is_wanted():
    assert error_of("wide") == "thing wide needs the option width: wide(width=…)"
    assert text_of("wide(depth=2, width=5)") == "wide(width=5)"


def test_a_maker_that_takes_any_option():
    assert text_of("any(b=1, a=two)") == "any(b=1, a=two)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("numbr", "unknown thing 'numbr'; did you mean number? (known: number, model, wide, any)"),
        ("num-ber", "unknown thing 'num-ber'; did you mean number?"),
        ("numbr(alpha=1)", "unknown thing 'numbr'; did you mean number?"),
        ("zzz", "unknown thing 'zzz' (known: "),
        ("number(alpa=1)", "thing number has no option 'alpa' (its options: alpha=1, name=mean, "),
        ("", "thing '' cannot be read; wanted name, name(option=value, …) or module:name(option=value, …)"),
        ("two words", "cannot be read"),
        ("number(alpha=1", "cannot be read"),
        ("number)", "cannot be read"),
        ("number(alpha=1)\nnumber", "cannot be read"),
        ("./number.py:make", "(a module is named with dots and without .py)"),
        ("number(3)", "options are written as name=value"),
        ("number(**{'alpha': 1})", "options are written as name=value"),
        ("number(*[1])", "options are written as name=value"),
        ("number(alpha=1)(alpha=2)", "options are written as name=value"),
        ("number(alpha=1).x(alpha=2)", "options are written as name=value"),
        ("number(alpha=1, alpha=2)", "an option is given twice"),
        ("number(alpha=1) + number(alpha=2)", "name=value"),
        ("number(alpha=)", "a value is neither a Python literal nor a word"),
        ("number(alpha=1+1)", "neither a Python literal nor a word"),
        ("number(alpha=os.getcwd())", "neither a Python literal nor a word"),
        ("number(alpha=(a, b))", "neither a Python literal nor a word"),
        ("number(alpha=if)", "neither a Python literal nor a word"),
        ("number(alpha='a\nb')", "neither a Python literal nor a word"),
        ("number(alpha={[]: 1})", "neither a Python literal nor a word"),
        ("number(alpha=1e999)", "neither a Python literal nor a word"),
        ("number(alpha=(-1e999,))", "neither a Python literal nor a word"),
        ("number(alpha=...)", "neither a Python literal nor a word"),
        ("number(alpha=" + "[" * 3000 + "]" * 3000 + ")", "neither a Python literal nor a word"),
        ("number(alpha='\0')", "wanted name(option=value, …)"),
        ("number(alpha='\udc80')", "wanted name(option=value, …)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_reported_in_one_line(text, message):
    assert message in error_of(text)


def test_options_are_never_evaluated(here):
    error_of("number(alpha=open('left', 'w'))")
    error_of("number(alpha=[open('left', 'w') for i in (1,)])")
    assert not (here / "left").exists()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(st.dictionaries(st.sampled_from(list(number())), VALUES))
def test_the_shortest_form_means_the_same_and_is_its_own(options):
    """Also the values come back, types and all."""
    written = ", ".join(f"{name}={value!r}" for name, value in options.items())
    first = find("thing", f"number({written})", REGISTRY)
    second = find("thing", first.text, REGISTRY)
    assert second.text == first.text
    assert repr(second.options) == repr(first.options)
    assert repr(first.options) == repr({**number(), **options})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(st.text())
def test_any_text_is_read_or_refused_in_one_line(text):
    for written in (text, f"number({text})"):
        problem = ""
        try:
            find("thing", written, REGISTRY)
        except InputError as error:
            problem = str(error)
        assert len(problem.splitlines()) <= 1


def test_the_registered_strategies_are_their_own_shortest_form():
    for name in STRATEGIES:
        assert find("strategy", name, STRATEGIES).text == name
        assert find("strategy", f" {name}( )", STRATEGIES).text == name


# modules of the user's own


def test_a_module_in_the_current_folder(here):
    name = fresh_name()
    content = b"def make(alpha=0.3):\n    return alpha\n"
    (here / f"{name}.py").write_bytes(content)
    found = find("strategy", f"{name}:make( alpha=2 )", STRATEGIES)
    assert found.text == f"{name}:make(alpha=2)"
    assert found.make(**found.options) == 2
    assert found.source == (f"{name}.py", zlib.crc32(content))


def test_a_module_in_a_package_here(here):
    name = fresh_name()
    (here / name / "inner").mkdir(parents=True)
    (here / name / "inner" / "samplers.py").write_text("class Group:\n    def make(alpha=1): return alpha\n")
    found = find("model", f"{name}.inner.samplers:Group.make", {})
    assert found.text == f"{name}.inner.samplers:Group.make"
    assert found.make() == 1
    assert found.source.file == str(Path(name, "inner", "samplers.py"))


def test_a_file_here_wins_over_one_on_the_path(here, monkeypatch):
    name = fresh_name()
    for folder, value in (("elsewhere", 1), ("project", 2)):
        (here / folder).mkdir()
        (here / folder / f"{name}.py").write_text(f"def make(): return {value}\n")
    monkeypatch.syspath_prepend(here / "elsewhere")
    monkeypatch.chdir(here / "project")
    found = find("strategy", f"{name}:make", {})
    assert found.make() == 2
    assert found.source.file == f"{name}.py"


def test_a_module_on_the_path_is_named_in_full(here, monkeypatch):
    name = fresh_name()
    (here / "elsewhere").mkdir()
    (here / "project").mkdir()
    (here / "elsewhere" / f"{name}.py").write_text("def make(): return 1\n")
    monkeypatch.syspath_prepend(here / "elsewhere")
    monkeypatch.chdir(here / "project")
    assert find("strategy", f"{name}:make", {}).source.file == str(here / "elsewhere" / f"{name}.py")


def test_a_file_written_after_the_start_is_found(here):
    """Python remembers what a folder held a moment ago."""
    name = fresh_name()
    error_of(f"{name}:make", what="strategy")
    (here / f"{name}.py").write_text("def make(): return 1\n")
    assert find("strategy", f"{name}:make", {}).make() == 1


def test_the_current_folder_does_not_hide_what_is_imported_later(here):
    """It stands last on the path from then on."""
    name = fresh_name()
    (here / f"{name}.py").write_text("def make():\n    import colorsys\n    return colorsys.__file__\n")
    (here / "colorsys.py").write_text("")
    sys.modules.pop("colorsys", None)
    assert Path(find("strategy", f"{name}:make", {}).make()).parent != here
    assert sys.path.count(str(here)) == 1


def test_what_a_module_imports_later_is_found_here(here):
    name, helper = fresh_name(), fresh_name()
    (here / f"{name}.py").write_text(f"def make():\n    import {helper}\n    return {helper}.VALUE\n")
    (here / f"{helper}.py").write_text("VALUE = 3\n")
    assert find("strategy", f"{name}:make", {}).make() == 3


@pytest.mark.parametrize(
    ("content", "attribute", "message"),
    [
        ("def make(", "make", "importing MODULE failed (SyntaxError: "),
        ("1 / 0", "make", "importing MODULE failed (ZeroDivisionError: division by zero)"),
        ("raise RuntimeError('two\\nlines')", "make", "importing MODULE failed (RuntimeError: two lines)"),
        ("import no_such_module", "make", "importing MODULE failed (ModuleNotFoundError: No module named 'no_"),
        ("import own", "make", "importing MODULE failed (ModuleNotFoundError: No module named 'own')"),
        ("from json import no_such", "make", "importing MODULE failed (ImportError: "),
        ("def makes(): pass", "make", "unknown name in MODULE 'make'; did you mean makes? (known: makes)"),
        ("_private = 1", "make", "unknown name in MODULE 'make' (known: )"),
        ("make = 3", "make", "MODULE:make is a int; wanted a function that makes one"),
        ("VALUE = 3", "VALUE.make", "unknown name in MODULE 'make'"),
        ("make = dict", "make", "MODULE:make does not say which options it takes"),
        ("def make(size): pass", "make", "MODULE:make needs the option size: MODULE:make(size=…)"),
        ("def make(size=1): pass", "make(sise=2)", "MODULE:make has no option 'sise' (its options: size=1)"),
    ],
)  # fmt: skip
def test_trouble_with_a_users_module_is_one_line(here, content, attribute, message):
    name = fresh_name()
    (here / f"{name}.py").write_text(content)
    assert message.replace("MODULE", name) in error_of(f"{name}:{attribute}", what="strategy")


def test_a_module_that_is_not_there(here):
    name = fresh_name()
    where = "in the current folder or on the Python path"
    assert error_of(f"{name}:make", what="model") == f"model {name}:make: there is no module {name} {where}"
    (here / f"{name}.py").write_text("def make(): pass\n")
    hint = f"(a module is named without .py: {name}:make)"
    assert error_of(f"{name}.py:make", what="model").endswith(hint)
    for text in (f"{name}:", f":{name}", f"{name}:make:more"):
        assert "cannot be read" in error_of(text)
    assert "failed" in error_of(f".{name}:make")


def test_a_default_that_is_an_array_is_compared_with_care(here):
    name = fresh_name()
    (here / f"{name}.py").write_text("import numpy as np\ndef make(weights=np.zeros(3)): return weights\n")
    found = find("strategy", f"{name}:make", {})
    assert found.text == f"{name}:make"
    np.testing.assert_array_equal(found.make(**found.options), np.zeros(3))


def test_a_module_without_a_file_has_no_source(here):
    assert find("thing", "builtins:sorted", {}, num_given=1).source is None


def test_another_folder_is_another_module(here):
    """Two processes in two folders, each with its own file of that name."""
    script = "from badge_jax.names import find; print(find('strategy', 'own_thing:make', {}).make())"
    root = str(Path(names.__file__).resolve().parents[1])
    for folder in ("a", "b"):
        (here / folder).mkdir()
        (here / folder / "own_thing.py").write_text(f"def make(): return {folder!r}\n")
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=here / folder,
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{folder}\n"


# making


def make_of(text, kind, *args, **more):
    return names.make("thing", find("thing", text, REGISTRY, num_given=len(args)), kind, *args, **more)


def test_making_gives_the_options_to_the_maker():
    assert make_of("number(alpha=2)", dict)["alpha"] == 2
    assert make_of("model(hidden=3)", tuple, 18) == (18, 3, "float32")
    found = find("thing", "model", REGISTRY, num_given=1, reserved=("dtype",))
    assert names.make("thing", found, tuple, 18, dtype="bfloat16") == (18, 10, "bfloat16")
    assert isinstance(names.make("strategy", find("strategy", "badge", STRATEGIES), Strategy), Strategy)


def test_a_maker_that_returns_another_type_is_refused():
    with pytest.raises(InputError, match=r"^thing number\(alpha=2\) gave a dict; wanted a Strategy$"):
        make_of("number(alpha=2)", Strategy)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("alpha is 5;\n wanted less"), "thing number: alpha is 5; wanted less"),
        (TypeError("bad\noperand"), "thing number: TypeError: bad operand"),
        (InputError("as it is"), "as it is"),
    ],
)
def test_a_maker_that_refuses_its_options(error, message):
    def refuse():
        raise error

    with pytest.raises(InputError) as caught:
        names.make("thing", find("thing", "number", {"number": refuse}), dict)
    assert str(caught.value) == message


def test_checksum(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * ((1 << 22) + 5))
    assert names.checksum(tmp_path / "file") == zlib.crc32(b"x" * ((1 << 22) + 5))
