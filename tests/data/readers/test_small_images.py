from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.sources import ImageArrays, ImageFiles, Source
from fsgl.data.readers import small_images
from fsgl.data.readers.small_images import SMALL_SIDE, keep_small_images
from fsgl.errors import UserError


def folder(root: Path, sizes: list[tuple[int, int]], test: int = 0) -> Source:
    """PNG files of random pixels; the last ``test`` of them are test images."""
    random = np.random.default_rng(0)
    for i, (width, height) in enumerate(sizes):
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / f"{i}.png")
    whole = ImageFiles(root, tuple(f"{i}.png" for i in range(len(sizes))), np.arange(len(sizes)) % 2)
    train = whole.take(np.arange(len(sizes) - test))
    given = whole.take(np.arange(len(sizes) - test, len(sizes))) if test else None
    return Source("x", train, given, ("a", "b"), (0.5,) * 3, (0.2,) * 3, notes=("note",))


def test_small_images_of_one_size_are_decoded(tmp_path: Path) -> None:
    source = folder(tmp_path, [(SMALL_SIDE, 40)] * 7, test=3)
    kept = keep_small_images(source)
    assert isinstance(kept.train, ImageArrays)
    assert isinstance(kept.test, ImageArrays)
    for part, first in ((kept.train, 0), (kept.test, 4)):
        assert part.images.shape == (len(part), 40, SMALL_SIDE, 3)
        for i, image in enumerate(part.images):
            np.testing.assert_array_equal(image, np.asarray(Image.open(tmp_path / f"{first + i}.png")))
    assert kept.train.labels.tolist() == source.train.labels.tolist()
    np.testing.assert_allclose(kept.mean, (kept.train.images / 255).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(kept.std, (kept.train.images / 255).std(axis=(0, 1, 2)))
    assert kept.val is None
    assert kept.notes == ("note", "64 x 40 pixels, kept in memory")


@pytest.mark.parametrize(
    "sizes",
    [[(SMALL_SIDE + 1, 8)] * 3, [(8, SMALL_SIDE + 1)] * 3, [(8, 8), (8, 9)], [(8, 8)] * 40 + [(9, 8)] + [(8, 8)] * 40],
)
def test_other_images_stay_files(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    source = folder(tmp_path, sizes)
    assert keep_small_images(source) is source


def test_as_many_as_do_not_fit_stay_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path, [(8, 8)] * 4)
    monkeypatch.setattr(small_images, "MOST_BYTES", 4 * 8 * 8 * 3)
    assert keep_small_images(source) is not source
    monkeypatch.setattr(small_images, "MOST_BYTES", 4 * 8 * 8 * 3 - 1)
    assert keep_small_images(source) is source


def test_unreadable_images_are_an_error_or_left_out_and_counted(tmp_path: Path) -> None:
    source = folder(tmp_path, [(8, 8)] * 6, test=2)
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "5.png").write_bytes(b"no image")
    with pytest.raises(BadImage, match=r"0\.png: empty"):
        keep_small_images(source)
    kept = keep_small_images(source, skip_bad=True)
    assert kept.train.labels.tolist() == source.train.labels.tolist()[1:]
    assert kept.test is not None
    assert (len(kept.train), len(kept.test)) == (3, 1)
    assert isinstance(kept.train, ImageArrays)
    np.testing.assert_array_equal(kept.train.images[0], np.asarray(Image.open(tmp_path / "1.png")))
    assert kept.notes[-1] == f"passed over: 2 files that give no image, the first {tmp_path / '0.png'}: empty"


def test_no_readable_training_image(tmp_path: Path) -> None:
    source = folder(tmp_path, [(8, 8)] * 4, test=2)
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"x: none of the training images can be read, the first .*0\.png: empty"):
        keep_small_images(source, skip_bad=True)


def test_nothing_readable_at_all_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    source = folder(tmp_path, [(8, 8)] * 2)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert keep_small_images(source, skip_bad=True) is source


def test_arrays_stay_what_they_are() -> None:
    arrays = ImageArrays(np.zeros((2, 8, 8, 1), dtype=np.uint8), np.array([0, 1]))
    source = Source("x", arrays, None, ("a", "b"), (0.5,), (0.2,))
    assert keep_small_images(source) is source
