from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsgl.data.images.sources import ImageArrays, ImageFiles, Images
from fsgl.data.readers.own import find_lists, find_source, looks_like_path
from fsgl.errors import UserError


def files(part: Images | None) -> list[tuple[str, int]]:
    assert isinstance(part, ImageFiles)
    return list(zip(part.paths, part.labels.tolist(), strict=True))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/3.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


EXPECTED = [("cat/1.jpg", 0), ("cat/2.jpg", 0), ("dog/3.jpg", 1)]


def test_folder_is_found(images: Path) -> None:
    source = find_source(images)
    assert files(source.train) == EXPECTED
    assert (source.name, source.class_names) == ("photos", ("cat", "dog"))
    assert source.found == "a folder for each class: 2 classes; 3 training images"
    assert (source.val, source.test) == (None, None)


@pytest.mark.parametrize("suffix", [".txt", ".lst", "", ".csv", ".tsv", ".TXT", ".CSV"])
@pytest.mark.parametrize("beside", [True, False], ids=["beside its images", "with a root"])
def test_list_and_table_are_found(images: Path, tmp_path: Path, suffix: str, beside: bool) -> None:
    path = (images if beside else tmp_path) / f"mine{suffix}"
    lines = [f"{name}\t{'cat' if label == 0 else 'dog'}\n" for name, label in EXPECTED]
    path.write_text("".join((["path\tlabel\n"] if suffix.lower() in (".csv", ".tsv") else []) + lines))
    source = find_source(path, None if beside else images)
    assert files(source.train) == EXPECTED
    assert source.name == "mine"
    what = "table" if suffix.lower() in (".csv", ".tsv") else "list"
    where = "" if beside else f" in {images}"
    assert source.found == f"a {what} of images{where}: 2 classes; 3 training images"


def test_npz_is_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 8, 8), np.uint8), train_labels=np.array([[3], [1]]))
    source = find_source(tmp_path / "x.npz")
    assert isinstance(source.train, ImageArrays)
    assert (source.class_names, source.train.labels.tolist()) == (("1", "3"), [1, 0])


def test_part_without_training_images_is_kept_for_who_wants_to_know(images: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,split\ncat/1.jpg,cat,train\ndog/3.jpg,dog,test\n")
    source = find_source(tmp_path / "t.csv", images)
    assert source.class_names == ("cat", "dog")
    assert (files(source.train), files(source.test)) == ([("cat/1.jpg", 0)], [("dog/3.jpg", 1)])


def test_lists_for_each_part(images: Path, tmp_path: Path) -> None:
    for name, text in {"a.txt": "cat/1.jpg 10\ncat/2.jpg 9\n", "b.csv": "path,label\ndog/3.jpg,10\n"}.items():
        (tmp_path / name).write_text(text)
    first, second = tmp_path / "a.txt", tmp_path / "b.csv"
    source = find_lists(first, None, second, images)
    assert source.class_names == ("9", "10")
    assert (files(source.train), source.val) == ([("cat/1.jpg", 1), ("cat/2.jpg", 0)], None)
    assert files(source.test) == [("dog/3.jpg", 1)]
    assert source.found.startswith(f"2 lists of images in {images}: 2 classes; 2 training and 1 test images")
    assert files(find_lists(first, second, None, images).val) == [("dog/3.jpg", 1)]
    both = find_lists(first, None, first, images)
    assert both.notes == ("2 images are in more than one part: the scores will flatter",)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("no.csv", None, r"no\.csv: no such file or folder$"),
        ("x.zip", "", r"x\.zip: neither a folder of images nor a file of a known kind \(\.csv"),
        ("x.txt", "\n\n", r"x\.txt: names no images"),
        ("x.csv", "path,label\n", r"x\.csv: names no images"),
        ("x.csv", "path,label,split\na,b,test\n", r"x\.csv: its first image 'a' is not under"),
        ("x.csv", "path,label,split\nphotos/cat/1.jpg,b,test\n", r"x\.csv: no training images, only test images"),
        ("x.txt", "1.jpg 1\n", r"x\.txt: its first image '1\.jpg' is not under '.*'; .* with --root"),
        ("x.txt", "../x/1.jpg 1\n", r"x\.txt, line 1: '\.\./x/1\.jpg' must be a path inside"),
    ],
)
def test_mistakes_are_one_line(images: Path, tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        find_source(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_root_is_for_lists_alone(images: Path, tmp_path: Path) -> None:
    (tmp_path / "x.npz").touch()
    for path in (images, tmp_path / "x.npz"):
        with pytest.raises(UserError, match=r"a root .* is for tables and lists"):
            find_source(path, tmp_path)
    (tmp_path / "x.txt").write_text("1.jpg 1\n")
    with pytest.raises(UserError, match=r"x\.txt: the image folder '.*none' does not exist"):
        find_source(tmp_path / "x.txt", tmp_path / "none")


def test_empty_list_of_a_part_is_named(images: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("cat/1.jpg 1\n")
    (tmp_path / "b.txt").write_text("\n")
    with pytest.raises(UserError, match=r"b\.txt: names no images"):
        find_lists(tmp_path / "a.txt", tmp_path / "b.txt", None, images)
    with pytest.raises(UserError, match=r"cannot read the list '.*no\.txt'"):
        find_lists(tmp_path / "a.txt", None, tmp_path / "no.txt", images)


@pytest.mark.parametrize(
    ("text", "path"),
    [("cifar10", False), ("pets", False), ("a/b", True), ("./pets", True), ("~/pets", True), ("pets.csv", True),
     ("PETS.NPZ", True), ("pets.txt", True), ("pets.parquet", True), ("resnet.v2", False), ("", False)],
)  # fmt: skip
def test_what_looks_like_a_path(text: str, path: bool) -> None:
    assert looks_like_path(text) == path


def test_home_is_known(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(images.parent))
    assert files(find_source(Path("~/photos")).train) == EXPECTED
