"""What arrays and Datasets from Python are understood to be, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fsgl.data.images.sources import ImageArrays, Source
from fsgl.data.readers.arrays import as_pixels, read_arrays, save_arrays
from fsgl.data.readers.own import find_source
from fsgl.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (6, 8, 5, 3), dtype=np.uint8)
Y = [0, 0, 0, 7, 7, 7]
CHANNELS_FIRST = np.moveaxis(X, 3, 1)


def train_part(source: Source) -> ImageArrays:
    assert isinstance(source.train, ImageArrays)
    return source.train


class Pairs:
    """A Dataset as torch wants one, of PIL images, with names as torchvision's have."""

    classes = ("cat", "dog")

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, place: int) -> tuple[Image.Image, int]:
        return Image.fromarray(X[place]), int(place >= 3)


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        yield from zip(X, Y, strict=True)


class Unmeasured(Dataset):
    def __getitem__(self, place: int) -> Any:
        return X[place], int(Y[place])


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (X, ""),
        (list(X), ""),
        ([Image.fromarray(each) for each in X], ""),
        (CHANNELS_FIRST, "channels first"),
        (X / 255, "0 (black) to 1 (white)"),
        (X.astype(np.float32), "255 is white"),
        (X.astype(np.int32), "255 is white"),
        (torch.tensor(CHANNELS_FIRST / 255, requires_grad=True), "channels first"),
    ],
    ids=["8-bit", "list", "PIL", "channels first", "fractions", "floats", "integers", "tensor"],
)
def test_the_same_images_however_they_are_given(images: Any, said: str) -> None:
    source = read_arrays((images, Y))
    np.testing.assert_array_equal(train_part(source).images, X)
    assert train_part(source).labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (source.class_names, source.given["classes"]) == (("0", "7"), [0, 7])
    assert said in " ".join(source.notes)
    assert bool(said) == bool(source.notes)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array(Y, dtype=np.float32), [0, 7]),
        (["b", "b", "b", "a", "a", "a"], ["a", "b"]),
        (np.array(Y, dtype=object) == 7, [False, True]),
        (torch.tensor(Y)[:, None], [0, 7]),
        (["07", "07", "07", "7", "7", "7"], ["07", "7"]),
        (["10", "10", "10", "2", "2", "2"], ["10", "2"]),
    ],
)
def test_labels_of_any_kind_come_back_from_the_kept_file(labels: Any, classes: list[Any], tmp_path: Path) -> None:
    source = read_arrays((X[..., 0], labels), test=(X[..., 1], labels), val=(X[..., 2], labels))
    assert source.given["classes"] == classes
    save_arrays(source, tmp_path / "arrays.npz")
    again = find_source(tmp_path / "arrays.npz")
    assert (again.class_names, again.given) == (source.class_names, source.given)
    for part in ("train", "val", "test"):
        kept, first = getattr(again, part), getattr(source, part)
        np.testing.assert_array_equal(kept.images, first.images)
        np.testing.assert_array_equal(kept.labels, first.labels)
    assert (again.mean, again.std) == (source.mean, source.std)


def test_datasets_are_read_with_their_classes_names() -> None:
    source = read_arrays(Pairs())  # type: ignore[arg-type]
    np.testing.assert_array_equal(train_part(source).images, X)
    assert (source.class_names, source.given["classes"]) == (("cat", "dog"), [0, 1])
    tensors = TensorDataset(torch.tensor(CHANNELS_FIRST) / 255, torch.tensor(Y))
    np.testing.assert_array_equal(train_part(read_arrays(tensors)).images, X)


NAN = np.where(np.arange(6)[:, None, None, None] == 3, np.nan, X / 255)
REFUSED: dict[str, tuple[Any, str]] = {
    "no labels": (X, "a pair"),
    "nothing": (None, "NoneType"),
    "stream": (Stream(), "no length"),
    "dataset without a length": (Unmeasured(), "no length"),
    "loader": (DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=2), "loader.dataset"),
    "one class": ((X, [3] * 6), "all training images are of one class, 3"),
    "too few labels": ((X, Y[:5]), "6 training images and 5 labels"),
    "one-hot": ((X, np.eye(2)[[0, 0, 0, 1, 1, 1]]), "argmax"),
    "fractions for labels": ((X, [0.5, 1, 1, 1, 1, 1]), "fractions such as 0.5"),
    "NaN for a label": ((X, [0, 1, np.nan, 1, 1, 1]), "label 2"),
    "missing label": ((X, [0, 1, None, 1, 1, 1]), "None"),
    "mixed labels": ((X, ["a", 1, 1, 1, 1, 1]), "several kinds: int, str"),
    "empty name": ((X, ["a", "", "b", "b", "b", "b"]), "label 1 of the training images is an empty name"),
    "empty": ((X[:0], []), "no training images"),
    "NaN": ((NAN, Y), "image 3 of the training images holds NaN"),
    "normalised": ((X / 128 - 1, Y), "as after a normalisation"),
    "16 bits": ((X.astype(np.uint16) * 257, Y), "images // 257"),
    "four channels": ((np.concatenate([X, X[..., :1]], 3), Y), "fourth channel"),
    "channels in doubt": ((X[:, :3, :, :], Y), "channels first or last"),
    "one image": ((X[0], Y), r"images\[None\]"),
    "table": ((X.reshape(6, -1), Y), "6 x 120"),
    "several sizes": (([X[0], X[1][:4], *X[2:]], Y), "several sizes"),
    "text": ((np.full((6, 4, 4), "a"), Y), "wanted are numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(case: str) -> None:
    data, said = REFUSED[case]
    with pytest.raises(UserError, match=said) as error:
        read_arrays(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ((X, [0, 0, 0, 0, 0, 8]), "label 8 is no class"),
        ((X, ["0"] * 6), "labels are <U1, those trained with int64"),
        ((X[:, :4], Y), "5 x 4 pixels, RGB, the training images 5 x 8"),
        ((X[..., 0], Y), "grey"),
        ((X.astype(float), Y), "reach to 255, but white is 1"),
    ],
)
def test_other_parts_must_be_like_the_training_images(test: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_arrays((X / 255, Y), test=test)


def test_dark_fractions_beside_fractions_stay_dark() -> None:
    """Each part's numbers mean what those of the training images do, whatever they reach to."""
    levels = np.linspace(0, 255, 6 * 40).reshape(6, 8, 5)
    test = train_part(read_arrays((levels, Y), val=(np.ones_like(levels), Y))), None
    assert test[0].images.max() == 255
    val = read_arrays((levels, Y), val=(np.ones_like(levels), Y)).val
    assert isinstance(val, ImageArrays)
    assert (val.images == 1).all()


@settings(max_examples=50)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(4, 6), st.integers(4, 6))))
def test_fractions_of_8_bits_come_back_exactly(levels: np.ndarray) -> None:
    for kind in (np.float32, np.float64):
        np.testing.assert_array_equal(as_pixels(levels.astype(kind) / 255, white=1.0)[0][..., 0], levels)


@pytest.mark.parametrize(
    "about",
    ["[]", "{", '{"names": ["a"], "classes": [1], "white": 1}', '{"names": ["a", "a"], "classes": [1, 2], "white": 1}',
     '{"names": ["a", "b"], "classes": [1, null], "white": 1}', '{"names": ["a", "b"], "classes": [1, 2], "white": 3}'],
)  # fmt: skip
def test_damaged_kept_file_is_refused(about: str, tmp_path: Path) -> None:
    source = read_arrays((X, Y))
    save_arrays(source, tmp_path / "arrays.npz")
    with np.load(tmp_path / "arrays.npz") as saved:
        assert json.loads(str(saved["fsgl"])) == source.given
        members = {name: saved[name] for name in saved.files}
    np.savez(tmp_path / "arrays.npz", **{**members, "fsgl": np.array(about)})
    with pytest.raises(UserError, match="member 'fsgl'"):
        find_source(tmp_path / "arrays.npz")
