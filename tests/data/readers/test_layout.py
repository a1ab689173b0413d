"""Which folder is a part, which a class: many spellings and layouts, each read as a person would, or asked about."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from fsgl.data.images.image_files import readable_suffixes
from fsgl.data.images.leftovers import leftover
from fsgl.data.readers.class_folders import read_class_folders
from fsgl.data.readers.columns import COLUMNS
from fsgl.data.readers.listing import Rows
from fsgl.data.readers.part_names import PartName, part_name, part_of_value
from fsgl.data.readers.reading import Reading
from fsgl.data.readers.tables import read_table
from fsgl.errors import UserError

PETS = ("cat", "dog")


def make(base: Path, *files: str) -> Path:
    for name in files:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    return base


def two(*folders: str, inner: tuple[str, ...] = PETS, below: str = "") -> list[str]:
    """Two images of each inner folder in each folder."""
    return [f"{above}/{name}/{below}{i}.png" for above in folders for name in inner for i in range(2)]


def read(path: Path, **reading: object) -> dict[str, dict[str, int]]:
    listing = read_class_folders(path, Reading(**reading))  # type: ignore[arg-type]
    return {part: dict(Counter(found.labels)) for part, found in listing.parts.items()}


def asked(path: Path, **reading: object) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **reading)
    assert "\n" not in str(caught.value)
    return str(caught.value)


BOTH = {"cat": 2, "dog": 2}


@pytest.mark.parametrize(
    ("train", "other", "part"),
    [
        ("training_set", "test_set", "test"), ("seg_train", "seg_test", "test"),
        ("train_images", "test_images", "test"),
        ("Training Data", "Testing Data", "test"), ("TrainSet", "TestSet", "test"), ("trainset", "valset", "val"),
        ("train2017", "val2017", "val"), ("TRAIN", "HOLDOUT", "test"), ("train", "hold-out", "test"),
        ("train", "Held_Out", "test"), ("data_train", "data_val", "val"), ("01_train", "02_test", "test"),
        ("training", "validate", "val"), ("imgs.train", "imgs.valid", "val"), ("train-images", "dev-images", "val"),
        ("Train", "test1", "test"), ("trains", "tests", "test"), ("trn", "tst", "test"), ("train_val", "test", "test"),
        ("trainval", "test", "test"), ("train", "eval", "test"), ("train", "evaluation set", "test"),
        ("flowers_train", "flowers_test", "test"), ("train (1)", "test (1)", "test"),
        ("my train", "their test", "test"),
        ("classification_train", "classification_validation", "val"), ("\uff54rain", "test", "test"),
        ("train_photos", "test_photos", "test"), ("trainImages", "testImages", "test"),
        ("imagestrain", "testing", "test"),
    ],
)  # fmt: skip
def test_parts_however_they_are_written(tmp_path: Path, train: str, other: str, part: str) -> None:
    assert read(make(tmp_path, *two(train, other))) == {"train": BOTH, part: BOTH}


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("train", "val", "eval"), {"train", "val", "test"}),
        (("train", "test", "eval"), {"train", "val", "test"}),
        (("training_set", "validation_set", "test_set"), {"train", "val", "test"}),
    ],
)
def test_three_parts(tmp_path: Path, folders: tuple[str, ...], parts: set[str]) -> None:
    assert read(make(tmp_path, *two(*folders))) == dict.fromkeys(parts, BOTH)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        # lone folders above, between, and twice the same name, as archives unpack
        (["archive/data/" + f for f in two("train", "test")], {"train": BOTH, "test": BOTH}),
        ([f"seg_{p}/seg_{p}/{c}/1.png" for p in ("train", "test") for c in PETS] + ["seg_pred/seg_pred/1.png"],
         {"train": {"cat": 1, "dog": 1}, "test": {"cat": 1, "dog": 1}}),
        (two("train/images", "test/images"), {"train": BOTH, "test": BOTH}),
        (two("set/train/a/b", "set/test"), {"train": BOTH, "test": BOTH}),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/a/1.png", "test/cat/b/1.png"],
         {"train": {"cat": 1, "dog": 1}, "test": {"cat": 2}}),  # a part with one class, which has folders
        # parts in every class
        (two("cat", "dog", inner=("train", "test")), {"train": BOTH, "test": BOTH}),
        (two("cat", "dog", inner=("Training_Set", "Valid")), {"train": BOTH, "val": BOTH}),
        ([*two("cat", "dog", inner=("train", "test")), "emu/train/1.png"],
         {"train": {**BOTH, "emu": 1}, "test": BOTH}),
        (two("train station", "test tube", inner=("train", "test")),
         {part: {"train station": 2, "test tube": 2} for part in ("train", "test")}),
        # classes that have the name of a part, or of what lies in one
        (["bus/1.png", "train/1.png", "train/old/2.png", "test/x/3.png"], {"train": {"bus": 1, "test": 1, "train": 2}}),
        (["train station/day/1.png", "train station/night/2.png", "bus stop/3.png"],
         {"train": {"bus stop": 1, "train station": 2}}),
        (["cat/2019/1.png", "cat/2020/1.png", "dog/2021/1.png"], {"train": {"cat": 2, "dog": 1}}),
        (two("cat", "dog", inner=("images",)), {"train": BOTH}),  # one folder in each: they cannot be the classes
        # images beside the parts, and test images without classes
        ([*two("train", "test"), "extra/emu/1.png", "loose.png"], {"train": BOTH, "test": BOTH}),
        (two("tRain", "tEsT"), {"train": BOTH, "test": BOTH}),
        ([*two("train"), "test/1.png", "test/2.png"], {"train": BOTH}),
    ],
)  # fmt: skip
def test_layouts_that_have_one_meaning(tmp_path: Path, files: list[str], found: dict[str, dict[str, int]]) -> None:
    assert read(make(tmp_path, *files)) == found


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (two("A", "B"), ("'A', 'B' hold the same folders ('cat', 'dog')", "--class-level 1", "--class-level 2",
                         "--parts train=A,test=B")),
        (two("day", "night", "dusk", inner=("a", "b", "c")), ("hold the same folders", "--class-level 2")),
        (two("set one", "set two"), ("--parts 'train=set one,test=set two'",)),
        (two("A", inner=("Cat", "caf\u00e9")) + two("B", inner=("cat", "cafe\u0301")), ("'A', 'B' hold the same",)),
        (two("A", inner=("a", "b", "c")) + two("B", inner=("a", "b")), ("hold the same folders ('a', 'b')",)),
        (two("fold1", "fold2", "fold3"), ("hold the same folders", "--class-level 2")),
        (two("train_a", "train_b"), ("hold the same folders",)),
        (two("cat", "dog", "emu", inner=("images", "masks")),
         ("--class-level 1", "--exclude masks leaves 'masks' out")),
        ([f"train/{f}" for f in two("cat", "dog", inner=("images", "masks"))], ("--class-level 2", "--exclude masks")),
        (["cat/1.png", "cat/masks/1.png", "dog/1.png", "dog/masks/1.png"], ("hold 'masks' beside their images",)),
        ([*two("cat", "dog", inner=("train", "test")), "emu/1.png"], ("but 'emu' does not", "--class-level 1")),
        (two("A/train", "A/test", "B/train", "B/test"), ("hold the same folders ('cat', 'dog')", "--class-level 3")),
        (["train/1.png", "train/2.png", "test/1.png"], ("named like parts", "--class-level 1")),
        (["train/1.png", "test/cat/1.png", "test/dog/2.png"], ("named like parts",)),
        (["cat_train/1.png", "cat_test/1.png", "dog_train/1.png"], ("named like parts of one class",)),
        (two("train", "test", inner=("train", "test")), ("which are named like parts, too", "--class-level 2")),
        (["train/steam/1.png", "train/diesel/1.png", "bus/1.png"], ("lies beside 'bus'", "--class-level 1")),
        (["cat/1.png", "dog/1.png", *two("test")], ("'test' holds folders that also lie beside it", "--exclude test")),
        (["cat/1.png", "dog/1.png", *two("all")], ("'all' holds folders that also lie beside it", "--exclude all")),
        (two("train", "test", "vaildation"), ("'test' and 'vaildation' hold the same", "val=vaildation")),
        (two("train", "train/val", "test"), ("'val' holds folders that also lie beside it", "--class-level 2")),
        ([f"{part}/cam{i}/{c}/1.png" for part in ("train", "test") for i in (1, 2) for c in PETS],
         ("'cat', 'dog' are, --class-level 3\n",)),  # parts are known: no --parts
        (two("train", "Zweitset"), ("'train' and 'Zweitset' hold the same folders", "--exclude Zweitset")),
        (two("train", "train_augmented", "test"), ("are both training images", "train=train,train=train_augmented")),
        (two("train", "val", "test", "eval"), ("are both",)),
        (two("dev", "eval"), ("holds 'dev', 'eval' but no 'train'",)),
        (two("train", "bus", inner=("day", "night")), ("hold the same", "where both are classes, --class-level 1")),
        (two("eval", "learn"), ("--parts train=learn,test=eval",)),  # not the other way round
        # pictures and what belongs to them, whatever lies in or above them
        (["original/1.png", "Segmented/1.png"], ("named like pictures", "--exclude Segmented")),
        (["images/1.png", "masks/1.png"], ("named like pictures and what belongs to them", "--exclude masks")),
        (two("images", "annotations", inner=("training", "validation")), ("named like pictures", "--class-level 1")),
        (two("train", "test", inner=("Img", "GT")), ("named like pictures", "--exclude GT", "--class-level 2")),
        # a patient's folder holds some of the classes, or one
        ([f"p{i}/{name}/{i}.png" for i in range(30) for name in ("ill", "well", f"other {i}")],
         ("hold the same folders ('ill', 'well')", "--class-level 2")),
        ([f"p{i}/{'ill' if i % 3 else 'well'}/{i}.png" for i in range(30)],
         ("hold the same folders ('ill', 'well')", "--class-level 2")),
    ],
)  # fmt: skip
def test_layouts_of_two_meanings_are_asked_about(tmp_path: Path, files: list[str], says: tuple[str, ...]) -> None:
    said = asked(make(tmp_path, *files))
    assert said.startswith(str(tmp_path))
    for part in says:
        assert part in said + "\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["cat/1.png", "dog/1.png"], []),
        (two("cat", inner=("2019", "2020")) + two("dog", inner=("spring",)),
         ["in folders below those of the classes: 6 images (in '2019', '2020', 'spring')"]),
        (two("train/cat", "test/dog", inner=("a",)), ["in folders below those of the classes: 4 images (in 'a')"]),
    ],
)  # fmt: skip
def test_images_that_lie_deeper_than_their_class_are_said(tmp_path: Path, files: list[str], said: list[str]) -> None:
    make(tmp_path, *files)
    assert read_class_folders(tmp_path).notes == said
    assert not read_class_folders(tmp_path, Reading(class_level=1)).notes  # who says the level knows it


MASKED = two("cat", "dog", inner=("images", "masks"))
SPECIES = two("A/train", "A/test", "B/train", "B/test")


@pytest.mark.parametrize(
    ("files", "reading", "found"),
    [
        (two("A", "B"), {"parts": "train=A,test=B"}, {"train": BOTH, "test": BOTH}),
        (two("A", "B"), {"parts": "val=B,train=A"}, {"train": BOTH, "val": BOTH}),
        (two("A", "B"), {"parts": "train=A,train=B"}, {"train": {"cat": 4, "dog": 4}}),
        (two("a,b", "B"), {"parts": "train=a,b,test=B"}, {"train": BOTH, "test": BOTH}),
        (two("A", "B"), {"class_level": 1}, {"train": {"A": 4, "B": 4}}),
        (two("A", "B"), {"class_level": 2}, {"train": {"cat": 4, "dog": 4}}),
        (["w/" + f for f in two("A", "B")], {"parts": "train=A,test=B"}, {"train": BOTH, "test": BOTH}),
        (two("A/x", "B/x"), {"parts": "train=A,test=B"}, {"train": BOTH, "test": BOTH}),
        (two("cat", "dog", inner=("x", "y")), {"parts": "train=x,test=y"}, {"train": BOTH, "test": BOTH}),
        (two("train", "test"), {"class_level": 1}, {"train": {"test": 4, "train": 4}}),
        (two("train", "test"), {"class_level": 2}, {"train": BOTH, "test": BOTH}),
        (["w/" + f for f in two("train", "test")], {"class_level": 3}, {"train": BOTH, "test": BOTH}),
        (MASKED, {"exclude": "MASKS"}, {"train": BOTH}),
        (MASKED, {"class_level": 1}, {"train": {"cat": 4, "dog": 4}}),
        (SPECIES, {"class_level": 1}, {"train": {"A": 4, "B": 4}, "test": {"A": 4, "B": 4}}),
        (SPECIES, {"class_level": 3}, {"train": {"cat": 4, "dog": 4}, "test": {"cat": 4, "dog": 4}}),
        ([*two("cat", "dog", inner=("train", "test")), "emu/1.png"], {"class_level": 1},
         {"train": {"cat": 4, "dog": 4, "emu": 1}}),
    ],
)  # fmt: skip
def test_what_is_said_is_done(
    tmp_path: Path, files: list[str], reading: dict[str, object], found: dict[str, dict[str, int]]
) -> None:
    assert read(make(tmp_path, *files), **reading) == found


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        ({"parts": "train=A,test=C"}, "--parts names 'C', but no folder of that name holds images"),
        ({"parts": "train=A,test=cat"}, "lie at different levels"),
        ({"parts": "A"}, "--parts is written train=NAME"),
        ({"parts": "training=A"}, "--parts is written train=NAME"),
        ({"parts": "train=A,test=A"}, "'A' is given as both train and test"),
        ({"class_level": 5}, "no folders with images"),
        ({"class_level": 0}, "class_level must be from 1 to 100"),
        ({"label_column": "x"}, "is a folder; --label-column does not apply to it"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, reading: dict[str, object], said: str) -> None:
    assert said in asked(make(tmp_path, *two("A", "B")), **reading)


def test_a_group_is_one_in_both_unicode_forms(tmp_path: Path) -> None:
    make(tmp_path, "cat/Zo\u00eb/1.png", "dog/Zoe\u0308/2.png")
    (tmp_path / "t.csv").write_text("path,label,who\ncat/1,a,Zo\u00eb\ndog/2,b,Zoe\u0308\n", encoding="utf-8")
    read_table(tmp_path / "t.csv", tmp_path, rows := Rows(), reading=Reading(group_column="who"))
    listing = read_class_folders(tmp_path, Reading(group_level=2))
    for parts in (listing.parts, rows.parts):
        assert parts["train"].groups == ["Zo\u00eb"] * 2


def test_groups_are_a_level_of_folders(tmp_path: Path) -> None:
    make(tmp_path, "cat/p1/1.png", "cat/p2/1.png", "dog/p1/x/1.png", "dog/1.png")
    listing = read_class_folders(tmp_path, Reading(group_level=2, class_level=1))
    assert dict(zip(listing.parts["train"].paths, listing.parts["train"].groups, strict=True)) == {
        "cat/p1/1.png": "p1", "cat/p2/1.png": "p2", "dog/1.png": "", "dog/p1/x/1.png": "p1",
    }  # fmt: skip
    assert listing.notes == ["1 images lie above level 2 and are in no group"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train", PartName("train", frozenset())), ("seg_train", PartName("train", frozenset())),
        ("flowers-test", PartName("test", frozenset({"flowers"}))), ("cat", None), ("contest", None), ("latest", None),
        ("trainer", None), ("device", None), ("value", None), ("protest", None), ("val_test", None), ("strain", None),
        ("2019", None), ("", None), ("restrained", None), ("attest", None), ("vals", PartName("val", frozenset())),
    ],
)  # fmt: skip
def test_names_that_speak_of_a_part(name: str, found: PartName | None) -> None:
    assert part_name(name) == found


def test_values_of_a_column() -> None:
    values = {"Train": "train", "TEST ": "test", "validation": "val", "eval": "test", "fold": None, "": None, "0": None}
    assert {value: part_of_value(value) for value in values} == values


@pytest.mark.parametrize(
    "left",
    ["@eaDir", "#recycle", "$RECYCLE.BIN/S-1-5-21", "System Volume Information", "lost+found", "Thumbs", "thumbnails",
     ".thumbnails", "__MACOSX", "cache", "@Recycle", ".ipynb_checkpoints", "#snapshot", "LOST.DIR",
     "Lightroom Previews.lrdata", "node_modules"],
)  # fmt: skip
def test_what_systems_leave_is_no_class_and_no_image(tmp_path: Path, left: str) -> None:
    make(tmp_path, "cat/1.png", "dog/1.png", f"{left}/1.png", f"{left}/x/1.png", f"cat/{left}/1.png", "dog/._1.png")
    (tmp_path / "dog" / "x.png").mkdir()
    listing = read_class_folders(tmp_path)
    assert listing.parts["train"].paths == ["cat/1.png", "dog/1.png"]
    assert any(left.split("/")[0] in note or "hidden" in note for note in listing.notes)


def test_class_that_cannot_be_read_here_stops_and_is_named(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "dog/1.png", "emu/1.dcm", "emu/2.DCM", "emu/3.mp4", "fox/notes.txt", "dog/2.cr2")
    said = asked(tmp_path)
    assert "in 'emu' (2 .dcm, 1 .mp4)" in said
    assert "--lost-classes skip goes on without" in said
    assert "'fox'" not in said  # nothing there is a picture
    listing = read_class_folders(tmp_path, Reading(lost_classes="skip"))
    assert set(listing.parts["train"].labels) == {"cat", "dog"}
    assert listing.notes == [
        "passed over: files that are no images by their names (1)",
        "cannot be read here: 'dog' 1 .cr2, 'emu' 2 .dcm, 1 .mp4", "no images in 'emu', 'fox'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("IM-0001", bytes(128) + b"DICM", "'emu' (2 without a suffix)"),
        ("1.2.840.113", bytes(128) + b"DICM", "2 without a suffix"),
        ("0a1b2c", b"\xff\xd8\xff\xe0", "2 without a suffix"), ("x.wmv", b"", "2 .wmv"), ("y.pef", b"", "2 .pef"),
        ("emu.zip", b"PK", "2 .zip"), ("Makefile", b"all:", None), ("notes.xml", b"\xff\xd8\xff\xe0", None),
    ],
)  # fmt: skip
def test_pictures_without_a_suffix_films_and_archives_are_named(
    tmp_path: Path, name: str, content: bytes, said: str | None
) -> None:
    make(tmp_path, "cat/1.png", "dog/1.png", f"emu/{name}", f"emu/2{name}")
    (tmp_path / "emu" / name).write_bytes(content)
    (tmp_path / "emu" / f"2{name}").write_bytes(content)
    if said is None:
        assert read(tmp_path) == {"train": {"cat": 1, "dog": 1}}
    else:
        assert said in asked(tmp_path)


def test_a_question_names_the_folders_that_are_links(tmp_path: Path) -> None:
    make(tmp_path, *two("data/test", "elsewhere"))
    (tmp_path / "data" / "train").symlink_to(tmp_path / "elsewhere")
    assert "links, which --follow-links takes: 'train'" in asked(tmp_path / "data")
    assert read(tmp_path / "data", links="follow") == {"train": BOTH, "test": BOTH}


def test_heic_names_its_extra_where_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = frozenset({".png", ".jpg"})
    monkeypatch.setattr("fsgl.data.readers.walk.readable_suffixes", lambda: without)
    make(tmp_path, "cat/1.png", "dog/1.HEIC")
    assert r"in 'dog' (1 .heic (pip install 'fsgl[heif]' reads them))" in asked(tmp_path)


def test_what_the_docs_call_recognised_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "own-images.md").read_text(encoding="utf-8")
    table = page.split("## What is recognised")[1].split("## ")[0]
    words = {line.split(" | ")[0].strip("| "): re.findall(r"`([^`]+)`", line.split(" | ")[1])
             for line in table.splitlines() if line.startswith("| ") and " | " in line}  # fmt: skip
    parts = words["parts, as names of folders and in tables"]
    assert len(parts) > 15
    assert all(part_name(word) for word in parts)
    assert all(leftover(word) for word in words["what systems and programs leave"] if word != "predict")
    suffixes = [word for word in words["pictures that are read"] if word.startswith(".")]
    assert set(suffixes) <= readable_suffixes() | {".heic", ".heif", ".hif"}
    unread = next(found for what, found in words.items() if what.startswith("pictures that are not"))
    assert not unread  # they stand in the first column
    for kind in ("path", "label", "split"):
        known = set().union(*COLUMNS[kind])
        named = words[f"column of {'parts' if kind == 'split' else kind + 's'}"]
        assert {word for word in named if word not in ("is_test", "test")} <= known
    assert all(f"`{option}" in table for option in (
        "--parts", "--class-level", "--exclude", "--path-column", "--label-column", "--split-column",
        "--unlabelled skip", "--joined-labels whole", "--follow-links", "--lost-classes skip",
    ))  # fmt: skip
