"""Ways in which a file goes bad."""

import numpy as np


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    """A file's content after one of these: bits flipped, a part cut off, zeroed, doubled, or left out."""
    kind = rng.integers(6)
    changed = bytearray(content)
    start = int(rng.integers(len(content) + 1))
    stop = min(len(content), start + int(rng.integers(1, 40)))
    if kind == 0:
        return content[:start]
    if kind == 1:
        changed[start:stop] = bytes(stop - start)
    elif kind == 2:
        changed[start:stop] = changed[start:stop] * 2
    elif kind == 3:
        del changed[start:stop]
    elif kind == 4:
        changed[start:stop] = rng.bytes(stop - start)
    else:
        for place in rng.integers(len(content), size=int(rng.integers(1, 4))) if content else ():
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)
