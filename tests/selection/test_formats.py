"""Files of every format give the rows that were written, in place where that is said, or one line."""

import json
import os
import pickle
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from mutations import mutated

from badge_jax import select
from badge_jax.cli import main
from badge_jax.errors import EnvironmentFailure, InputError
from badge_jax.selection import (
    Inputs,
    SelectOptions,
    make_task,
    matrix_of,
    open_matrix,
    run_task,
    split_name,
    stored,
    table_files,
)
from badge_jax.selection.matrices import in_memory

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(50, 6)).astype(np.float32)
OTHER = RNG.normal(size=(50, 4)).astype(np.float32)
TAKEN = np.array([49, 0, 7, 8, 7, 30])


def library(name):
    package = "group peers" if name == "torch" else "extra formats"
    with warnings.catch_warnings(action="ignore"):
        return pytest.importorskip(name, reason=f"wants {name} ({package})")


def lists(values, is_fixed=False):
    pa = library("pyarrow")
    kind = pa.from_numpy_dtype(values.dtype)
    kind = pa.list_(kind, values.shape[1]) if is_fixed else pa.list_(kind)
    return pa.array(list(values), kind)


def table(values, is_fixed=False):
    ids = library("pyarrow").array([f"row {row}" for row in range(len(values))])
    return library("pyarrow").table(
        {"id": ids, "x": lists(values, is_fixed), "x.more": lists(OTHER), "one": values[:, 0]}
    )


def save_parquet(path, values, **options):
    library("pyarrow.parquet").write_table(table(values, is_fixed=True), path, row_group_size=20, **options)


def save_lists(path, values):
    library("pyarrow.parquet").write_table(table(values), path, row_group_size=20)


def save_feather(path, values, compression="uncompressed"):
    library("pyarrow.feather").write_feather(table(values), path, compression=compression, chunksize=16)


def save_compressed_feather(path, values):
    save_feather(path, np.round(values, 1), compression="zstd")


def save_stream(path, values):
    pa = library("pyarrow")
    library("pyarrow.ipc")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table(values).schema) as writer:
        writer.write_table(table(values), max_chunksize=16)


def save_csv(path, values, delimiter=","):
    header = delimiter.join(f"f{column}" for column in range(values.shape[1]))
    np.savetxt(path, values, "%.9g", delimiter, header=header, comments="")


def save_tsv(path, values):
    save_csv(path, values, "\t")


def save_hdf5(path, values, **options):
    with library("h5py").File(path, "w") as file:
        file.create_dataset("deep/x", data=values, **options)
        file["one"] = values[:, 0]


def save_chunked_hdf5(path, values):
    save_hdf5(path, values, chunks=(8, 4), compression="gzip", shuffle=True, fletcher32=True)


def save_zarr(path, values, zarr_format=3):
    group = library("zarr").open_group(path, mode="w", zarr_format=zarr_format)
    group.create_array("deep/x", shape=values.shape, chunks=(8, 4), dtype=values.dtype)[:] = values
    group.create_array("one", shape=len(values), dtype=values.dtype)[:] = values[:, 0]


def save_zarr_2(path, values):
    save_zarr(path, values, zarr_format=2)


def save_safetensors(path, values):
    library("safetensors.numpy").save_file({"x": values, "one": np.ascontiguousarray(values[:, 0])}, path)


def save_torch(path, values):
    torch = library("torch")
    torch.save({"x": torch.tensor(values), "one": torch.tensor(values[:, 0]), "epoch": 3}, path)


FORMATS = {
    "parquet": (save_parquet, ".parquet:x", "a Parquet file"),
    "parquet of lists": (save_lists, ".parquet:x", "a Parquet file"),
    "feather": (save_feather, ".feather:x", None),
    "compressed feather": (save_compressed_feather, ".feather:x", "compressed"),
    "stream": (save_stream, ".arrow:x", None),
    "csv": (save_csv, ".csv", "a CSV file"),
    "tsv": (save_tsv, ".TSV", "a CSV file"),
    "hdf5": (save_hdf5, ".h5:deep/x", None),
    "chunked hdf5": (save_chunked_hdf5, ".hdf5:/deep/x", None),
    "zarr": (save_zarr, ".zarr:deep/x", None),
    "zarr 2": (save_zarr_2, ".zarr:deep/x", None),
    "safetensors": (save_safetensors, ".safetensors:x", None),
    "torch": (save_torch, ".pt:x", None),
}
EXTRAS = [pytest.param(form, marks=[pytest.mark.extras] * (form not in ("csv", "tsv"))) for form in FORMATS]


def saved(folder, form, values=VALUES):
    """The path, with a name, of a new file, and why it is held."""
    save, end, why_whole = FORMATS[form]
    suffix, colon, key = end.partition(":")
    save(folder / f"data{suffix}", values)
    return Path(f"{folder / 'data'}{suffix}{colon}{key}"), why_whole


@pytest.mark.parametrize("form", EXTRAS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_rows_are_read_as_they_were_written(tmp_path, form, dtype):
    values = VALUES.astype(dtype)
    path, why_whole = saved(tmp_path, form, values)
    if form == "compressed feather":
        values = np.round(values, 1)
    matrix = open_matrix(path, "--features")
    assert matrix.shape == (50, 6)
    assert matrix.dtype == ("float32" if "csv" in form or "tsv" in form else dtype)
    assert matrix.why_whole == why_whole
    for one in (in_memory(matrix), *([matrix] if matrix.is_in_place else [])):
        np.testing.assert_array_equal(one.read(9, 27), values[9:27].astype(one.read(0, 1).dtype))
        np.testing.assert_array_equal(one.take(TAKEN), values[TAKEN].astype(one.read(0, 1).dtype))
        assert one.take(TAKEN[:0]).shape == (0, 6)


@pytest.mark.extras
def test_memory_budgets(tmp_path, monkeypatch):
    """What is unpacked to read a row counts. A file in chunks that are too large is held."""
    library("h5py")
    values = np.round(RNG.normal(size=(40_000, 64)), 1).astype(np.float32)
    path = Path(f"{tmp_path / 'x.h5'}:deep/x")
    expected = select(4, features=values, strategy="coreset")
    plain = make_task(SelectOptions(4, "coreset"), Inputs(features=matrix_of(values, "features"))).work_bytes
    save_hdf5(tmp_path / "x.h5", values, chunks=(1000, 64), compression="lzf")
    for spare, is_streamed in ((0, True), (values.nbytes, False)):
        budget = plain + 3 * 1000 * 64 * 4 + spare
        task = make_task(
            SelectOptions(4, "coreset", memory_budget=budget), Inputs(features=open_matrix(path, "features"))
        )
        assert task.is_streamed == is_streamed
        np.testing.assert_array_equal(run_task(task).indices, expected)
    with pytest.raises(InputError, match=r"the memory budget of .* is too small"):
        select(4, features=str(path), strategy="coreset", memory_budget=plain)
    monkeypatch.setattr(stored, "_LARGEST_PIECE", 10_000_000)
    save_hdf5(tmp_path / "x.h5", values, chunks=(40_000, 1), compression="lzf")
    with pytest.raises(InputError, match="features is in chunks of 11 MB, so it is held in memory"):
        select(4, features=str(path), strategy="coreset", memory_budget=plain)
    np.testing.assert_array_equal(select(4, features=str(path), strategy="coreset"), expected)


def test_a_name_behind_a_colon(tmp_path):
    assert split_name(Path("a/b.parquet:c.parquet:d")) == (Path("a/b.parquet"), "c.parquet:d")
    assert split_name(Path("C:\\data\\x.npy")) == (Path("C:\\data\\x.npy"), None)
    assert split_name(Path("C:\\data\\x.npz:y")) == (Path("C:\\data\\x.npz"), "y")
    odd = tmp_path / "x.npy:y.npy"
    np.save(odd, VALUES)
    assert split_name(odd) == (odd, None), "a file that is there"
    np.testing.assert_array_equal(open_matrix(odd, "x").read(0, 50), VALUES)
    np.savez(tmp_path / "x.npz", a=VALUES, x=OTHER)
    assert open_matrix(tmp_path / "x.npz", "x").shape == (50, 4)
    assert open_matrix(tmp_path / "x.npz:a", "x").shape == (50, 6)
    for end, message in (
        ("x.npz:b", r"x\.npz holds a, x; wanted 'b' among them"),
        ("none.npz:b", r"none\.npz does not exist"),
        ("none.parquet:b", r"none\.parquet does not exist; wanted a Parquet file"),
        ("none.zarr:b", r"none\.zarr does not exist; wanted a zarr store, a folder"),
    ):
        with pytest.raises(InputError, match=message):
            open_matrix(tmp_path / end, "x")
    np.save(tmp_path / "y.npy", VALUES)
    with pytest.raises(InputError, match=r"y\.npy is one array, without a name; wanted the path alone"):
        open_matrix(tmp_path / "y.npy:b", "x")


def test_other_formats_are_refused(tmp_path):
    for name in ("x.pkl", "x.mat"):
        (tmp_path / name).write_bytes(pickle.dumps(VALUES))
        with pytest.raises(InputError, match=rf"{name} is a \.\w+ file; wanted \.npy, .*; numpy\.save writes"):
            open_matrix(tmp_path / name, "x")


@pytest.mark.parametrize(
    ("end", "module"),
    [
        (".parquet", "pyarrow"),
        (".feather", "pyarrow"),
        (".h5", "h5py"),
        (".safetensors", "safetensors"),
        (".zarr", "zarr"),
        (".pt", "torch"),
    ],
)
def test_a_library_that_is_missing(tmp_path, monkeypatch, end, module):
    path = tmp_path / f"x{end}"
    path.mkdir() if end == ".zarr" else path.touch()
    for name in (module, *(name for name in sys.modules if name.startswith(f"{module}."))):
        monkeypatch.setitem(sys.modules, name, None)
    do = "wants PyTorch" if module == "torch" else rf"wants the package {module} .*pip install .*\[formats\]"
    with pytest.raises(EnvironmentFailure, match=do):
        open_matrix(path, "x")


def test_what_a_csv_file_must_be(tmp_path):
    path = tmp_path / "x.csv"
    for text, message in (
        ("", "is empty; wanted a header"),
        ("1,2\n3,4\n", "begins with numbers; wanted a header"),
        ("a,b\n", r"has shape \(0, 2\); wanted at least one row"),
        ("a,a\n1,2\n", "has 2 columns 'a'; wanted different names"),
        ("a,b\n1,2\n3,cat\n", "has 'cat' in row 1 of the column b; wanted a number"),
        ("a,b\n1,2\n3,\n", "has '' in row 1 of the column b"),
        ("a,b\n1,1_0\n", "has '1_0' in row 0 of the column b"),
        ("a,b\n1,2\n3\n", "has 1 fields in row 1, and 2 in its header"),
        ("a;b\n0,5;1\n", "has '0,5' in row 0 of the column a"),
        ('a,b\n1,"2\n', "cannot be read"),
        ("a,b\n1,\x00\n", "in row 0 of the column b|cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            in_memory(open_matrix(path, "x"))
        assert "\n" not in str(caught.value)
    path.write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(InputError, match=r"cannot be read .*UnicodeDecodeError"):
        open_matrix(path, "x")
    path.write_bytes(b'\xef\xbb\xbf"a";"b"\r\n1;2e0\r\n\r\n"3"; 4\r\n')
    np.testing.assert_array_equal(in_memory(open_matrix(path, "x")).read(0, 2), [[1, 2], [3, 4]])
    column = in_memory(open_matrix(Path(f"{path}:b"), "x", is_column=True))
    np.testing.assert_array_equal(column.read(0, 2), [[2], [4]])
    with pytest.raises(InputError, match="holds a, b; wanted 'c' among them"):
        open_matrix(Path(f"{path}:c"), "x")


def test_a_csv_file_of_several_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "BLOCK", 64 * 6 * 7)
    save_csv(tmp_path / "x.csv", VALUES)
    matrix = open_matrix(tmp_path / "x.csv", "x")
    np.testing.assert_array_equal(in_memory(matrix).read(0, 50), VALUES)
    with (tmp_path / "x.csv").open("a") as file:
        file.write("1,2,3,4,5,6\n" * 9)
    for change in (lambda: None, lambda: save_csv(tmp_path / "x.csv", VALUES[:40])):
        change()
        with pytest.raises(InputError, match="was changed while it was read"):
            in_memory(matrix)


def refused(path, message, key=""):
    """The file is refused in one line, when it is opened or read."""
    with pytest.raises(InputError, match=message) as caught:
        in_memory(open_matrix(Path(f"{path}{key}"), "--x"))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--x")


@pytest.mark.extras
@pytest.mark.parametrize("end", ["parquet", "feather"])
def test_tables_that_are_no_matrix(tmp_path, end):
    pa = library("pyarrow")
    path = tmp_path / f"t.{end}"

    def write(**columns):
        if end == "parquet":
            library("pyarrow.parquet").write_table(pa.table(columns), path)
        else:
            library("pyarrow.feather").write_feather(pa.table(columns), path, compression="uncompressed")

    floats = pa.list_(pa.float32())
    write(a=VALUES[:, 0], b=VALUES[:, 1].astype(np.float64))
    matrix = open_matrix(path, "--x")
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(in_memory(matrix).read(0, 50), VALUES[:, :2])
    np.testing.assert_array_equal(
        in_memory(open_matrix(Path(f"{path}:b"), "--x", is_column=True)).read(0, 50), VALUES[:, 1:2]
    )
    refused(path, r"has shape \(50,\); wanted a matrix", ":b")
    refused(path, "holds a, b; wanted 'c' among them", ":c")
    write(id=["a", "b"], n=[1.0, 2.0])
    refused(path, rf"has the column id of string; wanted float16, .* behind a colon: t\.{end}:NAME")
    write(n=[1, 2])
    refused(path, "has the column n of int64; wanted float16, float32 or float64")
    write(n=pa.array([1.0, None]))
    refused(path, "has no value in row 1 of the column n")
    write(x=pa.array([[1, 2], [3, 4]]))
    refused(path, "has the column x of list<element: int64>|has the column x of list<item: int64>")
    write(x=pa.array([[1.0, 2.0], [3.0, 4.0], [5.0]], floats))
    refused(path, "has a list of 1 in row 2 of the column x, and 2 in others; wanted lists of one length")
    write(x=pa.chunked_array([lists(VALUES[:40]), lists(VALUES[40:, :2])]))
    refused(path, "has a list of 2 in row 40 of the column x, and 6 in others")
    write(x=pa.array([[1.0, 2.0], None], floats))
    refused(path, "has no value in row 1 of the column x")
    write(x=pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, None]], floats))
    refused(path, "has a list without a value in row 2 of the column x")
    write(x=pa.array([[], []], floats))
    refused(path, r"has shape \(2, 0\); wanted at least one row and one column")
    write(x=pa.array([], floats))
    refused(path, r"has shape \(0, 0\); wanted at least one row and one column")
    write(a=lists(VALUES), b=lists(OTHER), y=["c"] * 50)
    refused(path, rf"holds a, b; wanted one array, or one called x, or .*: t\.{end}:a")
    write(a=lists(VALUES), x=lists(OTHER), y=["c"] * 50)
    assert open_matrix(path, "--x").shape == (50, 4)


@pytest.mark.extras
def test_slices_of_arrow_arrays(tmp_path):
    """Batches that begin within their buffers, and empty ones."""
    pa, ipc = library("pyarrow"), library("pyarrow.ipc")
    for is_fixed in (False, True):
        batch = pa.record_batch({"x": lists(VALUES, is_fixed)})
        for name, new in (("a.arrow", ipc.new_stream), ("b.arrow", ipc.new_file)):
            with pa.OSFile(str(tmp_path / name), "wb") as sink, new(sink, batch.schema) as writer:
                for start, stop in ((3, 3), (3, 10), (10, 10), (10, 50)):
                    writer.write_batch(batch.slice(start, stop - start))
            matrix = open_matrix(tmp_path / name, "x")
            assert matrix.is_in_place
            np.testing.assert_array_equal(matrix.read(2, 40), VALUES[5:43])
            np.testing.assert_array_equal(matrix.take(np.array([46, 0, 7, 6])), VALUES[[49, 3, 10, 9]])


@pytest.mark.extras
def test_first_version_of_feather(tmp_path):
    library("pyarrow")
    (tmp_path / "x.feather").write_bytes(b"FEA1" + bytes(100) + b"FEA1")
    refused(tmp_path / "x.feather", "is of the first version of Feather; wanted the second")


@pytest.mark.extras
def test_hdf5_files_that_hold_no_matrix(tmp_path):
    h5py = library("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["group/a"], file["group/b"] = VALUES, OTHER
        file["linked"] = h5py.SoftLink("/group/a")
        file["words"] = ["cat", "dog"]
        file["integers"] = np.arange(6).reshape(2, 3)
        file["nothing"] = h5py.Empty("f")
        file["number"] = 3.5
        file.create_dataset("unwritten", (10, 3), np.float32)
        file.create_dataset("started", (10, 3), np.float32, chunks=(4, 2))[:5] = 1.0
        file.create_dataset("small chunks", data=VALUES[:5], chunks=(1, 1))
        file.create_virtual_dataset("virtual", layout := h5py.VirtualLayout((2, 6), np.float32))
        del layout
    np.testing.assert_array_equal(open_matrix(Path(f"{path}:linked"), "x").read(0, 50), VALUES)
    np.testing.assert_array_equal(open_matrix(Path(f"{path}:small chunks"), "x").read(0, 5), VALUES[:5])
    for key, message in (
        ("", "holds group/a, group/b, integers, .*; wanted one array, or one called x, or .*: x.h5:group/a"),
        (":c", "holds group/a, .*; wanted 'c' among them"),
        (":", "holds group/a, .*; wanted '' among them"),
        (":group", "holds group as a group of group/a, group/b; wanted one array"),
        (":words", "holds Python objects"),
        (":integers", "is int64; wanted float16, float32, float64"),
        (":nothing", "holds nothing without a value; wanted an array"),
        (":number", r"has shape \(\); wanted a matrix"),
        (
            ":started",
            "holds 4 chunks of started where 6 are expected; wanted an array that has been written, whole",
        ),
        (
            ":unwritten",
            "holds 0 bytes of unwritten where 120 are expected; wanted an array that has",
        ),
    ):
        refused(path, message, key)
    with h5py.File(path, "w"):
        pass
    refused(path, "holds nothing; wanted one array, or one called x")
    path.write_bytes(b"no HDF5")
    refused(path, "cannot be read .*; wanted an HDF5 file that is whole")


@pytest.mark.extras
def test_a_list_of_chunks_that_crashes_the_library(tmp_path):
    """A chunk of no bytes, of which a checksum of four is taken away."""
    path, chunks = tmp_path / "x.h5", []
    save_chunked_hdf5(path, VALUES)
    with library("h5py").File(path) as file:
        file["deep/x"].id.chunk_iter(lambda chunk: chunks.append(chunk))
    # in the list of chunks, a size stands before a mask and the offsets
    entry = struct.pack("<IIQQ", chunks[4].size, 0, *chunks[4].chunk_offset)
    content = path.read_bytes()
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, bytes(4) + entry[4:]))
    refused(path, "holds 13 chunks of deep/x where 14 are expected", ":deep/x")


@pytest.mark.extras
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_stores_that_hold_no_matrix(tmp_path, zarr_format):
    zarr = library("zarr")
    path = tmp_path / "x.zarr"
    save_zarr(path, VALUES, zarr_format)
    group = zarr.open_group(path)
    group.create_array("integers", shape=(2, 3), dtype="int32")
    for key, message in (
        ("", "holds .*; wanted one array, or one called x, or a name behind a colon"),
        (":deep", "holds deep as a group of deep/x; wanted one array"),
        (":c", "holds .*deep/x.*; wanted 'c' among them"),
        (":integers", "is int32; wanted"),
        (":one", r"has shape \(50,\)"),
    ):
        refused(path, message, key)
    single = zarr.create_array(tmp_path / "y.zarr", shape=VALUES.shape, dtype="f4", zarr_format=zarr_format)
    single[:] = VALUES
    np.testing.assert_array_equal(open_matrix(tmp_path / "y.zarr", "x").read(0, 50), VALUES)
    refused(tmp_path / "y.zarr", "is one array, without a name", ":x")
    (tmp_path / "z.zarr").mkdir()
    refused(tmp_path / "z.zarr", "cannot be read .*; wanted a zarr store that is whole")
    (tmp_path / "file.zarr").touch()
    refused(tmp_path / "file.zarr", "is a file; wanted a zarr store, a folder")


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.extras
@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_no_chunk_of_zarr_is_unpickled(tmp_path, place):
    zarr = library("zarr")
    path = tmp_path / "x.zarr"
    array = zarr.create_array(path, shape=(2, 3), dtype="f4", zarr_format=2, compressors=None)
    array[:] = 1.0
    described = json.loads((path / ".zarray").read_text())
    pickling = {"id": "pickle", "protocol": 5}
    described[place] = [pickling] if place == "filters" else pickling
    (path / ".zarray").write_text(json.dumps(described))
    (path / "0.0").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    refused(path, "pickle")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.extras
def test_tensors_of_files(tmp_path):
    torch = library("torch")
    path = tmp_path / "x.pt"
    values = torch.tensor(VALUES)

    def write(content, **options):
        torch.save(content, path, **options)

    for content, key in (
        (values.bfloat16(), ""),
        ({"a": values.bfloat16(), 7: values}, ":a"),
        (torch.nn.Parameter(values.bfloat16()), ""),
    ):
        write(content)
        matrix = open_matrix(Path(f"{path}{key}"), "x")
        assert matrix.dtype == np.float32
        assert matrix.is_in_place
        np.testing.assert_array_equal(matrix.take(TAKEN), values.bfloat16().float().numpy()[TAKEN])
    write({"a": values.T.contiguous().T, "b": values[:, ::2], "c": values[3:], "d": values[:1].expand(9, 6)})
    for key, expected, why_whole in (
        ("a", VALUES, "not in C order"),
        ("b", VALUES[:, ::2], "not in C order"),
        ("c", VALUES[3:], None),
        ("d", VALUES[[0] * 9], None),
    ):
        matrix = open_matrix(Path(f"{path}:{key}"), "x")
        assert matrix.why_whole == why_whole
        np.testing.assert_array_equal(in_memory(matrix).read(0, len(expected)), expected)
    for content, key, message in (
        ({"a": values, "b": values}, "", r"holds a, b; wanted one array, or one called x, or .*: x\.pt:a"),
        ({"a": values, "b": 3}, ":b", "holds a; wanted 'b' among them"),
        (values, ":b", "is one tensor, without a name"),
        ([values], "", "holds a list; wanted a tensor, or a dict of tensors"),
        (values.long(), "", "is int64; wanted"),
        (values.to(torch.float8_e4m3fn), "", r"is torch.float8_e4m3fn; wanted .* \(.float\(\)\)"),
        (values.to_sparse(), "", r"holds a sparse or quantized tensor; wanted a dense one"),
        (values[0], "", r"has shape \(6,\); wanted a matrix"),
        (values[:0], "", r"has shape \(0, 6\); wanted at least one row"),
        (Trap(tmp_path / "sprung"), "", "cannot be read .*; wanted a file of torch.save that is whole"),
        ({"a": values, "b": Trap(tmp_path / "sprung")}, ":a", "cannot be read"),
    ):
        write(content)
        refused(path, message, key)
    write(values, _use_new_zipfile_serialization=False)
    refused(path, r"is cut off, or is of PyTorch before 1\.6")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.extras
def test_safetensors_of_other_types(tmp_path):
    torch, save_file = library("torch"), library("safetensors.torch").save_file
    values, path = torch.tensor(VALUES), tmp_path / "x.safetensors"
    save_file({"a": values.bfloat16(), "b": values.long(), "c": values[:0]}, path)
    matrix = open_matrix(Path(f"{path}:a"), "x")
    assert matrix.dtype == np.float32
    assert matrix.is_in_place
    np.testing.assert_array_equal(matrix.take(TAKEN), values.bfloat16().float().numpy()[TAKEN])
    for key, message in (
        ("", r"holds .*; wanted one array, or one called x, or .*: x\.safetensors:"),
        (":b", "holds b as I64; wanted F16, F32, F64, BF16"),
        (":c", r"has shape \(0, 6\)"),
        (":d", "wanted 'd' among them"),
    ):
        refused(path, message, key)


@pytest.mark.extras
@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_no_damaged_file_makes_a_traceback(tmp_path, form):
    """It is read, in place and whole, or refused in one line."""
    seed = int(os.environ.get("BADGE_JAX_TEST_SEED", "0"))
    print(f"BADGE_JAX_TEST_SEED={seed}")
    rng, outcomes = np.random.default_rng(seed), []
    path, _ = saved(tmp_path, form)
    whole, _ = split_name(path)
    files = sorted(file for file in (whole.rglob("*") if whole.is_dir() else [whole]) if file.is_file())
    contents = [file.read_bytes() for file in files]
    for _ in range(300):
        place = int(rng.integers(len(files)))
        files[place].write_bytes(mutated(rng, contents[place]))
        try:
            matrix = open_matrix(path, "--x")
            if matrix.num_bytes > 1e9:  # as a damaged header says
                outcomes.append("large")
                continue
            if matrix.is_in_place:
                matrix.take(np.array([matrix.shape[0] - 1, 0]))
            in_memory(matrix)
        except InputError as error:
            outcomes.append(str(error))
        else:
            outcomes.append("")
        files[place].write_bytes(contents[place])
    assert not [message for message in outcomes if "\n" in message]
    assert 0 < outcomes.count("") < len(outcomes), "some mutations change values only"


def test_the_command_line(tmp_path, capsys, monkeypatch):
    """A file that is held is said to be; a name after the colon does not hide that --out is an input."""
    monkeypatch.chdir(tmp_path)
    save_csv(tmp_path / "pool.csv", VALUES)
    np.savez(tmp_path / "pool.npz", a=VALUES, b=OTHER)
    arguments = ["select", "--k", "3", "--strategy", "coreset", "--features"]
    assert main([*arguments, "pool.npz:a", "--out", "pool.npz"]) == 2
    assert "--out is pool.npz, which is read as input" in capsys.readouterr().err
    assert main([*arguments, "pool.csv", "--out", "picks.csv", "--memory", "1KB"]) == 2
    assert "--features is a CSV file, so it is held in memory" in capsys.readouterr().err
    assert main([*arguments, "pool.csv", "--out", "picks.csv"]) == 0
    assert main([*arguments, "pool.npz:a", "--out", "same.csv"]) == 0
    assert (tmp_path / "picks.csv").read_text() == (tmp_path / "same.csv").read_text()
