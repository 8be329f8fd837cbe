"""One reader of .npy and .npz files: what it reads, and what it refuses, for `select` and for data sets."""

import io
import os
import zipfile

import numpy as np
import pytest
from mutations import mutated

from badge_jax.array_files import Archive, open_array
from badge_jax.data.from_npz import load
from badge_jax.errors import InputError
from badge_jax.selection import open_matrix
from badge_jax.selection.matrices import in_memory

RNG = np.random.default_rng(0)
ARRAYS = {"x": RNG.normal(size=(40, 3)).astype(np.float32), "y": np.arange(40) % 3}
SAVES = (np.savez, np.savez_compressed)


@pytest.mark.parametrize("save", SAVES)
def test_every_array_of_an_archive(tmp_path, save):
    arrays = {
        **ARRAYS,
        "words": np.array(["cat", "dög"]),
        "columns": np.asfortranarray(ARRAYS["x"]),
        "none": np.zeros((0, 3)),
        "number": np.float64(3.5),
        "swapped": ARRAYS["x"].astype(">f8"),
        "far": np.arange(3).astype("datetime64[s]"),
    }
    save(tmp_path / "all.npz", **arrays)
    archive = Archive(tmp_path / "all.npz", "x")
    assert list(archive) == list(arrays)
    for name, array in arrays.items():
        assert archive[name].num_bytes == array.nbytes
        read = np.asarray(archive[name])
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)
        if not archive[name].why_whole and array.ndim and len(array):
            np.testing.assert_array_equal(archive[name].read_rows(1, 2), array[1:2])
            np.testing.assert_array_equal(archive[name].take_rows(np.array([1, 0, 1])), array[[1, 0, 1]])


def test_archives_of_other_tools(tmp_path):
    """Members that lie behind other bytes, have longer headers, or were packed in other ways."""
    np.save(tmp_path / "x.npy", ARRAYS["x"])
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = tmp_path / f"{packing}.npz"
        path.write_bytes(b"#! something before the archive")
        with zipfile.ZipFile(path, "a", packing) as archive:
            info = zipfile.ZipInfo("x.npy")
            info.compress_type, info.extra = packing, b"\x99\x99\x04\x00more"
            archive.writestr(info, (tmp_path / "x.npy").read_bytes())
        matrix = open_matrix(path, "--features")
        assert matrix.is_in_place == (packing == zipfile.ZIP_STORED)
        if matrix.is_in_place:
            np.testing.assert_array_equal(matrix.read(3, 9), ARRAYS["x"][3:9])
        np.testing.assert_array_equal(in_memory(matrix).read(0, 40), ARRAYS["x"])


def test_a_member_that_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(InputError, match=r"x: readme.txt in .*x\.npz is not a \.npy file"):
        open_array(tmp_path / "x.npz", "x")
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    with pytest.raises(InputError, match="holds nothing; wanted one array, or one called x"):
        open_array(tmp_path / "empty.npz", "x")


@pytest.mark.parametrize("save", SAVES)
def test_a_changed_entry_is_found_by_the_checksum(tmp_path, save):
    path = tmp_path / "x.npz"
    save(path, x=ARRAYS["x"])
    stored = open_array(path, "x")
    stored.check()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for read in (stored.check, stored.read):
        with pytest.raises(InputError, match=r"x: .*x\.npz cannot be read .*; wanted a complete .npz file"):
            read()


def damaged(rng):
    """Archives with damage to their bytes, or, under a right checksum, to those of an array."""
    for save in SAVES:
        save(content := io.BytesIO(), **ARRAYS)
        yield mutated(rng, content.getvalue())
    with zipfile.ZipFile(content := io.BytesIO(), "w") as archive:
        for name, array in ARRAYS.items():
            np.save(member := io.BytesIO(), array)
            archive.writestr(f"{name}.npy", mutated(rng, member.getvalue()))
    yield content.getvalue()


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)], ids=["some", "many"])
def test_no_damaged_archive_makes_a_traceback(tmp_path, count):
    """A data set and a matrix are read from it, or refused in one line."""
    seed = int(os.environ.get("BADGE_JAX_TEST_SEED", "0"))
    print(f"BADGE_JAX_TEST_SEED={seed}")
    rng, path = np.random.default_rng(seed), tmp_path / "damaged.npz"
    outcomes = []
    for _ in range(count):
        for content in damaged(rng):
            path.write_bytes(content)
            for read in (load, lambda path: in_memory(open_matrix(path, "--x"))):
                try:
                    read(path)
                except InputError as error:
                    message = str(error)
                else:
                    message = ""
                outcomes.append(message)
    assert not [message for message in outcomes if "\n" in message]
    assert 0 < outcomes.count("") < len(outcomes) / 2, "few mutations change nothing that is read"
