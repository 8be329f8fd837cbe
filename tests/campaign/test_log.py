"""The log: whatever a kill leaves is read, and nothing else is believed."""

import os

import pytest

from badge_jax.campaign.log import append_line, read_log
from badge_jax.errors import InputError

LINES = [
    {"kind": "batch", "rows": [3, 1]},
    {"kind": "answers", "labels": ["ü\n"]},
    {"kind": "batch", "rows": []},
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, LINES)
    return path


def write(path, lines):
    log = read_log(path, "mine")
    for line in lines:
        log = append_line(path, log, line, "mine")
    return log


def test_what_is_appended_is_read(path):
    log = read_log(path, "mine")
    assert (log.lines, log.is_cut, log.lacks_end) == (LINES, False, False)
    assert log.size == path.stat().st_size
    assert log._replace(lines=[]) == write(path, [])._replace(lines=[])


def test_cut_at_any_byte_of_the_last_line(path):
    content = path.read_bytes()
    start = content[:-1].rindex(b"\n") + 1
    for size in range(start, len(content) + 1):
        path.write_bytes(content[:size])
        log = read_log(path, "mine")
        is_whole = size >= len(content) - 1  # only the line end is missing, or nothing
        assert log.lines == LINES[: 3 if is_whole else 2], size
        assert log.is_cut == (start < size < len(content) - 1)
        append_line(path, log, {"more": 1}, "mine")
        assert read_log(path, "mine").lines == [*log.lines, {"more": 1}]


def test_every_flipped_bit_is_refused_or_dropped_with_its_line(path):
    """A flip in the last line's end makes it a line that is cut off, and is dropped; none is believed."""
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 7)
        path.write_bytes(bytes(changed))
        try:
            lines = read_log(path, "mine").lines
        except InputError as error:
            assert str(error).startswith(f"{path} is damaged (line ")  # noqa: PT017
        else:
            assert place == len(content) - 1
            assert lines == LINES[:2]


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2], [0, 1, 1, 2], [1, 2]])
def test_lines_in_another_order_are_refused(path, order):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[i] for i in order))
    with pytest.raises(InputError, match="it does not have its checksum"):
        read_log(path, "mine")


def test_a_log_of_another_campaign_is_refused(path):
    with pytest.raises(InputError, match="line 1: it does not have its checksum"):
        read_log(path, "another")


def test_a_full_disk_leaves_the_log_as_it_was(path, monkeypatch):
    content, log = path.read_bytes(), read_log(path, "mine")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        append_line(path, log, {"more": 1}, "mine")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == content
