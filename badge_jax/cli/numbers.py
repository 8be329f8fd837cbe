"""Numbers as options take them: in the digits 0 to 9, with nothing between the digits.

Python's ``int`` and ``float`` also take ``1_0`` and digits of other scripts, which are typing errors here.
"""

import re
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from badge_jax.errors import InputError

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kmgt]?i?)b?", re.ASCII | re.IGNORECASE)

OPTION_TYPES = ConstructorRegistry()
"""How the option parser reads ``int`` and ``float``."""


@OPTION_TYPES.primitive_rule
def _number_rule(option: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if option.type not in (int, float):
        return None

    def read(words: list[str]) -> Any:
        if not words[0].isascii() or "_" in words[0]:
            raise ValueError(f"{words[0]!r} is not a number in the digits 0 to 9")
        return option.type(words[0])

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=option.type.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: type(value) is option.type or ("~" if isinstance(value, int) else False),
        str_from_instance=lambda value: [str(value)],
    )


def num_bytes(text: str, name: str) -> int:
    """The number of bytes that a size such as 4GB or 1.5GiB stands for.

    Args:
        text: a number with an optional unit; kB, MB, GB, TB are powers of 1000, KiB and so on of 1024.
        name: the option, for messages.

    Returns:
        Bytes.

    Raises:
        InputError: for any other text.

    Example:
        >>> from badge_jax.cli.numbers import num_bytes
        >>> num_bytes("1.5GiB", "--memory")
        1610612736
    """
    match = _SIZE.fullmatch(text.strip())
    if not match or match[2].lower() == "i":
        raise InputError(f"{name} is {text!r}; wanted a size such as 4GB, 500MB or 1.5GiB")
    unit = match[2].lower()
    return int(float(match[1]) * (1024 if unit.endswith("i") else 1000) ** " kmgt".index(unit[:1] or " "))
