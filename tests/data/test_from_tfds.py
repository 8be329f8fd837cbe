"""SVHN's format, on small files, and what goes wrong; MNIST and CIFAR-10 are in test_registry."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import savemat

from badge_jax.data import from_tfds
from badge_jax.errors import EnvironmentFailure


def write_mat(path, num, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (32, 32, 3, num)).astype(np.uint8)
    labels = (np.arange(num) % 10 + 1).astype(np.uint8)[:, None]
    savemat(path, {"X": images, "y": labels})
    return images, labels


def test_svhn_format(tmp_path):
    images, _ = write_mat(tmp_path / "small.mat", 12, 0)
    found, labels = from_tfds.read_svhn(tmp_path / "small.mat")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[7], images[:, :, :, 7])
    assert labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]


def test_svhn_refuses_other_contents(tmp_path):
    savemat(tmp_path / "other.mat", {"X": np.zeros((28, 28, 3, 2), np.uint8), "y": np.ones((2, 1))})
    with pytest.raises(EnvironmentFailure, match="does not hold cropped digits of SVHN"):
        from_tfds.read_svhn(tmp_path / "other.mat")


@pytest.mark.extras
def test_svhn_through_tfds_downloads(tmp_path):
    """In a process of its own, with a small training and test set where TFDS keeps its downloads."""
    pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets (extra data)")
    for split, num in (("train", 12), ("test", 5)):
        write_mat(tmp_path / f"{split}_32x32.mat", num, num)
    program = f"""
import pathlib, sys
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.download import resource
builder = tfds.builder("svhn_cropped")
folder = pathlib.Path(r"{tmp_path}")
(folder / "tfds" / "downloads").mkdir(parents=True)
for url, info in builder.url_infos.items():
    file = folder / url.rsplit("/", 1)[1]
    if file.exists():
        target = folder / "tfds" / "downloads" / resource.get_dl_fname(url, info.checksum)
        target.write_bytes(file.read_bytes())
        resource.write_info_file(url, epath.Path(target), "svhn_cropped", file.name, info)
from badge_jax.data import from_tfds
data = from_tfds.fetch_svhn()
print(data.inputs.shape, data.test_inputs.shape, data.test_labels.tolist(), len(data.classes))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "HOME": str(tmp_path), "TFDS_DATA_DIR": str(tmp_path / "tfds")},
    )
    assert done.stdout == "(12, 32, 32, 3) (5, 32, 32, 3) [1, 2, 3, 4, 5] 10\n", done.stderr


@pytest.mark.extras
@pytest.mark.parametrize("stderr", ["silenced while TensorFlow starts", "open"])
def test_tensorflow_is_silent(tmp_path, stderr):
    """At its source: versions differ in when they print. In a process of its own, where it starts."""
    pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets (extra data)")
    program = "from_tfds._silent_stderr = contextlib.nullcontext" if stderr == "open" else ""
    program = f"""
import contextlib
from badge_jax.data import from_tfds
{program}
with from_tfds._tensorflow_datasets("mnist"):
    import tensorflow as tf
    assert [int(i) for i in tf.data.Dataset.range(3).map(lambda i: i + 1)] == [1, 2, 3]
    tf.get_logger().warning("noise")
"""
    env = {"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(
        EnvironmentFailure, match=r"is not installed; in a checkout of badge_jax: pip install .*data"
    ):
        from_tfds.fetch("mnist")


@pytest.mark.extras
def test_no_network_is_told_at_once_where_there_is_no_download(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets (extra data)")
    url = "https://example.invalid/images.gz"
    builder = SimpleNamespace(
        data_path=tmp_path / "set" / "1.0.0", url_infos={url: SimpleNamespace(checksum="0" * 64)}
    )

    def no_network(address, timeout):
        assert address == ("example.invalid", 443)
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.create_connection", no_network)
    with pytest.raises(ConnectionError, match=r"example\.invalid cannot be reached"):
        from_tfds._check_network(builder, [url])


@pytest.mark.extras
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("no route\nto host"), "mnist cannot be loaded (ConnectionError: no route to host)"),
        (type("NonMatchingChecksumError", (Exception,), {})(), "mnist: a download does not have its checksum"),
    ],
)
def test_whatever_goes_wrong_is_one_line(error, message, capfd):
    pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets (extra data)")

    def fail():
        with from_tfds._tensorflow_datasets("mnist"):
            print("noise")
            raise error

    with pytest.raises(EnvironmentFailure) as caught:
        fail()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
