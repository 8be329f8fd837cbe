"""Meshes of devices, and what their programs send between them."""

import re

import jax
import numpy as np
from jax.sharding import AxisType


def mesh_of(count, axis_type=AxisType.Auto, axis="pool"):
    return jax.make_mesh((count,), (axis,), axis_types=(axis_type,), devices=jax.devices()[:count])


def collectives_of(compiled):
    """Entries of what each collective of a program returns, on one device."""
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    lines = re.findall(rf"= (.*?) (?:{kinds})(?:-start)?\(", compiled.as_text())
    assert lines
    shapes = [shape for line in lines for shape in re.findall(r"\w+\[([\d,]*)\]", line)]
    return [int(np.prod([int(size) for size in shape.split(",") if size])) for shape in shapes]
