"""Reading matrices by the row, and every file that is not one."""

import csv
import io
import os

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from badge_jax.errors import InputError
from badge_jax.selection.matrices import in_memory, matrix_of, open_matrix
from badge_jax.selection.row_lists import read_ids, read_labeled, row_numbers

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


def saved(tmp_path, array, name="x.npy", **options):
    np.save(tmp_path / name, array, **options)
    return tmp_path / name


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed", "array"])
def test_rows_are_read_as_they_are(tmp_path, kind, dtype):
    values = VALUES.astype(dtype)
    if kind == "array":
        matrix = matrix_of(values, "x")
    elif kind == "npy":
        matrix = open_matrix(saved(tmp_path, values), "x")
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(tmp_path / "x.npz", x=values, other=VALUES)
        matrix = open_matrix(tmp_path / "x.npz", "x")
    assert matrix.shape == (4, 3)
    assert matrix.num_bytes == values.nbytes
    assert matrix.is_in_place == (kind in ("npy", "npz"))
    assert matrix.why_whole == ("compressed" if kind == "compressed" else None)
    for held in (in_memory(matrix), *([] if matrix.why_whole else [matrix])):
        assert held.read(1, 3).dtype.isnative
        np.testing.assert_array_equal(held.read(1, 3), values[1:3])
        np.testing.assert_array_equal(held.take(np.array([3, 0, 3])), values[[3, 0, 3]])


def test_versions_of_the_format(tmp_path):
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "x.npy").open("wb") as file:
            np.lib.format.write_array(file, VALUES, version=version)
        np.testing.assert_array_equal(open_matrix(tmp_path / "x.npy", "x").read(0, 4), VALUES)


def test_arrays_of_jax():
    assert matrix_of(jnp.asarray(VALUES), "x").shape == (4, 3)


@pytest.mark.extras
def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch", reason="wants PyTorch (group peers)")
    tensor = torch.tensor(VALUES, requires_grad=True)
    np.testing.assert_array_equal(matrix_of(tensor, "x").read(0, 4), VALUES)
    assert matrix_of(tensor.half(), "x").dtype == np.float16
    with pytest.raises(InputError, match="x is"):
        matrix_of(tensor.bfloat16(), "x")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.float32), r"x has shape \(3,\); wanted a matrix"),
        (np.zeros((2, 3, 4), np.float32), r"x has shape \(2, 3, 4\)"),
        (np.zeros((0, 3), np.float32), "at least one row"),
        (np.zeros((3, 0), np.float32), "at least one row"),
        (np.zeros((3, 2), np.int64), "x is int64; wanted float16, float32, float64"),
        (np.zeros((3, 2), complex), "x is complex128"),
        (np.array([["a", "b"]]), "x is <U1"),
    ],
)
def test_what_is_no_matrix(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        matrix_of(array, "x")
    with pytest.raises(InputError, match=message):
        open_matrix(saved(tmp_path, array), "x")


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = saved(tmp_path, np.array([[Trap()]], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([[Trap()]], object))
    for file in (path, tmp_path / "x.npz"):
        with pytest.raises(InputError, match="pickled"):
            open_matrix(file, "x")
    for read in (lambda path, name: read_labeled([path], name, 1), lambda *args: read_ids(*args, 1)):
        with pytest.raises(InputError, match="pickled"):
            read(path, "x")
    with pytest.raises(InputError, match="Python objects"):
        matrix_of(np.array([[Trap()]], object), "x")
    assert not (tmp_path / "sprung").exists()


def test_files_that_are_not_whole(tmp_path):
    content = saved(tmp_path, VALUES).read_bytes()
    path = tmp_path / "cut.npy"
    for length, message in (
        (len(content) - 1, "cut off: 47 bytes of data where 48"),
        (20, "not a .npy"),
        (0, "not a"),
    ):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=message):
            open_matrix(path, "--x")
    with pytest.raises(InputError, match=r"--x: .* does not exist; wanted a .npy or .npz file"):
        open_matrix(tmp_path / "none.npy", "--x")
    with pytest.raises(InputError, match="is a folder"):
        open_matrix(tmp_path, "--x")
    np.savez(tmp_path / "two.npz", a=VALUES, b=VALUES)
    with pytest.raises(InputError, match="holds a, b; wanted one array, or one called x"):
        open_matrix(tmp_path / "two.npz", "--x")
    damaged = bytearray((tmp_path / "two.npz").read_bytes())
    damaged[60:90] = bytes(30)
    (tmp_path / "two.npz").write_bytes(damaged)
    with pytest.raises(InputError, match=r"a\.npy in .*two\.npz is not a \.npy file"):
        open_matrix(tmp_path / "two.npz", "--a")


def test_columns_that_lie_together(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.asfortranarray(VALUES))
    for path in (saved(tmp_path, np.asfortranarray(VALUES)), tmp_path / "x.npz"):
        matrix = open_matrix(path, "x")
        assert matrix.why_whole == "in Fortran order"
        np.testing.assert_array_equal(in_memory(matrix).read(1, 3), VALUES[1:3])


def test_a_file_cut_while_it_is_read(tmp_path):
    path = saved(tmp_path, VALUES)
    matrix = open_matrix(path, "--x")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="was cut off"):
        matrix.read(0, 4)


def labeled(path, n=50, **options):
    return read_labeled([path], "x", n, **options).tolist()


def test_row_numbers(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("3\n\n 1\n3.0\n")
    assert labeled(path) == [1, 3], "a row may be named twice"
    assert labeled(saved(tmp_path, np.array([True, False])), 2) == [0]
    path.write_text("\ufeff7\r\n8\r\n", "utf-8")
    assert labeled(path) == [7, 8]
    path.write_text('rank,index,note\n0,41,"a, b"\n1,7,c\n')
    assert labeled(path) == [7, 41], "a CSV of picks"
    path.write_text("rank,index,id\n0,41,a\n1,7,c\n")
    with pytest.warns(UserWarning, match="has ids, and there is no --ids; its row numbers are used"):
        assert labeled(path) == [7, 41]
    path.write_text("0\n1\n" * 25)
    with pytest.raises(InputError, match="holds only 0 and 1, one for each row; wanted row numbers, or a mask"):
        labeled(path)
    for text in ("3\nseven\n", "1.5\n", "99999999999999999999\n", "--5\n", "²\n", "1_0\n", "7" * 131_073):
        path.write_text(text)
        with pytest.raises(InputError, match=r"holds '.*'; wanted one row number a line"):
            labeled(path)
    for text in ("3\n50\n", "-1\n", "index\n50\n"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"x: .*rows\.txt holds row (50|-1); wanted 0 to 49"):
            labeled(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"is not UTF-8 text; wanted a \.npy file, CSV or text"):
        labeled(path)
    with pytest.raises(InputError, match="does not exist"):
        labeled(tmp_path / "none")


IDS = ["a", "b;1", "c,2", "d\t3", 'e"4', "f\n5", "7", "ä"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_by_id_in_csv_files(tmp_path, delimiter, encoding, end):
    """As spreadsheets and labeling tools write them; the column may be anywhere and its name in capitals."""
    path = tmp_path / "answers.csv"
    for name in ("id", "ID", " Id"):
        with path.open("w", encoding=encoding, newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
            writer.writerows([["rank", name, "index"], *([0, id, 99] for id in IDS[1:]), ["", "", ""]])
        assert labeled(path, 8, ids=IDS) == [*range(1, 8)], "ids decide, not positions"
        assert read_ids(path, "x", 7) == IDS[1:]


def test_rows_by_id_in_other_files(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("ä\r\n\r\n 7 \r\nc,2\r\n", "utf-8", newline="")
    assert labeled(path, 8, ids=IDS) == [2, 6, 7], "spaces around an id do not count"
    with pytest.warns(UserWarning, match="1 ids that are not in the pool"):
        assert labeled(path, 3, ids=["ä", " 7 ", "7"]) == [0, 1], "but where they tell two ids apart"
    assert labeled(saved(tmp_path, np.array(["a", "7"])), 8, ids=IDS) == [0, 6]
    assert labeled(saved(tmp_path, np.array([7])), 8, ids=IDS) == [6], "an integer is an id too"
    assert labeled(saved(tmp_path, np.arange(8) == 3), 8, ids=IDS) == [3], "a mask goes by position"
    with pytest.raises(InputError, match=r"is float64 of shape \(1,\); wanted ids, or a mask"):
        labeled(saved(tmp_path, np.array([0.5])), 8, ids=IDS)


def test_ids_that_are_not_in_the_pool(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("id\na\nx\ny\n")
    with pytest.warns(UserWarning, match=r"rows\.csv holds 2 ids that are not in the pool, the first 'x'"):
        assert labeled(path, 8, ids=IDS) == [0]
    path.write_text("id\nx\ny\n")
    with pytest.raises(InputError, match=r"holds 'x' and no id of the pool; wanted ids as --ids has them"):
        labeled(path, 8, ids=IDS)
    path.write_text("rank,index\n0,3\n")
    with pytest.raises(InputError, match=r"has the column index and no column id; wanted one, or no --ids"):
        labeled(path, 8, ids=IDS)
    path.write_text("rank,id\n0,3\n")
    with pytest.raises(InputError, match=r"has the column id and no column index; wanted one, or --ids"):
        labeled(path, 8)


def test_several_lists_add_up(tmp_path):
    for name, text in (("a.txt", "1\n2\n"), ("b.csv", "rank,index\n0,2\n1,9\n"), ("c.txt", "1\n")):
        (tmp_path / name).write_text(text)
    paths = [tmp_path / "a.txt", tmp_path / "b.csv", tmp_path / "c.txt"]
    assert read_labeled(paths, "x", 50).tolist() == [1, 2, 9]


def test_skipped_rows(tmp_path):
    """A row is skipped where its label is empty in every file that names it."""
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("index,label\n3,cat\n4,\n5, \n6,\n")
    second.write_text("index;Label\n4;dog\n9;0\n")
    for skipped, rows, what in (
        ("exclude", [3, 4, 5, 6, 9], "they are left out; --skipped offer offers them"),
        ("offer", [3, 4, 9], "they are offered again"),
    ):
        with pytest.warns(UserWarning, match=f"x: 2 rows have an empty label; {what}"):
            assert read_labeled([first, second], "x", 10, skipped=skipped).tolist() == rows
    first.write_text("index,label\n3,nan\n4, NA\n5,none\n6,\n7,None\n")
    with pytest.warns(UserWarning, match="x: 4 rows have an empty label, or NA, None, nan; they are offered"):
        assert read_labeled([first], "x", 10, skipped="offer").tolist() == [5]
    first.write_text("rank,index\n0,5\n")
    second.write_text("index,label\n5,\n")
    assert read_labeled([first, second], "x", 10, skipped="offer").tolist() == [5], "what a list names is out"


def test_row_numbers_in_arrays():
    assert row_numbers(np.array([5, 3, 5], np.uint8), 9).tolist() == [3, 5]
    with pytest.raises(InputError, match="mine holds row 9; wanted 0 to 8"):
        row_numbers(np.array([9]), 9, "mine")


def test_a_file_that_the_disk_had_no_room_for(tmp_path):
    """Nothing is left of an array: that is no empty list of rows."""
    (tmp_path / "rows.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"rows\.npy is not a \.npy file"):
        labeled(tmp_path / "rows.npy")
    with pytest.raises(InputError, match=r"rows\.npy is not a \.npy file"):
        read_ids(tmp_path / "rows.npy", "x", 0)
    with pytest.warns(UserWarning, match=r"x\.npy names no row, so none counts as labeled"):
        assert labeled(saved(tmp_path, np.zeros(0, np.int64))) == []
    for text in ("", "rank,index\n", "\n\n"):
        (tmp_path / "rows.txt").write_text(text)
        with pytest.warns(UserWarning, match=r"rows\.txt names no row, so none counts as labeled"):
            assert labeled(tmp_path / "rows.txt") == []


def test_csv_files_that_are_damaged(tmp_path):
    path = tmp_path / "picks.csv"
    for text, message in (
        ('rank,index,id\n0,41,"a, b\n1,7,c\n', r"damaged at line 3 \(unexpected end of data\)"),
        ('"index\n41\n', r"damaged at line 2 \(unexpected end of data\)"),
        (f"index,id\n41,{'a' * 131_073}\n", r"damaged at line 2 \(field larger than field limit"),
        ('index,id\n41,"a"b\n', "damaged at line 2"),
        ("rank,index\n0,41\n1\n", "line 3: 1 fields; wanted 2, as in the header"),
        ("index,label\n1,5,cat\n", "line 2: 3 fields; wanted 2, as in the header"),
        ("index,index\n0,41\n", "has 2 columns index; wanted one"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            labeled(path)
    path.write_text('index,name\r\n41,"a\r\nb"\r\n7,c\r\n', newline="")
    assert labeled(path) == [7, 41], "an id may hold a line end"


def test_ids_that_cannot_be_written(tmp_path):
    surrogate = np.array(["a", "\ud800"])
    beyond = np.array([97, 0x110000], np.uint32).view("<U1")
    for array in (surrogate, beyond, surrogate.astype(">U1")):
        with pytest.raises(InputError, match=r"x\.npy holds text that is not Unicode"):
            read_ids(saved(tmp_path, array), "x", 2)


def test_ids(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("a\n\u2028\u2028c\n b\u2028c\n", "utf-8")
    assert read_ids(path, "x", 3) == ["a", "\u2028\u2028c", " b\u2028c"], "as they are"
    path.write_text('a,1\n"b\n')
    assert read_ids(path, "x", 2) == ["a,1", '"b']
    path.write_text("name;id\nA;7\nB;8\n")
    assert read_ids(path, "x", 2) == ["7", "8"]
    assert read_ids(saved(tmp_path, np.array(["ä", "b"])), "x", 2) == ["ä", "b"]
    assert read_ids(saved(tmp_path, np.array([7, 8])), "x", 2) == ["7", "8"]
    with pytest.raises(InputError, match="2 ids for 3 rows"):
        read_ids(path, "x", 3)
    with pytest.raises(InputError, match="wanted text or integers"):
        read_ids(saved(tmp_path, np.array([0.5])), "x", 1)
    with pytest.raises(InputError, match=r"holds 'b' for rows 1 and 2; wanted an id once"):
        read_ids(saved(tmp_path, np.array(["a", "b", "b"])), "x", 3)
    path.write_text("a\n \nb\n")
    with pytest.raises(InputError, match=r"has no id for row 1; wanted one for each"):
        read_ids(path, "x", 3)


HEADERS = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=60).map(str.encode),
    st.builds(
        lambda descr, order, shape: repr({"descr": descr, "fortran_order": order, "shape": shape}).encode(),
        st.one_of(
            st.sampled_from(
                ["<f4", "<f2", ">f8", "|O", "|S3", "<U2", "<U0", "<M8[s]", "|V2", "<c8", "|b1", "?!", ""]
            ),
            st.lists(st.tuples(st.text(max_size=3), st.sampled_from(["<f4", "|O"])), max_size=3),
            st.integers(),
        ),
        st.one_of(st.booleans(), st.none()),
        st.one_of(
            st.lists(st.integers(-2, 2**70), max_size=4).map(tuple),
            st.lists(st.integers(0, 4), max_size=3).map(tuple),
            st.integers(),
            st.text(max_size=3),
        ),
    ),
)


@pytest.mark.filterwarnings("ignore:.*names no row:UserWarning")  # a list may be empty
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HEADERS, st.sampled_from([1, 2, 3, 9]), st.integers(-3, 3), st.binary(max_size=64))
def test_no_header_makes_a_traceback(tmp_path, header, version, slack, data):
    """A file opens as a matrix or is refused in one line; whatever its header, its dtype and its length."""
    content = io.BytesIO()
    content.write(b"\x93NUMPY" + bytes([version, 0]))
    content.write(max(0, len(header) + slack).to_bytes(2 if version == 1 else 4, "little") + header + data)
    path = tmp_path / "fuzzed.npy"
    path.write_bytes(content.getvalue())
    for read in (
        open_matrix,
        lambda path, name: read_labeled([path], name, 3),
        lambda *args: read_ids(*args, 3),
    ):
        try:
            found = read(path, "x")
        except InputError as error:
            message = str(error)
        else:
            message = ""
            if read is open_matrix:
                found.read(0, found.shape[0])
        assert "\n" not in message
