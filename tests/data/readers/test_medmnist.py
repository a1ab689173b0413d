from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsgl.data.images.sources import ImageArrays
from fsgl.data.readers import medmnist
from fsgl.data.readers.medmnist import read_medmnist, statistics
from fsgl.errors import UserError

RANDOM = np.random.default_rng(0)


def grey(count: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, *(shape or (28, 28))), dtype=np.uint8)


def column(*labels: int) -> np.ndarray:
    return np.array(labels, dtype=np.uint8)[:, None]


def save(folder: Path, **arrays: Any) -> Path:
    np.savez_compressed(folder / "pathmnist.npz", **arrays)
    return folder / "pathmnist.npz"


def header(shape: str, descr: str = "'|u1'") -> bytes:
    """An .npy file's header by hand (NEP 1)."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def members(folder: Path, **contents: bytes) -> Path:
    labels = io.BytesIO()
    np.save(labels, column(0, 1))
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"train_labels": labels.getvalue(), **contents}.items():
            archive.writestr(f"{name}.npy", content)
    return folder / "x.npz"


@pytest.mark.parametrize("shape", [(28, 28), (20, 28, 1), (28, 28, 3)])
def test_layout_of_medmnist(tmp_path: Path, shape: tuple[int, ...]) -> None:
    train, val, test = grey(4, *shape), grey(2, *shape), grey(3, *shape)
    source = read_medmnist(
        save(
            tmp_path, train_images=train, train_labels=column(5, 2, 2, 11), val_images=val, val_labels=column(2, 5),
            test_images=test, test_labels=column(11, 11, 5), info=np.zeros(3),
        )
    )  # fmt: skip
    assert source.class_names == ("2", "5", "11")
    channels = 3 if shape[-1] == 3 else 1
    for found, images, labels in (
        (source.train, train, [1, 0, 0, 2]),
        (source.val, val, [0, 1]),
        (source.test, test, [2, 2, 1]),
    ):
        assert isinstance(found, ImageArrays)
        np.testing.assert_array_equal(found.images, images.reshape(len(images), *shape[:2], channels))
        assert found.labels.tolist() == labels
    np.testing.assert_allclose(source.mean, (train / 255).reshape(-1, channels).mean(axis=0))
    np.testing.assert_allclose(source.std, (train / 255).reshape(-1, channels).std(axis=0))
    colour = "RGB" if channels == 3 else "grey"
    assert source.found == (
        f"arrays of 28 x {shape[0]} pixels, {colour}: 3 classes; 4 training, 2 validation and 3 test images"
    )
    assert source.name == "pathmnist"


def test_training_part_alone_with_names(tmp_path: Path) -> None:
    source = read_medmnist(save(tmp_path, train_images=grey(3), train_labels=np.array(["b", "a", "b"])))
    assert (source.val, source.test, source.class_names) == (None, None, ("a", "b"))
    assert source.train.labels.tolist() == [1, 0, 1]


def test_images_all_alike_have_a_deviation() -> None:
    assert statistics(np.full((2, 3, 3, 1), 255, dtype=np.uint8)) == ((1.0,), (1 / 255,))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": grey(1)}, "no train_images and train_labels in it"),
        ({"test_images": grey(2), "test_labels": column(1, 2)}, "no train_images and train_labels"),
        ({"train_images": grey(2)}, "has train_images but no train_labels"),
        (
            {"train_images": grey(2), "train_labels": column(1, 2), "val_labels": column(1)},
            "val_labels but no val_images",
        ),
        (
            {"train_images": grey(2, 8, 8, 8, 8), "train_labels": column(1, 2)},
            r"train_images is uint8 \(2, 8, 8, 8, 8\)",
        ),
        ({"train_images": grey(2, 28, 28, 28), "train_labels": column(1, 2)}, r"wanted is uint8 N x H x W \(grey\)"),
        ({"train_images": grey(2, 8, 8, 4), "train_labels": column(1, 2)}, r"train_images is uint8 \(2, 8, 8, 4\)"),
        ({"train_images": grey(2) / 255, "train_labels": column(1, 2)}, r"train_images is float64"),
        ({"train_images": grey(2, 0, 8), "train_labels": column(1, 2)}, r"train_images is uint8 \(2, 0, 8, 1\)"),
        ({"train_images": grey(0), "train_labels": column()}, "no training images"),
        ({"train_images": grey(2), "train_labels": np.eye(14)[:2].astype(int)}, "14 columns, several labels an image"),
        ({"train_images": grey(2), "train_labels": column(1, 2, 3)}, r"train_labels is uint8 \(3, 1\); wanted are 2"),
        ({"train_images": grey(2), "train_labels": np.zeros(2)}, "train_labels is float64"),
        ({"train_images": grey(2), "train_labels": np.array(["a", ""])}, "train_labels: image 1 has no label"),
        (
            {
                "train_images": grey(2),
                "train_labels": column(1, 2),
                "test_images": grey(1, 8, 8),
                "test_labels": column(1),
            },
            r"the parts differ in the images' shape: \(8, 8, 1\), \(28, 28, 1\)",
        ),
    ],
)
def test_other_layouts_are_refused_in_one_line(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_medmnist(save(tmp_path, **arrays))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    objects = np.array([Bomb()] * 2, dtype=object)
    with pytest.raises(UserError, match="train_images holds Python objects, which are never loaded"):
        read_medmnist(save(tmp_path, train_images=objects, train_labels=column(0, 1)))
    with pytest.raises(UserError, match="train_images holds Python objects"):
        read_medmnist(members(tmp_path, train_images=header("(2, 4, 4)", "'|O'") + pickle.dumps(Bomb())))
    with pytest.raises(UserError, match="the header of an array is damaged"):
        read_medmnist(members(tmp_path, train_images=pickle.dumps(Bomb())))


@pytest.mark.parametrize("shape", ["(2, 4)", "(2, 4, 5)", "(2, 999999999, 999999999)", "(2, 0, 4)"])
def test_header_must_agree_with_what_is_there(tmp_path: Path, shape: str) -> None:
    with pytest.raises(UserError, match=r"train_images says it has [\d,]+ bytes of values, but 32 are there"):
        read_medmnist(members(tmp_path, train_images=header(shape) + bytes(32)))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"\x93NUMPY\x07\x00", header("(2, 4, 4")[:-3], header("(-2, 4, 4)"),
     header("(2, True)"), header("(2, 1 << 60)"),
     header("(2, 4, 4)", "'|S99999999999'"), header("(" * 500 + ")" * 500), header("{[]: 1}"), header("(2, 4, 4)", "7"),
     b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"x" * 100],
)  # fmt: skip
def test_damaged_headers(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"x\.npz: ") as caught:
        read_medmnist(members(tmp_path, train_images=content))
    assert "\n" not in str(caught.value)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    images = io.BytesIO()
    np.save(images, grey(2))
    path = members(tmp_path, train_images=images.getvalue(), train_labels=header("(2,)", "'<U1'") + b"\xff" * 8)
    with pytest.raises(UserError, match=r"x\.npz: train_labels holds names that are no text"):
        read_medmnist(path)


def test_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    content = header("(2, 10000, 10000)") + bytes(2 * 10**8)
    path = members(tmp_path, train_images=content)
    assert path.stat().st_size < 10**6
    with pytest.raises(UserError, match=r"train_images\.npy claims 191 MiB from 0\.2; refused as a decompression bomb"):
        read_medmnist(path)


def test_size_that_only_the_directory_claims(tmp_path: Path) -> None:
    """The archive's directory says 2 TB of stored bytes, and so does the header."""
    path = members(tmp_path, train_images=header("(2, 1000000, 1000000)") + bytes(99))
    content = path.read_bytes()
    size = struct.pack("<I", len(header("(2, 1000000, 1000000)")) + 99)
    path.write_bytes(content.replace(size, struct.pack("<I", 0xFFFFFFF0)))
    with pytest.raises(UserError, match=r"x\.npz: .*bomb"):
        read_medmnist(path)


def test_more_than_half_of_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, train_images=grey(100), train_labels=column(*range(100)))
    monkeypatch.setattr(medmnist, "_memory", lambda: 2 * 100 * 28 * 28)
    with pytest.raises(UserError, match="GiB of arrays, more than half of this machine's"):
        read_medmnist(path)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc/meminfo")
def test_memory_of_this_machine() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = int(next(line for line in lines if line.startswith("MemTotal")).split()[1])
    assert medmnist._memory() == pytest.approx(1024 * kilobytes, rel=0.1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip at all", b"\x93NUMPY\x01\x00"])
def test_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz: not a readable \.npz"):
        read_medmnist(tmp_path / "x.npz")


def test_truncated_archive(tmp_path: Path) -> None:
    path = save(tmp_path, train_images=grey(20), train_labels=column(*range(20)))
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:900] + bytes(99) + whole[999:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"not a readable \.npz"):
            read_medmnist(path)
