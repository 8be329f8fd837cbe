"""Pictures of rows: what is embedded, what is left out, and that no id leads out of the folder."""

import base64
import io
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest

from badge_jax.selection import pictures
from badge_jax.selection.pictures import AS_IT_IS, LARGEST


def png(pixels, text=b""):
    """A grey PNG file of pixels [h, w] uint8, with a comment of any length."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"tEXt", b"c\0" + text)]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")])


SMALL = png(np.zeros((28, 28), np.uint8))
MIDDLE = png(np.zeros((28, 28), np.uint8), b" " * 50_000)
LARGE = png(np.zeros((28, 28), np.uint8), b" " * 300_000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures, with Pillow hidden."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(SMALL)
    for name, content in (
        ("small.png", SMALL), ("inner/middle.png", MIDDLE), ("large.png", LARGE), ("page.png", b"<svg/>"),
        ("photo.jpg", b"\xff\xd8\xff\xe0 and so on"), ("moving.gif", b"GIF89a and so on"), ("empty", b""),
        ("new.webp", b"RIFF\0\0\0\0WEBPVP8 "), ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("sound.wav", b"RIFF\0\0\0\0WAVEfmt "),
    ):  # fmt: skip
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.png")
    return folder


def test_files_are_embedded_as_they_are(folder):
    assert AS_IT_IS < len(MIDDLE) < LARGEST < len(LARGE)
    for name, kind in (
        ("small.png", "png"), ("inner/middle.png", "png"), ("photo.jpg", "jpeg"), ("moving.gif", "gif"),
        ("new.webp", "webp"), ("./small.png", "png"),
    ):  # fmt: skip
        [found] = pictures(folder, [name])
        head, _, data = found.source.partition(",")
        assert (head, found.note) == (f"data:image/{kind};base64", "")
        assert base64.b64decode(data, validate=True) == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("id", "note"),
    [
        ("large.png", "left out: 0.3 MB; Pillow would make it smaller"),
        ("none.png", "no such file"),
        ("inner", "is no file"),
        ("pipe.png", "is no file"),
        ("page.png", "not an image that a browser shows"),
        ("drawing.svg", "not an image that a browser shows"),
        ("sound.wav", "not an image that a browser shows"),
        ("empty", "not an image that a browser shows"),
        ("../secret.png", "not in the folder"),
        ("inner/../../secret.png", "not in the folder"),
        ("..", "not in the folder"),
        ("/etc/hostname", "not in the folder"),
        ("x" * 3000, "cannot be read"),
        ("a\0b", "no such file"),
        ("\ud800", "no such file"),
    ],
)
def test_what_is_left_out_says_why(folder, id, note):
    [found] = pictures(folder, [id])
    assert found.source == ""
    assert found.note in ({note, "cannot be read"} if note == "no such file" else {note})


def test_a_page_takes_so_much_and_no_more(folder, monkeypatch):
    size = len(pictures(folder, ["small.png"])[0].source)
    monkeypatch.setattr(sys.modules[pictures.__module__], "LARGEST_TOTAL", 2 * size)
    found = pictures(folder, ["small.png", "inner/middle.png", "small.png", "small.png"])
    assert [bool(picture.source) for picture in found] == [True, False, True, False]
    assert found[1].note.startswith("left out: a page takes ")


@pytest.mark.extras
class TestWithPillow:
    """Large files are made smaller, the right way up."""

    @pytest.fixture
    def image(self):
        return pytest.importorskip("PIL.Image", reason="wants Pillow (it comes with extra plots)")

    def small(self, image, folder, name, content):
        (folder / name).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            [found] = pictures(folder, [name])
        assert found.note == ""
        return image.open(io.BytesIO(base64.b64decode(found.source.partition(",")[2])))

    def saved(self, made, kind, **options):
        out = io.BytesIO()
        made.save(out, kind, **options)
        assert len(out.getvalue()) > AS_IT_IS
        return out.getvalue()

    def noise(self, *shape):
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def test_a_photo_held_upright(self, image, tmp_path):
        pixels = self.noise(300, 600, 3)
        pixels[:150, :300] = [255, 0, 0]
        exif = image.Exif()
        exif[0x0112] = 6  # turned by a quarter: what is stored at the left is shown at the top
        found = self.small(image, tmp_path, "photo.jpg", self.saved(image.fromarray(pixels), "JPEG", exif=exif))
        assert found.size == (80, 160)
        assert found.mode == "RGB"
        red = np.asarray(found).astype(int)[5:70, 45:75].reshape(-1, 3).mean(axis=0)
        assert red[0] > 240
        assert red[1:].max() < 15

    def test_transparent_and_deep_ones(self, image, tmp_path):
        pixels = self.noise(200, 200, 4)
        pixels[:, :100, 3] = 0
        found = self.small(image, tmp_path, "a.png", self.saved(image.fromarray(pixels), "PNG"))
        assert (found.format, found.mode, found.size) == ("PNG", "RGBA", (160, 160))
        assert not np.asarray(found)[:, :70, 3].any()
        deep = np.add.outer(np.arange(200), self.noise(200) % 2).astype(np.uint16) + 1000
        found = self.small(image, tmp_path, "b.png", self.saved(image.fromarray(deep), "PNG", compress_level=0))
        values = np.asarray(found.convert("L")).astype(int)
        assert values[0].max() < 20
        assert values[-1].min() > 235

    def test_damaged_and_monstrous_ones(self, image, tmp_path):
        whole = self.saved(image.fromarray(self.noise(300, 300, 3)), "PNG")
        one = png(np.zeros((1, 1), np.uint8), b" " * 20_000)

        def as_large_as(side):
            header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
            return one[:12] + header + struct.pack(">I", zlib.crc32(header)) + one[33:]

        for name, content, note in (
            ("cut.png", whole[: len(whole) // 2], "not an image that can be read"),
            ("text.png", b"a" * 20_000, "not an image that can be read"),
            ("huge.png", as_large_as(11_000), "left out: too many pixels"),
            ("more.png", as_large_as(40_000), "left out: too many pixels"),
        ):
            (tmp_path / name).write_bytes(content)
            assert pictures(tmp_path, [name])[0].note == note
