from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsgl.data.draw.folds import NEVER, validation_folds
from fsgl.data.draw.together import keep_together
from fsgl.data.images import copies
from fsgl.data.images.copies import same_content
from fsgl.data.images.shards import PreparedImages
from fsgl.data.images.sources import ImageArrays, ImageFiles, Source
from fsgl.data.load import DataSpec, LoadedData, load_data
from fsgl.data.readers.reading import Reading


def noise(path: Path, seed: int, side: int = 12) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def own(path: Path, **settings: object) -> LoadedData:
    return load_data(DataSpec("own", str(path), copies="together", **settings))  # type: ignore[arg-type]


def pictures(data: LoadedData, part: str) -> list[bytes]:
    images = getattr(data, part)
    if isinstance(images, ImageArrays):
        return [image.tobytes() for image in images.images]
    return [images.pixels(place).tobytes() for place in range(len(images))]


@pytest.fixture(params=[12, 80], ids=["in memory", "files"])
def twice(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two classes of 30 pictures, each there twice; ten of the second class are the first's, and one thrice."""
    for i in range(30):
        for name in (f"a/{i}.png", f"a/{i} copy.png", f"b/{i}.png", f"b/{i} copy.png"):
            noise(tmp_path / name, i if name[0] == "a" or i < 10 else 100 + i, request.param)
    shutil.copy(tmp_path / "a/0.png", tmp_path / "b/again.png")
    return tmp_path


def test_no_picture_is_on_two_sides(twice: Path) -> None:
    data = own(twice, test=0.2, val=0.2)
    sides = [set(pictures(data, part)) for part in ("train", "val", "test")]
    assert len(set.union(*sides)) == sum(map(len, sides)) == 50
    assert len(data.test) == 24  # a fifth of each class
    assert sum(len(getattr(data, part)) for part in ("train", "val", "test")) == 121
    kept = {"images": 121, "groups": 50}
    found = data.describe()["together"]
    assert found == {  # the large ones were decoded as well, which says no more
        "kept": "together", "leaks": {}, "alike_leaks": {}, "contradictions": 41, "alike_and_many": 0, "copies": kept,
        "alike": {"images": 0, "groups": 0}, "kept_together": kept,
    }  # fmt: skip
    assert "copies: 121 training images are 50 (the same content); each stays on one side of a split" in data.notes
    assert any(note.startswith("CONTRADICTION: 41 images of the same content are of different classes; the first: ")
               and note.endswith("('b')") for note in data.notes)  # fmt: skip
    apart = load_data(replace(data.spec, copies="apart"))
    assert set(pictures(apart, "train")) & set(pictures(apart, "test"))


def test_noise_with_meaningless_labels_is_known_by_its_copies_only_where_they_fall_apart(tmp_path: Path) -> None:
    """Each picture twice; the label of the nearest training image is what learning by heart comes to."""
    for i in range(240):
        noise(tmp_path / f"{'ab'[i % 2]}/{i}.png", i)
        shutil.copy(tmp_path / f"{'ab'[i % 2]}/{i}.png", tmp_path / f"{'ab'[i % 2]}/{i} copy.png")
    together = own(tmp_path)
    scores = []
    for data in (together, load_data(replace(together.spec, copies="apart"))):
        assert isinstance(data.train, ImageArrays)
        assert isinstance(data.test, ImageArrays)
        known, asked = (part.images.reshape(len(part), -1).astype(np.float64) for part in (data.train, data.test))
        nearest = ((known**2).sum(1) - 2 * asked @ known.T).argmin(axis=1)
        scores.append(float((data.train.labels[nearest] == data.test.labels).mean()))
    assert scores[0] < 0.7 < 0.8 < scores[1]  # 48 different pictures: 0.7 is 2.8 standard errors above chance


def test_folds_for_validation_keep_copies_together(twice: Path) -> None:
    for fold in range(3):
        data = own(twice, val=0.25, val_fold=fold)
        assert data.val is not None
        assert not set(pictures(data, "train")) & set(pictures(data, "val"))


def test_without_copies_the_split_is_the_one_that_it_was(tmp_path: Path) -> None:
    for i in range(40):
        noise(tmp_path / f"{'ab'[i % 2]}/{i}.png", i)
    together = own(tmp_path)
    assert together.hash == load_data(replace(together.spec, copies="apart")).hash
    assert not any("copies" in note or "LEAK" in note for note in together.notes)


@pytest.mark.parametrize("spelt", ["img//{}.png", "img/./{}.png", "link/{}.png", "copies/{}.png", "IMG/{}.PNG"])
def test_given_parts_that_share_images_are_said_whatever_the_path(tmp_path: Path, spelt: str) -> None:
    rows = {"train": [], "test": []}  # type: dict[str, list[str]]
    for i in range(16):
        noise(tmp_path / f"img/{i}.png", i, 80)
        rows["train" if i < 12 else "test"].append(f"img/{i}.png,{'ab'[i % 2]},{'train' if i < 12 else 'test'}")
    (tmp_path / "link").symlink_to("img")
    shutil.copytree(tmp_path / "img", tmp_path / "copies")
    if not (tmp_path / "IMG" / "0.PNG").exists():  # as a disk that ignores letter case has it: one file, two names
        (tmp_path / "IMG").mkdir()
        for i in range(3):
            (tmp_path / f"IMG/{i}.PNG").hardlink_to(tmp_path / f"img/{i}.png")
    rows["test"] += [f"{spelt.format(i)},{'ab'[i % 2]},test" for i in range(3)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,split", *rows["train"], *rows["test"]]))
    data = own(tmp_path / "t.csv", val=0.0, reading=Reading(links="follow"))
    leaks = [note for note in data.notes if note.startswith("LEAK")]
    assert len(leaks) == 1
    assert leaks[0].startswith("LEAK: 3 of 7 test images are training images as well")
    assert data.describe()["together"]["leaks"] == {"train-test": 3}  # type: ignore[index]


def test_groups_of_a_folder_level_stay_whole_across_classes(tmp_path: Path) -> None:
    """Each burst has images of both classes; one image of it is in another burst as well."""
    for i in range(80):
        noise(tmp_path / f"{'ab'[i % 2]}/burst{i // 8}/{i}.png", i)
    noise(tmp_path / "a/burst1/again.png", 0)
    data = own(tmp_path, test=0.2, reading=Reading(class_level=1, group_level=2))
    assert isinstance(data.test, ImageArrays)
    known = {noise(tmp_path / "x.png", i).read_bytes(): i for i in range(80)}
    by_pixels = {np.asarray(Image.open(path)).tobytes(): path.parent.name for path in tmp_path.glob("?/burst*/*.png")}
    assert len(known) == len(by_pixels) == 80
    bursts = [{by_pixels[picture].replace("burst1", "burst0") for picture in pictures(data, part)} for part in
              ("train", "val", "test")]  # fmt: skip
    assert sum(map(len, bursts)) == len(set.union(*bursts)) == 9  # burst0 and burst1 are one
    assert any(note.startswith("groups: 81 images in 9, each on one side") for note in data.notes)


def test_groups_of_a_column_that_given_parts_divide_are_said(tmp_path: Path) -> None:
    lines = ["path,label,split,patient"]
    for i in range(24):
        noise(tmp_path / f"{i}.png", i)
        lines.append(f"{i}.png,{'ab'[i % 2]},{'train' if i < 16 else 'test'},p{i // 3}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = own(tmp_path / "t.csv", val=0.0, reading=Reading(group_column="patient"))
    assert "LEAK: 1 groups have training and test images, the first 'p5'" in data.notes


@pytest.mark.parametrize("given", ["val", "test"])
@pytest.mark.parametrize("by", ["copies", "patients", "patients, copies apart"])
def test_what_a_given_part_has_as_well_is_never_carved(tmp_path: Path, given: str, by: str) -> None:
    """Six of 40 training images are the given part's, by content; or ten, by patient."""
    theirs = 6 if by == "copies" else 10
    lines = ["path,label,split,patient"]
    for i in range(40):
        noise(tmp_path / f"{i}.png", i)
        lines.append(f"{i}.png,{'ab'[i % 2]},train,{f'p{i % 6}' if i < 10 else ''}")
    for i in range(6):
        noise(tmp_path / f"given{i}.png", i if by == "copies" else 100 + i)
        lines.append(f"given{i}.png,{'ab'[i % 2]},{given},{'' if by == 'copies' else f'p{i}'}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    copies = "apart" if "apart" in by else "together"
    share = {"test": 0.4} if given == "val" else {"val": 0.4}
    spec = DataSpec("own", str(tmp_path / "t.csv"), copies=copies, reading=Reading(group_column="patient"), **share)  # type: ignore[arg-type]
    known = {np.asarray(Image.open(tmp_path / f"{i}.png")).tobytes() for i in range(theirs)}
    for seed in range(3):  # by chance all six would stay once in 20 times
        data = load_data(replace(spec, test_seed=seed) if given == "val" else replace(spec, val_seed=seed))
        assert known <= set(pictures(data, "train"))
        assert len(pictures(data, "test" if given == "val" else "val")) == 16
    part = {"val": "validation", "test": "test"}[given]
    said = f"{theirs} training images belong with {part} images"
    assert any(note.startswith(said) for note in data.notes), data.notes


@pytest.mark.parametrize("side", [12, 80], ids=["in memory", "files"])
def test_a_copy_of_a_given_test_image_is_in_no_validation_fold(tmp_path: Path, side: int) -> None:
    """Of 40 training images four are test images as well, and a fifth is a copy of one of them; of two classes."""
    for i in range(40):
        noise(tmp_path / f"train/{'ab'[i % 2]}/{i}.png", i, side)
    noise(tmp_path / "train/b/again.png", 0, side)
    for i in (0, 1, 2, 3, 100, 101):
        noise(tmp_path / f"test/{'ab'[i % 2]}/given{i}.png", i, side)
    data = load_data(DataSpec("own", str(tmp_path), copies="together", val=0.0), folds=True)
    assert data.stays is not None
    assert data.groups is not None
    assert any(note.startswith("5 training images belong with test images") for note in data.notes)
    tested, shown = set(pictures(data, "test")), np.array([hash(each) for each in pictures(data, "train")])
    theirs = np.isin(shown, [hash(each) for each in tested])
    assert np.array_equal(data.stays, theirs)
    assert theirs.sum() == 5
    part = np.random.default_rng(0).permutation(41)[:30]  # as where some cannot be read
    for seed in range(5):
        for some in (np.arange(41), np.sort(part)):
            stays = np.flatnonzero(data.stays[some]).tolist()
            folds = validation_folds(data.train.labels[some], 4, seed, 2, data.groups[some], stays)
            assert np.array_equal(folds == NEVER, theirs[some])
    apart = load_data(replace(data.spec, copies="apart"), folds=True)
    assert apart.stays is not None
    assert not apart.stays.any()
    assert load_data(data.spec).stays is None  # nobody asked


def test_a_class_that_is_one_group_gives_no_test_image_and_is_named(tmp_path: Path) -> None:
    for i in range(20):
        noise(tmp_path / f"a/{i}.png", i)
        noise(tmp_path / f"b/{i}.png", 1000)
    data = own(tmp_path, val=0.0)
    assert data.without_test == (1,)
    assert any("'b'" in note for note in data.notes)


def test_content_is_compared_however_files_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a comparison of all bytes of all pairs; and of files of different sizes none is opened."""
    random = np.random.default_rng(0)
    body = random.bytes(1000)
    contents = [body, body, body[:-1] + b"x", b"x" + body[1:], body[:500], b"", b"", b"ab", b"ab", b"cd", body]
    long = random.bytes(600_000)  # the second two differ in the middle alone
    pairs = [long, long, b"y" + long, b"y" + long[:400_000] + b"z" + long[400_001:]]
    for i, content in enumerate(contents):
        (tmp_path / f"{i}").write_bytes(content)
    os.link(tmp_path / "3", tmp_path / "11")
    names = (*map(str, range(12)), "missing", "missing")
    files = ImageFiles(tmp_path, names, np.zeros(14, np.int64))
    read = [(tmp_path / name).read_bytes() if (tmp_path / name).exists() else b"" for name in names]
    expected = sorted({tuple(i for i in range(14) if read[i] == read[j]) for j in range(14) if read[j]})
    assert same_content([files.take(np.arange(4)), files.take(np.arange(4, 14))]) == [
        list(group) for group in expected if len(group) > 1
    ]
    for i, content in enumerate(pairs):
        (tmp_path / f"{i}").write_bytes(content)
    assert same_content([files.take(np.arange(4))]) == [[0, 1]]
    monkeypatch.setattr(copies.os, "open", None)
    assert same_content([files.take(np.array([0, 4, 5, 7]))]) == []


def test_a_prepared_set_keeps_copies_together(twice: Path, tmp_path: Path) -> None:
    from fsgl.commands.cli import main

    out = tmp_path.with_name(f"{tmp_path.name}-prepared")
    assert main(["prepare", str(twice), str(out), "--workers", "0"]) == 0
    data = own(out, val=0.2)
    assert isinstance(data.train, PreparedImages)
    assert not set(pictures(data, "train")) & set(pictures(data, "test"))


def test_nothing_is_looked_for_where_nothing_is_parted() -> None:
    images = ImageArrays(np.zeros((6, 2, 2, 1), np.uint8), np.array([0, 1] * 3))
    source, found = keep_together(Source("x", images, None, ("a", "b"), (0.5,), (0.5,)), "together", carves=False)
    assert (source.groups, source.notes, found["leaks"]) == ({}, (), {})


def photograph(seed: int) -> Image.Image:
    """Smooth enough to survive a JPEG."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((96, 96), Image.Resampling.BICUBIC)


def test_near_copies_stay_together_and_are_said_of_given_parts(tmp_path: Path) -> None:
    """Of every other picture a smaller JPEG; of one a bitmap with the same pixels."""
    for name in "ab":
        (tmp_path / name).mkdir()
    for i in range(30):
        image = photograph(i)
        image.save(tmp_path / f"{'ab'[i % 2]}/{i}.png")
        if i % 3 == 0:
            image.resize((64, 64)).save(tmp_path / f"{'ab'[i % 2]}/{i}.small.jpg", quality=80)
        if i == 1:
            image.save(tmp_path / f"b/{i}.bmp")
    data = own(tmp_path, test=0.3)
    assert data.describe()["together"]["alike"] == {"images": 22, "groups": 11}  # type: ignore[index]
    sides = [{Path(path).name.split(".")[0] for path in part.paths} for part in (data.train, data.val, data.test)]  # type: ignore[union-attr]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 30
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name},{'test' if path.suffix == '.jpg' else 'train'}"
            for path in sorted(tmp_path.glob("?/*"))]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["path,label,split", *rows]))
    given = own(tmp_path / "t.csv", val=0.0)
    assert [note.split(";")[0] for note in given.notes if "LEAK" in note] == [
        "LEAK, perhaps: 10 of 10 test images look like training images"
    ]


def test_images_of_one_kind_are_no_copies(tmp_path: Path) -> None:
    """Sixty views of one thing that differ by a grey level each: the split is the one that it was."""
    for name in "ab":
        (tmp_path / name).mkdir()
    for i in range(60):
        pixels = (np.asarray(photograph(0)) // 2 + i).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{'ab'[i % 2]}/{i}.png")
    data = own(tmp_path)
    assert data.describe()["together"]["alike_and_many"] == 60  # type: ignore[index]
    assert any(note.startswith("60 images look alike, too many to be copies") for note in data.notes)
    assert data.hash == load_data(replace(data.spec, copies="apart")).hash


def test_a_prepared_set_does_not_lose_groups_silently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fsgl.commands.cli import main

    for i in range(4):
        noise(tmp_path / f"in/{'ab'[i % 2]}/g/{i}.png", i, 80)
    levels = ["--class-level", "1", "--group-level", "2"]
    assert main(["prepare", str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "0", *levels]) == 2
    assert "a prepared set keeps no groups" in capsys.readouterr().err
    assert not (tmp_path / "out" / "prepared.json").exists()
