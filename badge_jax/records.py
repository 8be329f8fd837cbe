"""JSON objects in files, each with a checksum, so that what was flipped is refused and not believed."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

_DEEPEST = 20  # levels of lists and objects


def parse_object(content: bytes) -> dict[str, Any]:
    """The JSON object in a file, or in a line of it.

    Raises:
        ValueError: for what is no JSON object, and for one nested deeper than any of ours.
    """
    too_deep = ValueError(f"nested more than {_DEEPEST} levels deep")
    try:
        value = json.loads(content)
    except RecursionError:
        raise too_deep from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    if not _is_shallow(value, _DEEPEST):
        raise too_deep
    return value


def config_checksum(config: Mapping[str, Any]) -> int:
    """CRC-32 of a configuration without its checksum."""
    return zlib.crc32(json.dumps(config).encode())


def line_checksum(line: Mapping[str, Any], identity: str) -> int:
    """CRC-32 of a line without its checksum, and of what it belongs to."""
    return zlib.crc32((json.dumps(line) + identity).encode())


def _is_shallow(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in parts if isinstance(part, (dict, list)))
