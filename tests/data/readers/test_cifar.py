from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsgl.data.draw.imbalance import draw_long_tail, exponential_counts
from fsgl.data.images.sources import ImageArrays, Images, pixel_statistics
from fsgl.data.readers.cifar import load_cifar
from fsgl.errors import UserError

CLASSES = {"cifar10": 10, "cifar100": 100}
each_set = pytest.mark.parametrize("name", sorted(CLASSES))
MakeCifar = Callable[[Path, str], Path]


def in_memory(images: Images) -> ImageArrays:
    assert isinstance(images, ImageArrays)
    return images


def change(path: Path, **items: Any) -> None:
    value = pickle.loads(path.read_bytes())
    for key, item in items.items():
        if item is None:
            del value[key.encode()]
        else:
            value[key.encode()] = item
    path.write_bytes(pickle.dumps(value, 4))


@each_set
def test_folder_is_read_pixel_by_pixel(tmp_path: Path, make_cifar: MakeCifar, name: str) -> None:
    folder = make_cifar(tmp_path, name)
    source = load_cifar(name, tmp_path, download=False)
    assert source.class_names == tuple(f"class {k}" for k in range(CLASSES[name]))
    trained = ["train"] if name == "cifar100" else [f"data_batch_{i}" for i in range(1, 6)]
    tested = ["test"] if name == "cifar100" else ["test_batch"]
    for part, files in ((source.train, trained), (source.test, tested)):
        batches = [pickle.loads((folder / file).read_bytes()) for file in files]
        rows = [row for batch in batches for row in batch[b"data"]]
        images = in_memory(part).images
        assert images.shape == (len(rows), 32, 32, 3)
        assert images.flags.c_contiguous
        assert images.flags.writeable
        assert part.labels.tolist() == [
            label for batch in batches for label in batch[b"labels" if name == "cifar10" else b"fine_labels"]
        ]
        # A row is three planes of 32 rows of 32 pixels.
        for n, colour, y, x in ((0, 0, 0, 0), (3, 1, 5, 31), (len(rows) - 1, 2, 31, 7), (9, 0, 2, 4)):
            assert images[n, y, x, colour] == rows[n][colour * 1024 + y * 32 + x]


def test_unknown_name_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown CIFAR data set 'cifar-10'; did you mean 'cifar10'"):
        load_cifar("cifar-10", tmp_path)


@each_set
def test_missing_file_is_named(tmp_path: Path, make_cifar: MakeCifar, name: str) -> None:
    folder = make_cifar(tmp_path, name)
    for path in folder.iterdir():
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match=rf"'{path}'"):
            load_cifar(name, tmp_path)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"data": np.zeros((10, 3071), dtype=np.uint8)}, r"uint8 rows of 3072 pixel values, not uint8 \(10, 3071\)"),
        ({"data": np.zeros((10, 3072), dtype=np.int64)}, r"uint8 rows of 3072 pixel values, not int64"),
        ({"data": [1, 2]}, "not list"),
        ({"data": None}, "has no 'data' or no 'labels'"),
        ({"labels": None}, "has no 'data' or no 'labels'"),
        ({"labels": [0] * 9}, "has 10 images and 9 labels"),
        ({"labels": [0] * 4 + [10] + [0] * 5}, "image 4 has label 10, outside 0 to 9"),
        ({"labels": [0] * 9 + [-1]}, "image 9 has label -1, outside 0 to 9"),
        ({"labels": [0] * 9 + ["1"]}, "'labels' is not a list of whole numbers"),
        ({"labels": [0] * 9 + [[1]]}, "'labels' is not a list of whole numbers"),
        ({"labels": [0] * 9 + [2**80]}, "'labels' is not a list of whole numbers"),
        ({"labels": [], "data": np.zeros((0, 3072), dtype=np.uint8)}, "has 0 images and 0 labels"),
    ],
)
def test_malformed_batch_is_named(tmp_path: Path, make_cifar: MakeCifar, items: dict[str, Any], message: str) -> None:
    path = make_cifar(tmp_path, "cifar10") / "data_batch_3"
    change(path, **items)
    with pytest.raises(UserError, match=message) as caught:
        load_cifar("cifar10", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("names", [["a"] * 9, "abcdefghij", [1] * 10])
def test_malformed_class_names_are_named(tmp_path: Path, make_cifar: MakeCifar, names: object) -> None:
    path = make_cifar(tmp_path, "cifar10") / "batches.meta"
    path.write_bytes(pickle.dumps({"label_names": names}))
    with pytest.raises(UserError, match=rf"'{path}': 'label_names' must be a list of 10 names"):
        load_cifar("cifar10", tmp_path)


def test_hostile_batch_is_refused(tmp_path: Path, make_cifar: MakeCifar) -> None:
    path = make_cifar(tmp_path, "cifar10") / "data_batch_3"
    path.write_bytes(b"cposix\nsystem\n(S'touch " + bytes(tmp_path / "proof") + b"'\ntR.")
    with pytest.raises(UserError, match=r"data_batch_3.*'posix\.system'"):
        load_cifar("cifar10", tmp_path)
    assert not (tmp_path / "proof").exists()


def test_present_folder_needs_neither_torch_nor_network(
    tmp_path: Path, make_cifar: MakeCifar, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cifar(tmp_path, "cifar10")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    load_cifar("cifar10", tmp_path)


@each_set
def test_genuine_set(cifar_root: Path, name: str) -> None:
    source = load_cifar(name, cifar_root, download=False)
    train = in_memory(source.train)
    classes = CLASSES[name]
    assert train.images.shape == (50_000, 32, 32, 3)
    assert np.bincount(source.train.labels).tolist() == [50_000 // classes] * classes
    assert np.bincount(source.test.labels).tolist() == [10_000 // classes] * classes
    first = {"cifar10": ("airplane", "truck"), "cifar100": ("apple", "worm")}[name]
    assert (source.class_names[0], source.class_names[-1]) == first
    mean, std = pixel_statistics(train.images)
    np.testing.assert_allclose(source.mean, mean, atol=5e-8)
    np.testing.assert_allclose(source.std, std, atol=5e-8)
    counts = exponential_counts(50_000 // classes, classes, 100)
    drawn = train.take(draw_long_tail(train.labels, counts))
    assert np.bincount(drawn.labels).tolist() == counts.tolist()
