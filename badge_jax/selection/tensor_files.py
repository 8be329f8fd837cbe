"""Arrays in HDF5 files, zarr stores, and files of safetensors and PyTorch; rows are read where they lie."""

import contextlib
import math
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from badge_jax.errors import InputError
from badge_jax.selection.stored import FLOATS, File, InPlace, Rows, Stored, listed


def open_hdf5(file: File) -> Stored:
    """The array in an HDF5 file, read by h5py."""
    h5py = file.library("h5py")
    with h5py.File(file.path, "r") as content:
        found: list[str] = []
        content.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
        if file.key is not None and file.key.strip("/") and file.key in content:  # a link is not visited
            key = file.key
        else:
            key = file.chosen(found)
        dataset = content[key]
        if not isinstance(dataset, h5py.Dataset):
            inside = [other for other in found if other.startswith(key.strip("/") + "/")]
            raise InputError(f"{file.where} holds {key} as a group of {listed(inside)}; wanted one array")
        if dataset.shape is None:
            raise InputError(f"{file.where} holds {key} without a value; wanted an array")
        if not dataset.is_virtual and dataset.external is None:
            _check_written(file, key, dataset)
        shape, dtype = dataset.shape, dataset.dtype
        rows_together = dataset.chunks[0] if dataset.chunks else 1

    @contextlib.contextmanager
    def opened() -> Iterator[Rows]:
        with h5py.File(file.path, "r") as content:
            dataset = content[key]
            yield lambda start, stop: dataset[start:stop]

    return InPlace(file, shape, dtype, opened, rows_together)


def _check_written(file: File, key: str, dataset: Any) -> None:
    """Raises InputError for an array of HDF5 that is not all there: what was never written would be read as
    zeros, and the library crashes at some damaged lists of chunks."""
    if dataset.chunks is None:
        found, expected, unit = dataset.id.get_storage_size(), dataset.nbytes, "bytes"
    else:
        end, checksum = file.path.stat().st_size, 4 if dataset.fletcher32 else 0
        starts = set()

        def look(chunk: Any) -> None:
            sizes = zip(chunk.chunk_offset, dataset.chunks, dataset.shape, strict=True)
            is_inside = all(start % size == 0 and start < length for start, size, length in sizes)
            if is_inside and chunk.size > checksum and chunk.byte_offset + chunk.size <= end:
                starts.add(chunk.chunk_offset)

        dataset.id.chunk_iter(look)
        expected = math.prod(
            -(-length // size) for length, size in zip(dataset.shape, dataset.chunks, strict=True)
        )
        found, unit = len(starts), "chunks"
    if found < expected:
        raise InputError(
            f"{file.where} holds {found} {unit} of {key} where {expected} are expected; wanted an array that "
            "has been written, whole"
        )


def open_zarr(file: File) -> Stored:
    """The array in a zarr store of version 2 or 3."""
    zarr = file.library("zarr")
    root = zarr.open(zarr.storage.LocalStore(file.path, read_only=True), mode="r")
    if isinstance(root, zarr.Array):
        if file.key is not None:
            raise InputError(f"{file.where} is one array, without a name; wanted the path alone")
        array = root
    else:
        found = {key: item for key, item in root.members(max_depth=None) if isinstance(item, zarr.Array)}
        if file.key is not None and (inside := [key for key in found if key.startswith(f"{file.key}/")]):
            raise InputError(f"{file.where} holds {file.key} as a group of {listed(inside)}; wanted one array")
        array = found[file.chosen(found)]
    described = array.metadata
    codecs = (*(getattr(described, "filters", None) or ()), getattr(described, "compressor", None))
    if any("pickle" in str(getattr(codec, "codec_id", "")) for codec in codecs):
        raise InputError(f"{file.where} holds pickled Python objects, which are never loaded; wanted numbers")

    @contextlib.contextmanager
    def opened() -> Iterator[Rows]:
        yield lambda start, stop: np.asarray(array[start:stop])

    dtype = np.dtype(array.dtype)
    rows_together = array.chunks[0] if array.chunks else 1
    return InPlace(file, tuple(array.shape), _as_read(dtype), opened, rows_together)


_OF_SAFETENSORS = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "float32"}


def open_safetensors(file: File) -> Stored:
    """The tensor in a safetensors file."""
    safetensors = file.library("safetensors")
    with safetensors.safe_open(str(file.path), framework="np") as content:
        key = file.chosen(list(content.keys()))
        tensor = content.get_slice(key)
        shape, kind = tuple(tensor.get_shape()), str(tensor.get_dtype())
    if kind not in _OF_SAFETENSORS:
        raise InputError(f"{file.where} holds {key} as {kind}; wanted {', '.join(_OF_SAFETENSORS)}")

    @contextlib.contextmanager
    def opened() -> Iterator[Rows]:
        with safetensors.safe_open(str(file.path), framework="np") as content:
            tensor = content.get_slice(key)
            yield lambda start, stop: tensor[start:stop]

    return InPlace(file, shape, np.dtype(_OF_SAFETENSORS[kind]), opened)


def open_torch(file: File) -> Stored:
    """The tensor in a file of torch.save."""
    torch = file.library("torch")
    if not zipfile.is_zipfile(file.path):
        raise InputError(
            f"{file.where} is cut off, or is of PyTorch before 1.6; wanted a whole file; numpy.save writes a "
            "tensor as .npy"
        )

    def tensor_of(key: str | None) -> tuple[str | None, Any]:
        content = torch.load(file.path, map_location="cpu", weights_only=True, mmap=True)
        if isinstance(content, torch.Tensor):
            if file.key is not None:
                raise InputError(f"{file.where} is one tensor, without a name; wanted the path alone")
            return None, content.detach()
        if not isinstance(content, Mapping):
            raise InputError(
                f"{file.where} holds a {type(content).__name__}; wanted a tensor, or a dict of tensors"
            )
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        key = file.chosen(tensors) if key is None else key
        return key, tensors[key].detach()

    key, tensor = tensor_of(None)
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise InputError(f"{file.where} holds a sparse or quantized tensor; wanted a dense one (.to_dense())")
    if tensor.dtype == torch.bfloat16:
        dtype = np.dtype(np.float32)
    else:
        try:
            dtype = torch.empty(0, dtype=tensor.dtype).numpy().dtype
        except TypeError:
            raise InputError(f"{file.where} is {tensor.dtype}; wanted {FLOATS} (.float())") from None
    # each reading of some rows would touch every page of the file
    is_scattered = tensor.dim() == 2 and tensor.shape[1] > 1 and tensor.stride(1) != 1

    @contextlib.contextmanager
    def opened() -> Iterator[Rows]:
        _, tensor = tensor_of(key)

        def rows(start: int, stop: int) -> np.ndarray:
            part = tensor[start:stop]
            return (part.float() if part.dtype == torch.bfloat16 else part).numpy()

        yield rows

    return InPlace(file, tuple(tensor.shape), dtype, opened, reason="not in C order" if is_scattered else None)


def _as_read(dtype: np.dtype) -> np.dtype:
    """The type that entries are read as: NumPy lacks bfloat16."""
    return np.dtype(np.float32) if dtype.name == "bfloat16" else dtype
