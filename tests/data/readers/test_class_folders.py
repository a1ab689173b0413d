from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fsgl.data.readers.class_folders import read_class_folders
from fsgl.data.readers.listing import Listing
from fsgl.data.readers.reading import Reading
from fsgl.errors import UserError


def make(base: Path, *files: str) -> Path:
    for name in files:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    return base


def pairs(listing: Listing, part: str = "train") -> list[tuple[str, str]]:
    return list(zip(listing.parts[part].paths, listing.parts[part].labels, strict=True))


def test_classes_at_the_top_with_nested_files_in_the_order_of_names(tmp_path: Path) -> None:
    make(tmp_path, "dog/2.JPG", "cat/b/c/1.png", "cat/a.webp", "dog/10.jpeg")
    listing = read_class_folders(tmp_path)
    assert pairs(listing) == [
        ("cat/a.webp", "cat"), ("cat/b/c/1.png", "cat"), ("dog/10.jpeg", "dog"), ("dog/2.JPG", "dog"),
    ]  # fmt: skip
    assert (listing.kind, listing.root) == ("a folder for each class", tmp_path)
    assert listing.notes == ["in folders below those of the classes: 1 images (in 'b')"]


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("val", ["val", "valid", "validation", "VAL", "dev"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_parts_above_the_classes(tmp_path: Path, train: str, val: str, test: str) -> None:
    make(tmp_path, f"{train}/cat/1.png", f"{train}/dog/x/1.png", f"{val}/cat/2.png", f"{test}/dog/3.png")
    listing = read_class_folders(tmp_path)
    assert list(listing.parts) == ["train", "val", "test"]
    assert pairs(listing) == [(f"{train}/cat/1.png", "cat"), (f"{train}/dog/x/1.png", "dog")]
    assert pairs(listing, "val") == [(f"{val}/cat/2.png", "cat")]
    assert pairs(listing, "test") == [(f"{test}/dog/3.png", "dog")]
    assert listing.kind == f"a folder for each class under {train}, {val}, {test}"


def test_class_that_is_called_train_is_a_class(tmp_path: Path) -> None:
    listing = read_class_folders(make(tmp_path, "bus/1.png", "train/1.png", "train/old/2.png", "test/x/3.png"))
    assert [label for _, label in pairs(listing)] == ["bus", "test", "train", "train"]
    assert list(listing.parts) == ["train"]


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    make(
        tmp_path, ".git/x.png", "cat/.hidden.png", "__MACOSX/cat/1.png", "cat/1.png", "dog/1.png", "cat/notes.txt",
        "Thumbs.db", "loose.png", "cat/png",
    )  # fmt: skip
    (tmp_path / "emu" / "nothing").mkdir(parents=True)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    listing = read_class_folders(tmp_path)
    assert pairs(listing) == [("cat/1.png", "cat"), ("dog/1.png", "dog")]
    assert listing.notes == [
        "passed over: hidden files or folders (2), folders that systems and programs leave ('__MACOSX'), "
        "files that are no images by their names (4), images in no class's folder (1)",
        "no images in 'emu'",
    ]


def test_in_parts_too(tmp_path: Path) -> None:
    make(
        tmp_path,
        "train/cat/1.png",
        "train/dog/1.png",
        "test/1.png",
        "extra/cat/1.png",
        "val/loose.png",
        "val/cat/2.png",
    )
    (tmp_path / "val" / "dog").mkdir()
    listing = read_class_folders(tmp_path)
    assert list(listing.parts) == ["train", "val"]  # test images without classes, to be handed in somewhere
    assert listing.notes == [
        "passed over: images in no class's folder (3, in 'extra', 'test')", "no images in 'val/dog'",
    ]  # fmt: skip


def test_images_to_be_handed_in_are_of_no_class_also_in_a_folder_of_the_parts_name(tmp_path: Path) -> None:
    """As Kaggle's zip files unpack: test/test/1.jpg beside train/train/cat/1.jpg."""
    make(tmp_path, "train/train/cat/1.png", "train/train/dog/1.png", "test/test/1.png")
    listing = read_class_folders(tmp_path)
    assert pairs(listing) == [("train/train/cat/1.png", "cat"), ("train/train/dog/1.png", "dog")]
    assert listing.notes == ["passed over: images in no class's folder (1, in 'test')"]


def test_links_do_not_lead_out_or_round(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", "secret/1.png")
    pets = make(tmp_path / "pets", "cat/1.png", "dog/1.png")
    for link, target in {
        "cat/out.png": outside / "secret/1.png", "cat/loop": pets, "dog/self.png": pets / "dog/self.png",
        "emu": outside / "secret", "cat/gone.png": pets / "no.png", "dog/again": pets / "cat",
        "dog/passwd.png": Path("/etc/passwd"), "cat/up.png": Path("../../outside/secret/1.png"),
    }.items():  # fmt: skip
        (pets / link).symlink_to(target)
    (pets / "dog/own.png").symlink_to("../cat/1.png")
    with pytest.raises(UserError, match=r"in 'emu' \(is a link\); --follow-links takes links; --lost-classes skip"):
        read_class_folders(pets)
    without = Reading(lost_classes="skip")
    listing = read_class_folders(pets, without)
    assert pairs(listing) == [("cat/1.png", "cat"), ("dog/1.png", "dog"), ("dog/own.png", "dog")]
    assert listing.notes == [
        "passed over: links to folders, out of it or to nothing (8, of folders 'emu', 'cat/loop', 'dog/again')",
        "links left aside: 'cat' 4, 'dog' 3, 'emu' 1 (--follow-links takes them, but for 2 to nothing)",
    ]
    (tmp_path / "there").symlink_to(pets)  # the folder itself may be a link
    assert pairs(read_class_folders(tmp_path / "there", without)) == pairs(listing)


def test_links_are_followed_where_that_is_said_but_never_round(tmp_path: Path) -> None:
    blobs = make(tmp_path / "blobs", "a.png", "b.png", "emu/old/1.png")
    pets = make(tmp_path / "pets", "cat/1.png")
    (pets / "dog").mkdir()
    for link, target in {  # as the caches of hubs and DVC lay them out
        "dog/1.png": blobs / "a.png", "dog/2.png": blobs / "b.png", "emu": blobs / "emu", "cat/loop": pets,
        "cat/other": pets / "dog", "dog/other": pets / "cat", "dog/gone.png": blobs / "no.png",
    }.items():  # fmt: skip
        (pets / link).symlink_to(target)
    with pytest.raises(UserError, match=r"'dog' \(4 links\), 'emu' \(is a link\); --follow-links"):
        read_class_folders(pets)
    listing = read_class_folders(pets, Reading(links="follow"))
    assert listing.follow
    read = pairs(listing)
    assert {("cat/1.png", "cat"), ("dog/1.png", "dog"), ("dog/2.png", "dog"), ("emu/old/1.png", "emu")} <= set(read)
    assert len(read) < 20
    assert any(note.endswith("(they lead round, or to nothing)") for note in listing.notes)


@pytest.mark.parametrize(
    ("files", "links", "said"),
    [
        # A given part that is a link is not replaced by images that are set aside.
        (["train/a/1.png", "train/b/1.png"], {"test": "out"}, r"nothing that can be read here in 'test' \(is a link\)"),
        (["a/1.png", "b/1.png"], {"c": "gone"}, r"'c' \(is a link to nothing\); --lost-classes"),
        # Neither a class nor a part: what systems leave, what is excluded, and files.
        (["a/1.png", "b/1.png"], {"@eaDir": "out", "old": "out"}, ""),
        (["a/1.png", "b/1.png"], {"labels.csv": "out/x/t.csv", "c": "out/x/t.csv", "p.png": "out/x/1.png"}, ""),
    ],
)
def test_links_beside_classes_are_told_from_classes(
    tmp_path: Path, files: list[str], links: dict[str, str], said: str
) -> None:
    pets = make(tmp_path / "pets", *files)
    make(tmp_path / "out", "x/1.png", "x/t.csv")
    for link, target in links.items():
        (pets / link).symlink_to(tmp_path / target)
    if said:
        with pytest.raises(UserError, match=said):
            read_class_folders(pets)
        return
    listing = read_class_folders(pets, Reading(exclude="old"))
    assert {label for _, label in pairs(listing)} == {"a", "b"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], r"no folders with images, one a class$"),
        (["a.png", "b.png"], r"no folders with images, one a class; 2 images lie in it without a class"),
        (["t.csv", "x.parquet"], r"it holds 't\.csv', 'x\.parquet': name the file that lists the images"),
        (["val/cat/1.png", "test/dog/1.png"], r"holds 'test', 'val' but no 'train'"),
        (["train/cat/1.png", "val/cat/1.png", "valid/cat/1.png"], r"'val' and 'valid' are both validation images"),
        (["train/cat/1.png", "training/cat/1.png"], r"'train' and 'training' are both training images"),
        (["images/cat/1.png", "images/dog/1.png"], r"holds one folder, .* the 2 in it; name .*images$"),
        (["a/b/cat/1.png", "a/b/dog/1.png"], r"holds one folder, .* the 2 in it; name .*a/b$"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, files: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_class_folders(make(tmp_path, *files))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "dog").chmod(0)
    try:
        with pytest.raises(UserError, match=r"dog: cannot be read \(Permission denied\)"):
            read_class_folders(tmp_path)
    finally:
        (tmp_path / "dog").chmod(0o755)


def test_deep_folders_are_walked(tmp_path: Path) -> None:
    deep = "cat/" + "d/" * 1000 + "1.png"
    place = os.open(tmp_path, os.O_RDONLY)
    try:  # deeper than Python's stack would go; by steps, as the whole path is nearly as long as a path may be
        for step in deep.split("/")[:-1]:
            os.mkdir(step, dir_fd=place)
            place, before = os.open(step, os.O_RDONLY, dir_fd=place), place
            os.close(before)
        os.close(os.open("1.png", os.O_CREAT, dir_fd=place))
    finally:
        os.close(place)
    make(tmp_path, "dog/1.png")
    assert pairs(read_class_folders(tmp_path)) == [(deep, "cat"), ("dog/1.png", "dog")]
    subprocess.run(["rm", "-rf", tmp_path / "cat"], check=True)  # pytest's own way to remove it is not deep enough
