"""Folders and tables as people make them: read exactly as a plain reading of them would, or refused in a sentence.

What is meant is drawn first (parts, classes, images), then written down in some spelling, layout or dialect, among what
lies around; the reader has to find again what was meant. FSGL_FUZZ says how many cases; ``make fuzz`` takes 10,000.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fsgl.data.images.sources import ImageFiles, Source
from fsgl.data.readers.own import find_source
from fsgl.data.readers.tree import alike, tree_of
from fsgl.errors import UserError

CASES = settings(
    max_examples=int(os.environ.get("FSGL_FUZZ", "40")), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip

# Parts, classes and images: what a plain reading gives.
Meant = set[tuple[str, str, str]]
# Path, label and part of each row of a table.
Rows = list[tuple[str, str, str]]

TAME = [
    "cat", "dog", "n01440764", "0001", "10", "Zebra", "caf\u00e9", "cafe\u0301s", "a,b", 'say "x"', "b & c",
    "\U0001f98a", "polar bear", "train station", "test tube", "\u72ac", "#1", "validated", "it's", "a=b", "100%",
]  # fmt: skip
ODD = [
    "line\nbreak", " lead", "trail ", "nan", "None", "7", "007", "a|b", "x;y", "cat ", "CAT", "\t", "train", "test",
    "valid", "images", "masks", "Caf\u00e9", "cafe\u0301", "-1", "1.0", "\u2028", "\\x", "'", "*", "[a]", "~",
    "%s", "a\\b",
]  # fmt: skip
FREE = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(".") and len(name.encode()) < 200
)
PARTS = {
    "train": ["train", "Training", "training_set", "TRAIN", "seg_train", "train_images", "Training Data", "TrainSet"],
    "val": ["val", "valid", "Validation", "dev", "val_images", "validation-set", "VAL"],
    "test": ["test", "Testing", "test_set", "holdout", "seg_test", "test images", "TestSet", "tst"],
}
AROUND = [
    "Thumbs.db", ".DS_Store", "{c}/._1.png", "{c}/notes.txt", "{c}/@eaDir/1.png", "#recycle/x/1.png", "readme.md",
    "{c}/thumbnails/2.png", "__MACOSX/{c}/1.png", "loose.png", ".git/1.png", "{c}/clip.mp4", "$RECYCLE.BIN/a/3.png",
]  # fmt: skip
LINKS = [("l1.png", "/etc/passwd"), ("l2", "."), ("l3.png", "gone.png")]
NUMBERS = count()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


def read(path: Path) -> Source | str:
    """The source, or the sentence by which it was refused."""
    try:
        source = find_source(path)
    except UserError as error:
        refused = str(error)
    else:
        assert not any("\n" in said for said in (source.found, *source.notes))
        return source
    assert "\n" not in refused
    assert path.name in refused
    return refused


def contents(source: Source) -> Meant:
    """What was read, with every class by its name."""
    found = set()
    for part, images in {"train": source.train, "val": source.val, "test": source.test}.items():
        if images is not None:
            assert isinstance(images, ImageFiles)
            found |= {(part, path, source.class_names[k]) for path, k in zip(images.paths, images.labels, strict=True)}
    return found


def in_order(names: set[str]) -> list[str]:
    numbers = all(re.fullmatch("[+-]?[0-9]+([.]0+)?", name) for name in names)
    return sorted(names, key=lambda name: (int(name.partition(".")[0]), name)) if numbers else sorted(names)


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def cells(table: Rows, notes: tuple[str, ...]) -> dict[str, str]:
    """The class that each label means. Of numbers alone ".0" is pandas' and no part of it, which is said."""
    names = {label: nfc(label.strip()) for _, label, _ in table}
    if all(re.fullmatch("[+-]?[0-9]+([.]0+)?", name) for name in names.values()):
        bare = {label: name.partition(".")[0] for label, name in names.items()}
        assert any("are taken for the number" in note for note in notes) == (bare != names)
        return bare
    return names


@st.composite
def named(draw: Callable[[Any], Any], least: int = 2) -> tuple[list[str], bool]:
    """Names of classes, different also where only the case is looked at, and whether all are of the plain sort."""
    tame = draw(st.booleans())
    kind = st.sampled_from(TAME) if tame else st.sampled_from(TAME + ODD) | FREE
    return draw(st.lists(kind, min_size=least, max_size=4, unique_by=lambda name: nfc(name))), tame


@st.composite
def folders(draw: Callable[[Any], Any]) -> tuple[list[str], list[tuple[str, str]], Meant, bool]:
    """Files and links (link, target) below a folder, what they mean, and whether that is beyond doubt."""
    classes, sure = draw(named())
    layout = draw(st.sampled_from(["plain", "above", "lone", "doubled", "between", "inside"]))
    parts = ["train"] if layout == "plain" else ["train", *draw(st.sampled_from([["test"], ["val"], ["val", "test"]]))]
    spelt = {part: draw(st.sampled_from(PARTS[part])) for part in parts}
    if layout == "inside":  # each class says it for itself, so nothing beside the words themselves counts there
        spelt = {part: draw(st.sampled_from([name for name in PARTS[part] if "seg" not in name])) for part in parts}
    files, meant = [], set()
    for part in parts:
        for c in classes:
            folder = {
                "plain": c, "above": f"{spelt[part]}/{c}", "lone": f"archive/data/{spelt[part]}/{c}",
                "doubled": f"{spelt[part]}/{spelt[part]}/{c}", "between": f"{spelt[part]}/images/{c}",
                "inside": f"{c}/{spelt[part]}",
            }[layout]  # fmt: skip
            below = draw(st.sampled_from(["", "", "", f"of {c}/", "2019/x/"])) if layout != "inside" and sure else ""
            below = below if "\n" not in below else ""
            for number in range(draw(st.integers(1, 2))):
                path = f"{folder}/{below}{number}{draw(st.sampled_from(['.png', '.JPG', '.jpeg']))}"
                files.append(path)
                meant.add((part, path, nfc(c)))
    around = draw(st.lists(st.sampled_from(AROUND), max_size=3, unique=True))
    where = sorted({path.rsplit("/", 1)[0] for path in files})[0]
    files += [each.replace("{c}", where) for each in around]
    links = []
    if draw(st.booleans()):
        links = [(f"{where}/{name}", target) for name, target in draw(st.lists(st.sampled_from(LINKS), max_size=2))]
    return files, links, meant, sure


@CASES
@given(case=folders())
def test_folders_are_read_as_meant(base: Path, case: tuple[list[str], list[tuple[str, str]], Meant, bool]) -> None:
    files, links, meant, sure = case
    root = base / f"f{next(NUMBERS)}"
    try:
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        for link, target in links:
            if not (root / link).is_symlink():
                (root / link).symlink_to(target)
        found = read(root)
    finally:
        shutil.rmtree(root)
    if isinstance(found, str):
        assert not sure, found
        return
    # A class that is called as what programs leave behind ("CACHE") is passed over, and named.
    left = {c for c in {c for _, _, c in meant} - set(found.class_names) if any(repr(c) in n for n in found.notes)}
    assert not (sure and left)
    meant = {each for each in meant if each[2] not in left}
    assert contents(found) == meant
    assert list(found.class_names) == in_order({name for _, _, name in meant})
    if len(files) > len(meant) or links:
        assert any(note.startswith(("passed over: ", "cannot be read here: ")) for note in found.notes)
    if links:
        assert any("link" in note for note in found.notes)


WORDS = st.sampled_from(["a", "b", "c", "train", "test", "val", "images", "masks", "2019", "cache", ".git"])


@CASES
@given(paths=st.lists(st.lists(WORDS, max_size=4), min_size=1, max_size=12))
def test_any_tree_is_read_by_one_rule_that_is_said(base: Path, paths: list[list[str]]) -> None:
    """Classes at one level, told from the words of what was found; nothing left aside without a count."""
    root = base / f"t{next(NUMBERS)}"
    files = {"/".join([*steps, f"{number}.png"]) for number, steps in enumerate(paths)}
    try:
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        found = read(root)
    finally:
        shutil.rmtree(root)
    if isinstance(found, str):
        return
    seen = {name for name in files if not {".git", "cache"} & set(name.split("/"))}
    read_as = contents(found)
    used = {path for _, path, _ in read_as}
    assert used <= seen
    told = " ".join(found.notes)
    if left := len(seen - used):
        assert f"images in no class's folder ({left}" in told
    assert ("hidden files" in told) == any("/.git/" in f"/{name}".split("cache/")[0] for name in files)
    plain = found.found.startswith("a folder for each class:")
    if plain:
        assert {(part, label) for part, _, label in read_as} == {("train", path.split("/")[0]) for path in used}
        tops = tree_of({folder: [""] for folder in {name.rpartition("/")[0] for name in used}})
        assert alike({name: node for name, node in tops.children.items() if node.deep >= node.straight}) is None
    else:
        assert " under " in found.found or " and in it " in found.found
        for part, path, _ in read_as:
            assert part in {"train": "train", "val": "val", "test": "test"}
            assert any(step.casefold() == part for step in path.split("/"))


DIALECTS = st.fixed_dictionaries({
    "delimiter": st.sampled_from(",;\t|"), "quote": st.sampled_from(["needed", "all"]),
    "newline": st.sampled_from(["\n", "\r\n"]), "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    "sep": st.booleans(), "pad": st.booleans(), "blank": st.booleans(),
    "path": st.sampled_from(["path", "File", "filename", "Image", "file_name", "image path", "IMG_PATH"]),
    "label": st.sampled_from(["label", "Class", "category", "target", "class_name", "species"]),
    "split": st.sampled_from([None, "split", "Subset", "partition", "is_test", "phase"]),
    "more": st.lists(st.sampled_from(["id", "width", "notes", "fold", "x"]), unique=True, max_size=2),
    "spelling": st.sampled_from(["as is", "./", "//", "backslash", "absolute"]),
    "order": st.permutations([0, 1, 2]),
})  # fmt: skip


@st.composite
def rows(draw: Callable[[Any], Any]) -> tuple[Rows, bool]:
    """Path, label and part of each row, and whether the labels are of the plain sort."""
    classes, sure = draw(named())
    size = draw(st.integers(len(classes), 8))
    labels = [*classes, *(draw(st.sampled_from(classes)) for _ in range(size - len(classes)))]
    parts = ["train", *(draw(st.sampled_from(["train", "train", "test"])) for _ in range(size - 1))]
    return [(f"d{i % 3}/{i}.png", label, part) for i, (label, part) in enumerate(zip(labels, parts, strict=True))], sure


def written(table: Rows, how: dict[str, Any], root: Path) -> bytes:
    """The table in a dialect: by hand, so that no writer's habits are taken for the rule."""
    spell = {
        "as is": lambda p: p, "./": lambda p: f"./{p}", "//": lambda p: p.replace("/", "//"),
        "backslash": lambda p: p.replace("/", "\\"), "absolute": lambda p: f"{root}/{p}",
    }[how["spelling"]]  # fmt: skip
    said = {"train": "0", "test": "1"} if how["split"] == "is_test" else {"train": "Training", "test": "TEST"}

    def cell(text: str) -> str:
        needed = how["quote"] == "all" or any(c in text for c in how["delimiter"] + '"\r\n') or text != text.strip()
        return '"' + text.replace('"', '""') + '"' if needed else f" {text} " if how["pad"] else text

    def line(cells: list[str | None]) -> str:
        three, rest = cells[:3], cells[3:]
        return how["delimiter"].join(cell(c) for c in [*(three[i] for i in how["order"]), *rest] if c is not None)

    lines = [line([how["path"], how["label"], how["split"], *how["more"]])]
    for path, label, part in table:
        lines.append(line([spell(path), label, said[part] if how["split"] else None, *("1" for _ in how["more"])]))
        lines += [""] if how["blank"] else []
    text = how["newline"].join([*([f"sep={how['delimiter']}"] if how["sep"] else []), *lines, ""])
    return text.encode(how["encoding"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for i in range(8):
        (root / f"d{i % 3}").mkdir(exist_ok=True)
        (root / f"d{i % 3}" / f"{i}.png").touch()
    return root


@CASES
@given(case=rows(), how=DIALECTS)
def test_tables_are_read_as_meant(photos: Path, case: tuple[Rows, bool], how: dict[str, Any]) -> None:
    table, sure = case
    (photos / "t.csv").write_bytes(written(table, how, photos))
    found = read(photos / "t.csv")
    if isinstance(found, str):
        assert not sure, found
        return
    names = cells(table, found.notes)
    meant = {(part if how["split"] else "train", path, names[label]) for path, label, part in table}
    assert contents(found) == meant
    assert list(found.class_names) == in_order({name for _, _, name in meant})
    assert any(f"labels from '{how['label']}'" in note for note in found.notes)
    met = {label for _, label, _ in table if label != label.strip()} and {label.strip() for _, label, _ in table}
    if met and len({label for _, label, _ in table}) > len({label.strip() for _, label, _ in table}):
        assert any("but for spaces around it" in note for note in found.notes)


@CASES
@given(case=rows())
@example(case=([("d0/0.png", "7", "train"), ("d1/1.png", "1.0", "train")], False))
def test_lists_with_tabs_are_read_as_meant(photos: Path, case: tuple[Rows, bool]) -> None:
    table, sure = case
    (photos / "l.txt").write_text("".join(f"{path}\t{label}\n" for path, label, _ in table), encoding="utf-8")
    found = read(photos / "l.txt")
    if isinstance(found, str):
        assert not sure, found
    elif not any("\n" in label or "\r" in label or "\t" in label for _, label, _ in table):
        names = cells(table, found.notes)
        assert contents(found) == {("train", path, names[label]) for path, label, _ in table}
