"""A zoo of image files: each has a defined outcome."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsgl.data.images import pixels
from fsgl.data.images.image_files import SUFFIXES, BadImage, open_rgb, readable_suffixes

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS)


def opened(path: Path, at_least: int | None = None) -> np.ndarray:
    image = open_rgb(path.parent, path.name, at_least)
    assert image.mode == "RGB"
    return np.asarray(image)


# ---------------------------------------------------------------- converted


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp", "jp2", "tga"])
def test_formats_without_loss_give_their_pixels(tmp_path: Path, suffix: str) -> None:
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    PHOTO.save(tmp_path / f"a.{suffix}", **options)
    np.testing.assert_array_equal(opened(tmp_path / f"a.{suffix}"), PIXELS)
    assert f".{suffix}" in SUFFIXES


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LAB", "HSV"])
def test_other_colour_modes_are_pillows_conversion(tmp_path: Path, mode: str) -> None:
    if mode == "LAB":
        from PIL import ImageCms

        image = ImageCms.profileToProfile(
            PHOTO, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert image is not None
    else:
        image = PHOTO.convert(mode)
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "LAB": "tif", "HSV": "png"}.get(mode, "png")
    (image.convert("RGB") if mode == "HSV" else image).save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as again:
        np.testing.assert_array_equal(opened(tmp_path / f"a.{suffix}"), np.asarray(again.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path, suffix: str) -> None:
    deep = np.arange(0, 65536, 17, dtype=np.uint16)[:3840].reshape(60, 64)
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(opened(tmp_path / f"a.{suffix}"), np.stack([deep >> 8] * 3, axis=2))


def test_sixteen_bits_a_channel_of_colour(tmp_path: Path) -> None:
    """Pillow writes no such PNG, so it is made by hand."""
    deep = np.random.default_rng(1).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    write_png(tmp_path / "a.png", 7, 5, 16, b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep))
    np.testing.assert_array_equal(opened(tmp_path / "a.png"), (deep >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 2), (200, 0, 0, 255))
    image.putpixel((0, 0), (200, 0, 0, 0))
    if mode == "LA":
        image = image.convert("LA")
    elif mode in ("P", "PA"):
        image = image.quantize(4)
    image.save(tmp_path / "a.png")
    found = opened(tmp_path / "a.png")
    assert tuple(found[0, 0]) == (255, 255, 255)
    assert found[1, 1].sum() < 300


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = (255, 0, 0)  # the upper left quarter
    undo = {1: "", 2: "h", 3: "hv", 4: "v", 5: "t", 6: "tv", 7: "thv", 8: "th"}[orientation]  # by the standard's table
    stored = upright
    for step in undo:
        stored = {"h": stored[:, ::-1], "v": stored[::-1], "t": stored.transpose(1, 0, 2)}[step]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(opened(tmp_path / "a.png"), upright)


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".hif"])
def test_photographs_of_iphones_are_decoded_and_stand_upright(tmp_path: Path, suffix: str) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install 'fsgl[heif]' reads HEIC")
    smooth = np.stack([np.linspace(0, 255, 2400).reshape(40, 60)] * 3, axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turned, and turned once alone
    pillow_heif.from_pillow(Image.fromarray(smooth)).save(tmp_path / "flat.heic", quality=95)
    turned = pillow_heif.from_pillow(Image.fromarray(smooth))
    turned.save(tmp_path / f"a{suffix}", quality=95, exif=exif.tobytes())
    assert np.abs(opened(tmp_path / "flat.heic").astype(int) - smooth).mean() < 3
    assert np.abs(opened(tmp_path / f"a{suffix}").astype(int) - np.rot90(smooth, -1)).mean() < 3
    assert suffix.lower() in readable_suffixes()


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert opened(tmp_path / f"a.{suffix}").min() > 250


@pytest.mark.parametrize(("width", "height"), [(1, 1), (30_000, 4), (3, 30_000)])
def test_odd_sizes_are_taken_as_they_are(tmp_path: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height), "red").save(tmp_path / "a.png")
    assert opened(tmp_path / "a.png").shape == (height, width, 3)


@pytest.mark.parametrize(
    ("at_least", "expected"), [(None, (480, 640)), (480, (480, 640)), (239, (240, 320)), (100, (120, 160))]
)
def test_a_large_jpeg_is_decoded_at_a_smaller_scale(
    tmp_path: Path, at_least: int | None, expected: tuple[int, int]
) -> None:
    PHOTO.resize((640, 480)).save(tmp_path / "a.jpg")
    assert opened(tmp_path / "a.jpg", at_least).shape[:2] == expected


# ---------------------------------------------------------------- refused


def truncated(path: Path) -> None:
    PHOTO.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bomb(path: Path) -> None:
    """A PNG of 50,000 x 50,000 pixels in some hundred bytes."""
    write_png(path, 50_000, 50_000, 8, bytes(10_000))


def write_png(path: Path, width: int, height: int, bits: int, rows: bytes) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_bytes(b"hello"), "not an image"),
    "truncated": (truncated, "damaged or truncated"),
    "bomb": (bomb, "too large"),
    "postscript": (postscript, "not an image"),
    "no numbers": (lambda path: Image.fromarray(np.float32([[np.nan, 1]])).save(path, "TIFF"), "no numbers"),
    "folder": (lambda path: path.mkdir(), "not a file"),
    "pipe": (lambda path: os.mkfifo(path), "not a file"),
    "absent": (lambda path: None, "no such file"),
    "loop": (lambda path: path.symlink_to(path.name), "loop|symbolic"),
    "dangling link": (lambda path: path.symlink_to("nowhere.png"), "no such file"),
    "link out": (lambda path: path.symlink_to("/etc/hostname"), "nothing outside"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    make, reason = REFUSED[kind]
    root = tmp_path / "images"
    root.mkdir()
    make(root / "x.png")
    with pytest.raises(BadImage, match=reason) as caught:
        open_rgb(root, "x.png")
    assert "\n" not in str(caught.value)
    assert str(root / "x.png") in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # as between processes
    assert (again.path, again.reason, str(again)) == (caught.value.path, caught.value.reason, str(caught.value))


def test_more_than_the_limit_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PHOTO.save(tmp_path / "a.png")
    monkeypatch.setattr(pixels, "MAX_PIXELS", 2400)
    assert opened(tmp_path / "a.png").shape == (40, 60, 3)
    monkeypatch.setattr(pixels, "MAX_PIXELS", 2399)
    with pytest.raises(BadImage, match="60 x 40"):
        open_rgb(tmp_path, "a.png")


@pytest.mark.parametrize("way", ["file", "folder", "dots", "absolute"])
def test_nothing_outside_the_root_is_read(tmp_path: Path, way: str) -> None:
    root, outside = tmp_path / "images", tmp_path / "images-of-others"
    root.mkdir()
    outside.mkdir()
    PHOTO.save(outside / "secret.png")
    if way == "file":
        (root / "x.png").symlink_to(outside / "secret.png")
    elif way == "folder":
        (root / "there").symlink_to(outside)
    relative = {
        "file": "x.png",
        "folder": "there/secret.png",
        "dots": "../images-of-others/secret.png",
        "absolute": str(outside / "secret.png"),
    }[way]
    with pytest.raises(BadImage, match="nothing outside it is read"):
        open_rgb(root, relative)


def test_links_within_the_root_and_a_root_that_is_a_link_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    PHOTO.save(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "b.png").symlink_to("a.png")
    np.testing.assert_array_equal(opened(tmp_path / "root" / "b.png"), PIXELS)


SAMPLES: dict[str, bytes] = {}


def sample(suffix: str) -> bytes:
    if suffix not in SAMPLES:
        PHOTO.save(buffer := io.BytesIO(), {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
        SAMPLES[suffix] = buffer.getvalue()
    return SAMPLES[suffix]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["png", "jpg", "gif", "bmp", "tif", "webp"]),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=12),
    st.floats(0.02, 1),
)
def test_damaged_bytes_give_an_image_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, changes: list[tuple[int, int]], share: float
) -> None:
    content = bytearray(sample(suffix))
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / f"fuzzed.{suffix}"
    path.write_bytes(content[: max(1, int(share * len(content)))])
    with contextlib.suppress(BadImage):
        assert opened(path).ndim == 3


def test_the_former_place_of_the_opener_is_known() -> None:
    from fsgl.data import image_files

    assert image_files.open_rgb is open_rgb
