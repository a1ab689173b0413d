"""Images of more than 8 bits: the values themselves, the scale of a set, and what a network is shown of them."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsgl.data.images.image_files import BadImage, open_rgb
from fsgl.data.images.pixels import (
    ImageProblem,
    Shape,
    extent_of,
    own_scale,
    to_8_bits,
    upright_rgb,
    view,
)
from fsgl.data.images.scale import SIXTEEN_BITS, Extent, Scale, scale_of


def png(values: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits, by the standard; Pillow writes only the grey one."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(values: np.ndarray, order: str, sample_format: int = 1, photometric: int | None = None) -> bytes:
    """A TIFF of whole numbers or fractions in either order of bytes, by the standard."""
    values = values if values.ndim == 3 else values[..., None]
    height, width, channels = values.shape
    bits, data = 8 * values.dtype.itemsize, values.astype(values.dtype.newbyteorder(order)).tobytes()
    photometric = (2 if channels > 2 else 1) if photometric is None else photometric
    rows = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, None), (259, 3, 1, 1), (262, 3, 1, photometric),
        (273, 4, 1, None), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(data)),
        *([(338, 3, 1, 2)] if channels == 4 else []), *([(339, 3, 1, sample_format)] if channels == 1 else []),
    ]  # fmt: skip
    after = 8 + 2 + 12 * len(rows) + 4
    many = struct.pack(f"{order}{channels}H", *[bits] * channels) if channels > 2 else b""
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(rows))
    for tag, kind, count, value in rows:
        if tag == 258:
            cell = struct.pack(order + "I", after) if many else struct.pack(order + "HH", bits, 0)
        elif tag == 273:
            cell = struct.pack(order + "I", after + len(many))
        else:
            cell = struct.pack(order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
        out += struct.pack(order + "HHI", tag, kind, count) + cell
    return out + struct.pack(order + "I", 0) + many + data


def saved(values: np.ndarray, form: str, **options: object) -> bytes:
    Image.fromarray(values).save(buffer := io.BytesIO(), form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def drawn(most: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(most).integers(0, most + 1, (*shape,), dtype=np.uint16)


FILES = {
    "grey png": lambda grey, colour, clear: (saved(grey, "PNG"), grey),
    "grey tiff": lambda grey, colour, clear: (saved(grey, "TIFF"), grey),
    "grey tiff lzw": lambda grey, colour, clear: (saved(grey, "TIFF", compression="tiff_lzw"), grey),
    "grey tiff big-endian": lambda grey, colour, clear: (tiff(grey, ">"), grey),
    "white is zero": lambda grey, colour, clear: (tiff(65535 - grey, "<", photometric=0), grey),
    "int32 tiff": lambda grey, colour, clear: (saved(grey.astype(np.int32), "TIFF"), grey),
    "int32 big-endian": lambda grey, colour, clear: (tiff(grey.astype(np.int32), ">", 2), grey),
    "uint32 tiff": lambda grey, colour, clear: (tiff(grey.astype(np.uint32) << 16, "<"), grey.astype(np.uint32) << 16),
    "int16 tiff": lambda grey, colour, clear: (tiff((grey // 2).astype(np.int16), "<", 2), grey // 2),
    "float tiff": lambda grey, colour, clear: (saved(grey.astype(np.float32), "TIFF"), grey),
    "float big-endian": lambda grey, colour, clear: (tiff(grey.astype(np.float32), ">", 3), grey),
    "pgm": lambda grey, colour, clear: (saved(grey, "PPM"), grey),
    "jpeg 2000": lambda grey, colour, clear: (saved(grey, "JPEG2000"), grey),
    "colour png": lambda grey, colour, clear: (png(colour, 2), colour),
    "colour and alpha png": lambda grey, colour, clear: (png(clear, 6), clear[..., :3]),
    "grey and alpha png": lambda grey, colour, clear: (png(clear[..., 2:], 4), clear[..., 2]),
    "colour tiff": lambda grey, colour, clear: (tiff(colour, "<"), colour),
    "colour tiff big-endian": lambda grey, colour, clear: (tiff(colour, ">"), colour),
    "colour and alpha tiff": lambda grey, colour, clear: (tiff(clear, "<"), clear[..., :3]),
    "colour ppm": lambda grey, colour, clear: (b"P6 7 5 65535\n" + colour.astype(">u2").tobytes(), colour),
}


@pytest.mark.parametrize("most", [255, 4095, 16383, 65535])
@pytest.mark.parametrize("kind", FILES)
def test_the_values_of_a_file_are_those_that_were_written(kind: str, most: int) -> None:
    grey, colour, clear = drawn(most, 5, 7), drawn(most, 5, 7, 3), drawn(most, 5, 7, 4)
    clear[..., 3] = 65535
    content, values = FILES[kind](grey, colour, clear)
    file = io.BytesIO(content)
    extent = extent_of(file)
    assert extent is not None
    assert (extent.low, extent.high) == (values.min(), values.max())
    scale = Scale(0, float(values.max()), given=True)
    expected = np.floor(255 * values.astype(float) / values.max() + 0.5)
    found = np.asarray(upright_rgb(file, scale))
    np.testing.assert_allclose(found, expected if expected.ndim == 3 else np.stack([expected] * 3, 2), atol=1)
    with pytest.raises(ImageProblem, match="no known white level"):
        upright_rgb(file)


@pytest.mark.parametrize(
    ("extents", "black", "white"),
    [
        ([(0, 255, True)], 0, 255),
        ([(0, 100, True), (0, 256, True)], 0, 1023),
        ([(3, 1023, True)], 0, 1023),
        ([(0, 1024, True)], 0, 4095),
        ([(0, 4095, True)], 0, 4095),
        ([(0, 16000, True)], 0, 16383),
        ([(0, 65535, True)], 0, 65535),
        ([(0, 70000, True), (0, 255, True)], 0, 2**17 - 1),
        ([(0, 1, True)], 0, 1),
        ([(0, 9, True)], 0, 15),
        ([(-1000, 3071, True)], -1024, 4095),
        ([(0.0, 1.0, False)], 0, 1),
        ([(0.0, 1.0, False), (0, 0, True)], 0, 1),
        ([(0.0, 254.6, False)], 0, 255),
        ([(0.0, 0.0123, False)], 0, 0.013),
        ([(0.0, 1234.5, False)], 0, 1300),
        ([(-0.5, 0.5, False)], -0.5, 1),
    ],
)
def test_the_scale_of_a_set(extents: list[tuple[float, float, bool]], black: float, white: float) -> None:
    assert scale_of([Extent(*each) for each in extents]) == Scale(black, white)


def test_whole_numbers_and_fractions_have_no_common_scale() -> None:
    with pytest.raises(ValueError, match=r"4,095 and 1"):
        scale_of([Extent(0, 4000, True), Extent(0, 0.9, False)])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([255, 1023, 4095, 16383, 65535]), st.integers(0, 2**32 - 1))
def test_scaling_keeps_order_and_reaches_both_ends(white: int, seed: int) -> None:
    values = np.sort(np.random.default_rng(seed).integers(0, white + 1, 200).astype(np.uint16))
    values[0], values[-1] = 0, white
    found = to_8_bits(values, Scale(0, white))
    assert (np.diff(found.astype(int)) >= 0).all()
    assert (found[0], found[-1]) == (0, 255)
    assert np.abs(found / 255 - values / white).max() < 1 / 255


def test_sixteen_whole_bits_keep_the_upper_eight() -> None:
    values = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_8_bits(values, SIXTEEN_BITS), values >> 8)


def test_an_image_of_another_scale_than_its_set_is_refused_unless_the_scale_was_given() -> None:
    file = io.BytesIO(saved(np.linspace(0, 60000, 64).reshape(8, 8).astype(np.uint16), "PNG"))
    with pytest.raises(ImageProblem, match=r"0 to 60,000.*4,095 \(white\)"):
        upright_rgb(file, Scale(0, 4095))
    assert np.asarray(upright_rgb(file, Scale(0, 4095, given=True))).max() == 255
    hot = np.full((20, 20), 4000, np.uint16)
    hot[0, 0] = 65535  # one hot pixel is no other scale
    assert np.asarray(upright_rgb(io.BytesIO(saved(hot, "PNG")), Scale(0, 4095)))[1, 1, 0] == 4000 >> 4


def test_pixels_that_are_no_numbers_give_no_image() -> None:
    values = np.array([[0.0, np.nan], [1.0, 0.5]], np.float32)
    with pytest.raises(ImageProblem, match="no numbers"):
        extent_of(io.BytesIO(saved(values, "TIFF")))


def test_a_lone_image_has_the_scale_of_those_beside_it(tmp_path: Path) -> None:
    for top in (255, 256, 1023, 70000):
        Image.fromarray(np.linspace(0, top, 64).reshape(8, 8).astype(np.int32)).save(tmp_path / f"{top}.tif")
    for top in (255, 256, 1023, 70000):
        assert np.asarray(open_rgb(tmp_path, f"{top}.tif")).max() == top >> 9
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "fraction.tif")
    from fsgl.data.images import image_files

    image_files._scale_in.cache_clear()
    with pytest.raises(BadImage, match="another scale"):
        open_rgb(tmp_path, "fraction.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_are_turned_as_eight_are(tmp_path: Path, orientation: int) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / "8.png", exif=exif)
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "16.png", exif=exif)
    turned = upright_rgb(tmp_path / "16.png", own_scale(tmp_path / "16.png"))
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(upright_rgb(tmp_path / "8.png")))


def test_transparency_of_sixteen_bits_is_laid_on_white() -> None:
    clear = np.full((2, 3, 4), 1000, np.uint16)
    clear[..., 3] = 65535
    clear[0, 0, 3] = 0
    found = np.asarray(upright_rgb(io.BytesIO(png(clear, 6)), Scale(0, 4095)))
    assert found[0, 0].tolist() == [255] * 3
    assert found[1, 1].tolist() == [1000 >> 4] * 3


def test_one_transparent_colour_of_sixteen_bits_is_white() -> None:
    colours = np.full((2, 3, 3), 1000, np.uint16)
    colours[0, 0] = 1001, 1000, 1000
    content = png(colours, 2)
    end = 8 + 25  # the signature and IHDR
    name, body = b"tRNS", np.array([1001, 1000, 1000], ">u2").tobytes()
    chunk = len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
    found = np.asarray(upright_rgb(io.BytesIO(content[:end] + chunk + content[end:]), Scale(0, 4095)))
    assert found[0, 0].tolist() == [255] * 3
    assert found[1, 1].tolist() == [1000 >> 4] * 3


@pytest.mark.parametrize("size", list(itertools.product((5, 8, 30), (5, 8, 47))))
def test_views_of_networks_of_small_images_are_the_middle_resized(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
    side = min(size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((8, 8), Image.Resampling.BILINEAR)
    shown = view(image, Shape(8, 8, 1, photograph=False))
    np.testing.assert_array_equal(shown[..., 0], np.asarray(square.convert("L")))


def test_a_photograph_shown_whole_has_its_middle_above_and_all_of_it_pressed_into_a_square_below() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8))
    shape = Shape(32, 16, 3, photograph=True, whole=True)
    shown = view(image, shape)
    np.testing.assert_array_equal(shown[:16], view(image, Shape(16, 16, 3, photograph=True)))
    np.testing.assert_array_equal(shown[16:], np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)))
    assert shape.enough == 32
