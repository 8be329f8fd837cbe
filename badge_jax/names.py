"""One string names a thing: ``badge``, ``badge(first=norm)``, ``mypackage.module:make(alpha=0.3)``.

The same grammar serves strategies, models and data sets, on the command line, in a sweep's file, in config.json
and in a report's legend. Values are Python literals; a bare word is a string. What follows ``module:`` is
looked for in the current folder, then on the Python path, and is imported, so it runs: name only what you
trust.
"""

import ast
import importlib
import inspect
import keyword
import re
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from badge_jax.errors import InputError, one_line, unknown_name

_PATTERN = re.compile(r"(?P<name>\w+|[\w.]+:[\w.]+)\s*(?:\((?P<options>.*)\))?", re.DOTALL)


class CodeFile(NamedTuple):
    """The file behind a user's own thing.

    Attributes:
        file: its path, relative to the current folder where it lies in it.
        crc32: checksum of its content.
    """

    file: str
    crc32: int


class Found(NamedTuple):
    """A thing that a string names.

    Attributes:
        text: the string in its shortest form: options in the maker's order, those equal to a default left out.
        make: the maker.
        options: all of its options, defaults filled in.
        source: the user's file that it comes from; None for what the package brings.
    """

    text: str
    make: Callable[..., Any]
    options: dict[str, Any]
    source: CodeFile | None


def find(
    what: str,
    text: str,
    registry: Mapping[str, Callable[..., Any]],
    *,
    num_given: int = 0,
    reserved: tuple[str, ...] = (),
    defaults: Mapping[str, Any] = {},
) -> Found:
    """Looks up a string's maker and checks its options against the maker's signature.

    Args:
        what: "strategy", "model" or "dataset", for messages.
        text: the string.
        registry: name -> maker.
        num_given: how many arguments the caller gives the maker before the options.
        reserved: options that the caller fills in and a string cannot.
        defaults: used in place of the maker's own where the maker is the registry's and has such an option.

    Returns:
        What was found; nothing is made yet.

    Raises:
        InputError: if the string cannot be read, names nothing, or has an option that the maker does not take.
            The message suggests the nearest name.

    Example:
        >>> from badge_jax import STRATEGIES
        >>> from badge_jax.names import find
        >>> find("strategy", "badge( first='norm' )", STRATEGIES).text
        'badge(first=norm)'
    """
    name, options = _parse(what, text, registry)
    source = None
    if ":" in name:
        make, source = _load(what, name)
    elif name in registry:
        make = registry[name]
    else:
        raise unknown_name(what, name, registry)
    parameters = {n: p for n, p in _options_of(make, num_given).items() if n not in reserved}
    known_defaults = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
    if source is None and ":" not in name:
        known_defaults |= {key: value for key, value in defaults.items() if key in parameters}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(make).parameters.values())
    for option in options:
        if option in reserved or (option not in parameters and not takes_any):
            pairs = (
                f"{key}={_shown(known_defaults[key])}" if key in known_defaults else key for key in parameters
            )
            known = ", ".join(pairs) or "none"
            raise InputError(f"{what} {name} has no option {option!r} (its options: {known})")
    missing = [key for key in parameters if key not in known_defaults and key not in options]
    if missing:
        raise InputError(f"{what} {name} needs the option {missing[0]}: {name}({missing[0]}=…)")
    filled = {**known_defaults, **options}
    order = [*parameters, *(option for option in options if option not in parameters)]
    own = {key: filled[key] for key in order if not _equal(filled[key], known_defaults.get(key, _NOTHING))}
    return Found(_written(name, own), make, {key: filled[key] for key in order}, source)


def make(what: str, found: Found, kind: type, *args: Any, **more: Any) -> Any:
    """Calls the maker with its options and checks what it returns.

    Args:
        what: for messages.
        found: what `find` returned.
        kind: the type that is wanted.
        *args: arguments before the options.
        **more: options that the caller fills in.

    Raises:
        InputError: if the maker refuses its options, or returns another type. Whatever a user's maker raises
            counts as refusing; of the package's own only ValueError and TypeError do.
    """
    try:
        made = found.make(*args, **{**found.options, **more})
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} {found.text}: {problem_of(error, found.source)}") from error
    if not isinstance(made, kind):
        raise InputError(f"{what} {found.text} gave a {type(made).__name__}; wanted a {kind.__name__}")
    return made


def written_out(found: Found) -> str:
    """The string that names a thing with all of its options, also those equal to a default.

    Args:
        found: what `find` returned.

    Example:
        >>> from badge_jax import STRATEGIES
        >>> from badge_jax.names import find, written_out
        >>> written_out(find("strategy", "badge", STRATEGIES))
        'badge(first=uniform)'
    """
    return _written(found.text.partition("(")[0], found.options)


def problem_of(error: Exception, source: CodeFile | None) -> str:
    """What went wrong, in one line, with the place in the user's file.

    Args:
        error: what was raised.
        source: the user's file; None for the package's own code.

    Raises:
        Exception: ``error`` itself, where it is neither from a user's code nor a ValueError or TypeError: it is
            a defect, and its traceback is wanted.
    """
    if source is None and not isinstance(error, (ValueError, TypeError)):
        raise error
    text = " ".join(str(error).split()) if isinstance(error, ValueError) else one_line(error)
    if source is None:
        return text[:300]
    file = Path(source.file).resolve()
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == file]
    return text[:300] + (f" ({source.file}, line {lines[-1]})" if lines else "")


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found = zlib.crc32(block, found)
    return found


def _parse(what: str, text: str, known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and the options of a string."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        if re.fullmatch(r"[\w-]+", text):
            raise unknown_name(what, text, known)
        hint = "a module is named with dots and without .py" if re.search(r"[/\\]|\.py:", text) else ""
        raise InputError(
            f"{what} {text!r} cannot be read{hint and f' ({hint})'}; wanted name, name(option=value, …) or "
            "module:name(option=value, …)"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, on odd numbers
            call = ast.parse(f"f({match['options'] or ''})", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):  # such as name(…)(…)
            raise ValueError("options are written as name=value")
        if call.args or any(pair.arg is None for pair in call.keywords):
            raise ValueError("options are written as name=value")
        options = {str(pair.arg): _value(pair.value) for pair in call.keywords}
        if len(options) < len(call.keywords):
            raise ValueError("an option is given twice")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        problem = "keyword argument repeated" in str(error)
        problem_text = "an option is given twice" if problem else _plain(error)
        raise InputError(f"{what} {text!r}: {problem_text}; wanted name(option=value, …)") from None
    return match["name"], options


_NOTHING = object()


def _equal(value: Any, default: Any) -> bool:
    """Whether leaving the option out means the same; 1 and True do not."""
    return value is default or (type(value) is type(default) and bool(value == default))


def _plain(error: Exception) -> str:
    if isinstance(error, ValueError) and not isinstance(error, SyntaxError) and "malformed" not in str(error):
        return str(error)
    return "a value is neither a Python literal nor a word"


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    value = ast.literal_eval(node)
    ast.literal_eval(repr(value))  # refuses what cannot be written again: an infinite number, ...
    return value


def _written(name: str, options: Mapping[str, Any]) -> str:
    pairs = ", ".join(f"{key}={_shown(value)}" for key, value in options.items())
    return f"{name}({pairs})" if options else name


def _shown(value: Any) -> str:
    is_word = (
        isinstance(value, str) and value.isascii() and value.isidentifier() and not keyword.iskeyword(value)
    )
    if isinstance(value, (set, frozenset)):  # in hash order, which differs from process to process
        return f"{{{', '.join(sorted(map(repr, value)))}}}" if value else repr(value)
    return str(value) if is_word else repr(value)


def _options_of(make: Callable[..., Any], num_given: int) -> dict[str, inspect.Parameter]:
    """The parameters after the first ``num_given`` that can be passed by name."""
    parameters = list(inspect.signature(make).parameters.values())[num_given:]
    return {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


_LOADED: dict[str, int | None] = {}  # module -> checksum of its file when it was imported


def _crc32_of(module: ModuleType) -> int | None:
    file = getattr(module, "__file__", None)
    return None if file is None else checksum(Path(file))


def _check_not_hidden(what: str, name: str, folder: Path) -> None:
    """Raises InputError where a module of that name is loaded already, from elsewhere than the file here."""
    top = name.partition(":")[0].partition(".")[0]
    loaded = sys.modules.get(top)
    here = next((p for p in (folder / f"{top}.py", folder / top / "__init__.py") if p.is_file()), None)
    file = getattr(loaded, "__file__", None)
    if loaded is not None and here is not None and (file is None or Path(file).resolve() != here.resolve()):
        raise InputError(f"{what} {name}: {here.name} has the name of a module that is in use; rename it")


def _load(what: str, name: str) -> tuple[Callable[..., Any], CodeFile | None]:
    """The object that ``module:attribute`` names, and its file."""
    module_name, _, attribute = name.partition(":")
    folder = str(Path.cwd())
    _check_not_hidden(what, name, Path(folder))
    sys.path.insert(0, folder)  # first while the module is imported, so that a file here wins
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
        if (crc32 := _crc32_of(module)) != _LOADED.setdefault(module_name, crc32):
            module = importlib.reload(module)  # the file has changed: what runs must be what is recorded
            _LOADED[module_name] = crc32
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            hint = f" (a module is named without .py: {name.replace('.py:', ':')})" if ".py:" in name else ""
            where = "in the current folder or on the Python path"
            raise InputError(f"{what} {name}: there is no module {error.name} {where}{hint}") from None
        raise InputError(f"{what} {name}: importing {module_name} failed ({one_line(error)})") from error
    except (Exception, SystemExit) as error:  # whatever the user's module raises; a script may even exit
        raise InputError(f"{what} {name}: importing {module_name} failed ({one_line(error)})") from error
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:  # last from then on, for what the module imports later
            sys.path.append(folder)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            own = (
                name for name, value in vars(module).items() if getattr(value, "__module__", "") == module_name
            )
            known = [public for public in own if not public.startswith("_")]
            raise unknown_name(f"name in {module_name}", part, known)
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"{what} {name} is a {type(found).__name__}; wanted a function that makes one")
    try:
        inspect.signature(found)
    except (ValueError, TypeError):
        raise InputError(
            f"{what} {name} does not say which options it takes; wanted a Python function"
        ) from None
    if crc32 is None or module.__file__ is None:
        return found, None
    path = Path(module.__file__).resolve()
    shown = path.relative_to(folder) if path.is_relative_to(folder) else path
    return found, CodeFile(str(shown), crc32)
