import os
import zipfile

import numpy as np
import pytest

from badge_jax.data import load_dataset
from badge_jax.data.from_npz import load
from badge_jax.data.own import own_arrays
from badge_jax.data.table import Arrays
from badge_jax.errors import InputError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)), RNG.integers(5, 8, 40)
IMAGES = RNG.integers(0, 256, (40, 6, 5)).astype(np.uint8)


def test_numbers_without_a_test_set_are_split(tmp_path):
    np.savez(tmp_path / "own.npz", X=X, y=Y)
    data = load_dataset(str(tmp_path / "own.npz"), seed=0)
    assert data.inputs.shape == (36, 3)
    assert data.inputs.dtype == np.float32
    assert len(data.test_labels) == 4
    assert data.classes == ("5", "6", "7")
    assert data.channels is None
    assert set(np.concatenate([data.labels, data.test_labels]).tolist()) == {0, 1, 2}


def test_images_keep_their_test_set_and_are_measured(tmp_path):
    names = np.array(["cat", "dog"])
    np.savez(
        tmp_path / "own.npz",
        x_train=IMAGES[:30], y_train=names[Y[:30] % 2], x_test=IMAGES[30:], y_test=names[Y[30:] % 2],
    )  # fmt: skip
    data = load_dataset(str(tmp_path / "own.npz"), seed=0)
    np.testing.assert_array_equal(data.inputs, IMAGES[:30, :, :, None])
    np.testing.assert_array_equal(data.test_inputs[..., 0], IMAGES[30:])
    np.testing.assert_array_equal(data.test_labels, Y[30:] % 2)
    assert data.classes == ("cat", "dog")
    assert data.channels.mean[0] == pytest.approx((IMAGES[:30] / 255).mean())
    assert data.channels.sd[0] == pytest.approx((IMAGES[:30] / 255).std())


def test_a_representation_follows_its_rows(tmp_path):
    fixed = RNG.normal(size=(40, 7))
    np.savez(tmp_path / "split.npz", inputs=IMAGES, labels=Y, representation=fixed)
    data = load_dataset(str(tmp_path / "split.npz"), seed=0)
    assert data.representation.dtype == np.float32
    np.testing.assert_array_equal(data.representation, fixed.astype(np.float32)[data.source_rows])
    parts = {"inputs": X[:30], "labels": Y[:30], "test_inputs": X[30:], "test_labels": Y[30:]}
    np.savez(tmp_path / "parts.npz", **parts, representation=fixed[:30].astype(np.float16))
    data = load_dataset(str(tmp_path / "parts.npz"), seed=0)
    np.testing.assert_array_equal(data.representation, fixed[:30].astype(np.float16))


def test_vectors_are_their_own_representation_and_images_have_none(tmp_path):
    np.savez(tmp_path / "vectors.npz", inputs=X, labels=Y)
    data = load_dataset(str(tmp_path / "vectors.npz"), seed=0)
    assert data.representation is data.inputs
    for name, inputs in (("images", IMAGES), ("cubes", X.reshape(20, 3, 2))):
        np.savez(tmp_path / f"{name}.npz", inputs=inputs, labels=Y[: len(inputs)])
        assert load_dataset(str(tmp_path / f"{name}.npz"), seed=0).representation is None


def test_images_of_the_package_may_be_given_a_representation():
    """As docs/data.md says: what is fetched, and the array beside it."""
    fetched = Arrays(IMAGES[:30, ..., None], Y[:30] - 5, ("a", "b", "c"), IMAGES[30:, ..., None], Y[30:] - 5)
    data = own_arrays("mine:load", fetched._asdict() | {"representation": X[:30]})
    np.testing.assert_array_equal(data.inputs, fetched.inputs)
    np.testing.assert_array_equal(data.test_labels, fetched.test_labels)
    np.testing.assert_array_equal(data.representation, X[:30].astype(np.float32))


def test_a_representation_counts_in_the_checksum(tmp_path):
    found = []
    for fixed in (None, X[:, :2], X[:, 1:]):
        arrays = {} if fixed is None else {"representation": fixed}
        np.savez(tmp_path / "own.npz", inputs=X, labels=Y, **arrays)
        found.append(load_dataset(str(tmp_path / "own.npz"), seed=0).crc32)
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": X, "labels": Y}, "holds images, labels; wanted inputs"),
        ({"inputs": X}, "holds inputs; wanted labels"),
        ({"inputs": X, "x": X, "labels": Y}, "holds both inputs and x"),
        (
            {"inputs": X, "labels": Y, "representations": X},
            "holds representations, which is not read; did you mean representation",
        ),
        ({"inputs": X, "labels": Y[:-1]}, "wanted \\[n, ...\\] and \\[n\\]"),
        ({"inputs": X, "labels": Y[:, None]}, "wanted \\[n, ...\\] and \\[n\\]"),
        ({"inputs": X[:, 0], "labels": Y}, "wanted \\[n, ...\\] and \\[n\\]"),
        ({"inputs": X, "labels": Y + 0.5}, "wanted integers or text"),
        ({"inputs": X, "labels": Y * 0}, "has 1 class; wanted at least two"),
        ({"inputs": X.astype(str), "labels": Y}, "wanted numbers"),
        ({"inputs": X + np.inf, "labels": Y}, "not finite"),
        ({"inputs": X, "labels": Y, "test_inputs": X}, "only half a test set"),
        ({"inputs": X, "labels": Y, "test_inputs": X[:, :2], "test_labels": Y}, "wanted rows of one kind"),
        (
            {"inputs": X, "labels": (Y + 0x110000).astype(np.uint32).view("<U1")},
            "holds text that is not Unicode",
        ),
        ({"inputs": X, "labels": Y, "representation": X[:39]}, r"a representation \(39, 3\); wanted \[40, d\]"),
        ({"inputs": X, "labels": Y, "representation": Y}, r"a representation \(40,\); wanted \[40, d\]"),
        ({"inputs": X, "labels": Y, "representation": X[:, :0]}, r"a representation \(40, 0\); wanted"),
        ({"inputs": X, "labels": Y, "representation": X.astype(str)}, "a representation of <U.*; wanted numb"),
        (
            {"inputs": X, "labels": Y, "representation": X + np.nan},
            "a representation with values that are not f",
        ),
        (
            {"inputs": X, "labels": Y, "representation": X * 1e300},
            "a representation with values that are not f",
        ),
        ({"inputs": X.astype(object), "labels": Y}, "pickled Python objects, which are never loaded"),
    ],
)
def test_other_contents_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / "own.npz")
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"does not exist; wanted an \.npz file"):
        load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match=r"cannot be read .*; wanted a complete \.npz file"):
        load(tmp_path / "text.npz")
    np.savez(tmp_path / "ends.npz", inputs=X, labels=Y)
    with zipfile.ZipFile(tmp_path / "ends.npz", "a") as archive:
        archive.writestr("test_labels", "cat, dog")
    with pytest.raises(InputError, match=r"test_labels in .*ends\.npz is not a \.npy file"):
        load(tmp_path / "ends.npz")
    np.savez(tmp_path / "tiny.npz", inputs=X[:1], labels=Y[:1])
    with pytest.raises(InputError, match="has 1 class"):
        load_dataset(str(tmp_path / "tiny.npz"), seed=0)


def test_a_pipe_does_not_make_it_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match=r"is not a regular file; wanted an \.npz file"):
        load(tmp_path / "pipe.npz")
