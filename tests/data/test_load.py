from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsgl.data.images.sources import ImageArrays
from fsgl.data.known import DATA_SETS
from fsgl.data.load import RELEASE_CIFAR100, DataSpec, LoadedData, load_data
from fsgl.data.stream.decoding import DecodingStream
from fsgl.data.stream.streams import ArrayStream, StreamSpec
from fsgl.errors import UserError

DIGITS = DataSpec("digits")
MakeCifar = Callable[[Path, str], Path]


def arrays(part: object) -> ImageArrays:
    assert isinstance(part, ImageArrays)
    return part


def all_labels(data: LoadedData) -> np.ndarray:
    return np.concatenate([data.train.labels, [] if data.val is None else data.val.labels]).astype(int)


def by_hand(n_max: int, classes: int, factor: float) -> list[int]:
    return [max(1, math.floor(n_max * (1 / factor) ** (k / (classes - 1)) + 1e-9)) for k in range(classes)]


@pytest.mark.parametrize("factor", [None, 1, 20, 100, 1000])
def test_digits_have_the_tail_that_was_asked_for(factor: float | None) -> None:
    data = load_data(replace(DIGITS, imbalance_factor=factor))
    drawn = np.bincount(all_labels(data), minlength=10)
    assert drawn.tolist() == by_hand(124, 10, factor or 20)  # 124: the smallest class of the training part
    assert data.spec.imbalance_factor == (factor or 20)
    assert data.counts.tolist() == np.bincount(data.train.labels, minlength=10).tolist()
    assert data.counts.dtype == np.int64
    assert np.bincount(data.test.labels).tolist() == [50] * 10
    if factor == 1:
        assert len(set(data.counts.tolist())) == 1


def test_small_classes_give_nothing_to_validation_and_are_listed() -> None:
    data = load_data(replace(DIGITS, imbalance_factor=100))
    assert data.val is not None
    drawn, spared = np.bincount(all_labels(data)), np.bincount(data.val.labels, minlength=10)
    assert data.without_validation == tuple(k for k in range(10) if drawn[k] <= 4) != ()
    assert not spared[list(data.without_validation)].any()
    assert (spared[drawn > 4] >= 1).all()
    assert data.describe()["classes_without_validation"] == list(data.without_validation)


def test_parts_share_no_image_and_make_up_the_draw() -> None:
    whole, parted = load_data(replace(DIGITS, val=0.0)), load_data(DIGITS)
    assert whole.val is None
    assert whole.without_validation == ()

    def images(*parts: object) -> list[bytes]:
        return sorted(image.tobytes() for part in parts for image in arrays(part).images)

    assert images(parted.train, parted.val) == images(whole.train)
    assert not set(images(whole.train)) & set(images(whole.test))


def test_hash_is_stable_and_tells_every_other_data_apart() -> None:
    base = load_data(DIGITS).hash
    assert load_data(DIGITS).hash == base
    assert load_data(replace(DIGITS, imbalance_factor=20, draw_seed=0)).hash == base  # the defaults, spelt out
    others = [
        replace(DIGITS, draw="release"),
        replace(DIGITS, draw_seed=1),
        replace(DIGITS, val_seed=1),
        replace(DIGITS, val=0.2),
        replace(DIGITS, val=0.0),
        replace(DIGITS, imbalance_factor=19),
    ]
    hashes = {load_data(spec).hash for spec in others}
    assert len(hashes) == len(others)
    assert base not in hashes


def test_description_is_what_was_loaded() -> None:
    data = load_data(DIGITS)
    assert data.val is not None
    assert data.describe() == {
        "split_hash": data.hash, "classes": 10, "train": len(data.train), "val": len(data.val), "test": 500,
        "largest_class": int(np.bincount(data.train.labels).max()),
        "smallest_class": int(np.bincount(data.train.labels).min()), "classes_without_validation": [],
        "image_size": 8, "array_size": [8, 8], "scale": None, "mean": list(data.mean), "std": list(data.std),
    }  # fmt: skip


def test_stream_and_evaluation_batches_of_arrays() -> None:
    data = load_data(DIGITS)
    stream = data.stream(StreamSpec(32, 2, 0.0, 0), "cpu")
    assert isinstance(stream, ArrayStream)
    assert stream.steps_per_epoch == math.ceil(len(data.train) / 32)
    images = torch.cat([batch.original.views[0] for batch in stream.batches(0)])
    assert images.shape == (len(data.train), 1, 8, 8)
    shown = torch.cat(list(data.evaluation_batches(data.test, "cpu")))
    expected = (arrays(data.test).images.transpose(0, 3, 1, 2) / 255 - data.mean[0]) / data.std[0]
    np.testing.assert_allclose(shown.numpy(), expected, atol=1e-5)


def test_digits_are_shifted_but_never_mirrored() -> None:
    transform = DATA_SETS["digits"].transform
    assert transform is not None
    assert (transform.padding, transform.flip) == (1, False)
    for name in ("cifar10", "cifar100"):
        transform = DATA_SETS[name].transform
        assert transform is not None
        assert (transform.padding, transform.flip) == (4, True)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_through_the_same_door(tmp_path: Path, make_cifar: MakeCifar, name: str) -> None:
    make_cifar(tmp_path, name)
    own, release = (load_data(DataSpec(name, str(tmp_path), normalization=rule)) for rule in ("own", "release"))
    assert own.spec.imbalance_factor == 100
    assert own.hash == release.hash
    assert (release.mean, release.std) == (RELEASE_CIFAR100 if name == "cifar100" else (own.mean, own.std))
    batch = next(iter(own.stream(StreamSpec(4, 2, 0.0, 0), "cpu").batches(0)))
    assert batch.original.views[0].shape[1:] == (3, 32, 32)
    assert len(torch.cat(list(own.evaluation_batches(own.test, "cpu")))) == len(own.test)


@pytest.mark.parametrize(("name", "n_max", "classes"), [("cifar10", 5000, 10), ("cifar100", 500, 100)])
def test_genuine_cifar_has_the_published_counts(cifar_root: Path, name: str, n_max: int, classes: int) -> None:
    data = load_data(DataSpec(name, str(cifar_root), imbalance_factor=50, val=0.0))
    assert data.counts.tolist() == by_hand(n_max, classes, 50)
    assert len(data.test) == 10_000


@pytest.fixture
def lists(tmp_path: Path) -> DataSpec:
    for kind, labels in (("train", [0, 0, 0, 0, 0, 0, 1]), ("test", [1, 0])):
        lines = []
        for i, label in enumerate(labels):
            Image.new("RGB", (9, 9), (40 * i, 0, 0)).save(tmp_path / f"{kind}{i}.png")
            lines.append(f"{kind}{i}.png {label}\n")
        (tmp_path / f"{kind}.txt").write_text("".join(lines))
    return DataSpec("imagenet-lt", str(tmp_path), str(tmp_path / "train.txt"), str(tmp_path / "test.txt"))


def test_lists_keep_their_own_tail(lists: DataSpec) -> None:
    data = load_data(lists)
    assert np.bincount(all_labels(data)).tolist() == [6, 1]
    assert data.without_validation == (1,)
    assert data.spec.imbalance_factor is None
    assert isinstance(data.stream(StreamSpec(2, 1, None, 0), "cpu"), DecodingStream)
    assert [batch.shape for batch in data.evaluation_batches(data.test, "cpu")] == [(2, 3, 224, 224)]
    assert load_data(lists).hash == data.hash
    assert len({load_data(replace(lists, val_seed=seed)).hash for seed in range(8)}) > 2


def test_validation_list_of_a_published_set_is_used_instead_of_carving(lists: DataSpec) -> None:
    assert lists.test_list is not None
    data = load_data(replace(lists, val_list=lists.test_list))
    assert data.val is not None
    assert data.val.labels.tolist() == [1, 0]
    assert data.counts.tolist() == [6, 1]
    assert data.without_validation == ()
    assert "found" not in data.describe()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "cifar-10"}, "did you mean 'cifar10'"),
        ({"name": "imagenet"}, "did you mean 'imagenet-lt'"),
        ({"draw": "ldma"}, "did you mean 'ldam'"),
        ({"normalization": "relase"}, "did you mean 'release'"),
        ({"val": 1.0}, "data.val"),
        ({"val": -0.1}, "data.val"),
        ({"val": math.nan}, "data.val"),
        ({"imbalance_factor": 0.99}, "from 1 to 1000"),
        ({"imbalance_factor": 1001.0}, "from 1 to 1000"),
        ({"imbalance_factor": math.nan}, "from 1 to 1000"),
        ({"name": "imagenet-lt", "train_list": "a", "test_list": "b", "imbalance_factor": 10}, "its own tail"),
        ({"name": "digits", "train_list": "a"}, "not given by lists"),
        ({"name": "cifar10", "test_list": "a"}, "not given by lists"),
        ({"name": "imagenet-lt"}, "needs data.train_list and data.test_list"),
        ({"name": "places-lt", "train_list": "a"}, "needs data.train_list and data.test_list"),
        ({"name": "lists", "test_list": "b"}, "lists needs data.train_list"),
        ({"name": "own", "root": "a/pets", "train_list": "a"}, "pets is not given by lists.*--data lists"),
        ({"name": "own", "root": "a/pets", "imbalance_factor": 10}, "pets has its own tail"),
        ({"name": "digits", "images": "x"}, "data.images does not apply"),
        ({"name": "lists", "train_list": "a", "images": "x"}, "data.images does not apply"),
        ({"name": "cifar10", "test": 0.2}, "cifar10 has a test set"),
        ({"name": "imagenet-lt", "train_list": "a", "test_list": "b", "test_seed": 1}, "has a test set"),
        ({"name": "own", "test": 0.0}, "data.test must be above 0 and below 1"),
        ({"name": "own", "test": 1.0}, "data.test must be above 0 and below 1"),
        ({"name": "own", "test": math.nan}, "data.test must be above 0 and below 1"),
        ({"name": "digits", "draw_seed": -1}, "draw_seed"),
        ({"name": "digits", "draw_seed": 2**32}, "draw_seed"),
    ],
)
def test_impossible_and_unused_settings_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        DataSpec(**settings)
    assert "\n" not in str(caught.value)
