"""openml-python's own loader, on small files laid out as it caches them and on real ones at hand."""

import hashlib
import sys

import numpy as np
import pytest

from badge_jax.data import fetch as fetch_by_name
from badge_jax.data import from_openml, kropt
from badge_jax.errors import EnvironmentFailure, InputError

HEADER = """@relation small
@attribute size numeric
@attribute colour {red, green, 'dark blue'}
@attribute class {no, yes}
@data
"""


@pytest.fixture
def write(tmp_path):
    """Lays out a data set in a cache of openml-python's."""
    openml = pytest.importorskip("openml", reason="needs openml (extra data)")
    before = openml.config._root_cache_directory
    openml.config.set_root_cache_directory(str(tmp_path))

    def write_dataset(identifier, content, target="class", checksum=None):
        folder = tmp_path / "org" / "openml" / "www" / "datasets" / str(identifier)
        folder.mkdir(parents=True)
        (folder / "dataset.arff").write_text(content)
        checksum = checksum or hashlib.md5(content.encode()).hexdigest()
        (folder / "description.xml").write_text(
            '<oml:data_set_description xmlns:oml="http://openml.org/openml">\n'
            f"<oml:id>{identifier}</oml:id><oml:name>small</oml:name><oml:version>1</oml:version>"
            "<oml:description>small</oml:description><oml:format>ARFF</oml:format>"
            f"<oml:licence>Public</oml:licence><oml:url>https://openml.invalid/{identifier}</oml:url>"
            f"<oml:default_target_attribute>{target}</oml:default_target_attribute>"
            f"<oml:status>active</oml:status><oml:md5_checksum>{checksum}</oml:md5_checksum>"
            "</oml:data_set_description>\n"
        )

    yield write_dataset
    openml.config.set_root_cache_directory(str(before))


@pytest.mark.extras
def test_numbers_categories_and_classes(write):
    write(901, HEADER + "1.5, green, yes\n-2, 'dark blue', no\n3, red, yes\n")
    table = from_openml.fetch(901)
    np.testing.assert_array_equal(table.numbers, np.array([[1.5], [-2], [3]], np.float32))
    np.testing.assert_array_equal(table.codes, [[1], [2], [0]])
    assert table.categories == (("red", "green", "dark blue"),)
    assert table.labels.tolist() == [1, 0, 1]
    assert table.classes == ("no", "yes")
    assert len(fetch_by_name("openml:901").labels) == 3


@pytest.mark.extras
@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (HEADER + "1, green, yes\n?, red, no\n", "class", "1 missing values in column 'size'"),
        (HEADER + "1, ?, yes\n2, red, no\n", "class", "1 missing values in column 'colour'"),
        (HEADER + "1.5, red, yes\n2.5, red, no\n", "size", "not of classes"),
        (HEADER + "1, red, yes\n2, red, no\n", "", "no single column as its class"),
        (
            HEADER.replace("numeric", "string") + "words, red, yes\nmore, red, no\n",
            "class",
            "text in column 'size'",
        ),
    ],
)
def test_what_is_no_complete_classification_is_refused(write, content, target, message):
    write(902, content, target)
    with pytest.raises(InputError, match=message) as caught:
        from_openml.fetch(902)
    assert "wanted" in str(caught.value)


@pytest.mark.extras
def test_a_damaged_download_is_named(write):
    write(903, HEADER + "1, green, yes\n", checksum="0" * 32)
    with pytest.raises(EnvironmentFailure, match=r"dataset.arff does not have the checksum"):
        from_openml.fetch(903)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openml", None)
    with pytest.raises(
        EnvironmentFailure, match=r"not installed; in a checkout of badge_jax: pip install .*data"
    ):
        from_openml.fetch(6)


@pytest.mark.extras
def test_no_network_is_one_line(write, monkeypatch):
    import openml

    def fail(*args, **kwargs):
        raise ConnectionError("Max retries\nexceeded")

    monkeypatch.setattr(openml.datasets, "get_dataset", fail)
    with pytest.raises(
        EnvironmentFailure, match=r"openml:6 cannot be loaded \(ConnectionError: Max retries"
    ) as caught:
        from_openml.fetch(6)
    assert "\n" not in str(caught.value)
    assert "datasets fetch openml:6" in str(caught.value)


@pytest.mark.extras
def test_kropt_downloaded_and_from_the_rules_are_the_same(downloads):
    ours, theirs = kropt.generate(), kropt.canonical(from_openml.fetch(184))
    np.testing.assert_array_equal(ours.codes, theirs.codes)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert (ours.categories, ours.classes) == (theirs.categories, theirs.classes)
