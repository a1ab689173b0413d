from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fsgl.data.draw.split import split_hash
from fsgl.data.images import shard_writer
from fsgl.data.images.bad_images import BadImages
from fsgl.data.images.image_files import BadImage
from fsgl.data.images.shard_writer import PrepareSpec, prepare, verify
from fsgl.data.images.shards import INDEX, PreparedImages, is_prepared, read_prepared
from fsgl.data.images.sources import ImageFiles
from fsgl.data.readers.own import find_source
from fsgl.errors import UserError

SIZES = [(40, 30), (20, 50), (12, 12), (9, 31), (64, 16)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with training and test images of several sizes."""
    root, random = tmp_path / "photos", np.random.default_rng(0)
    for part, count in {"train": 5, "test": 3}.items():
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                width, height = SIZES[i]
                pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{i}.png")
    return root


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "SHARD", 4)


def opened(images: ImageFiles | PreparedImages) -> list[np.ndarray]:
    return [np.asarray(images.open(i)) for i in range(len(images))]


@pytest.mark.parametrize("workers", [0, 2])
def test_raw_images_are_the_originals_resized_by_pillow(photos: Path, tmp_path: Path, workers: int) -> None:
    source, out = find_source(photos), tmp_path / "out"
    prepare(source, out, PrepareSpec(16), workers)
    again = find_source(out)
    assert again.class_names == source.class_names == ("cat", "dog")
    assert (again.mean, again.std) == (source.mean, source.std)
    for original, stored in ((source.train, again.train), (source.test, again.test)):
        assert isinstance(original, ImageFiles)
        assert isinstance(stored, PreparedImages)
        np.testing.assert_array_equal(stored.labels, original.labels)
        for path, pixels in zip(original.paths, opened(stored), strict=True):
            image = Image.open(original.root / path)
            scale = 16 / min(image.size)
            if scale < 1:
                size = (round(image.width * scale), round(image.height * scale))
                image = image.resize(size, Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(pixels, np.asarray(image))
    assert "prepared by fsgl" in again.found


def test_jpegs_are_near_and_smaller(photos: Path, tmp_path: Path) -> None:
    smooth = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8))
    for path in photos.rglob("*.png"):
        smooth.resize((80, 60), Image.Resampling.BICUBIC).save(path)
    source = find_source(photos)
    raw = prepare(source, tmp_path / "raw", PrepareSpec(32), 0)
    jpeg = prepare(source, tmp_path / "jpeg", PrepareSpec(32, "jpeg"), 0)
    assert sum(s.bytes for s in jpeg.parts["train"]) < 0.4 * sum(s.bytes for s in raw.parts["train"])
    exact, near = (opened(find_source(tmp_path / name).train) for name in ("raw", "jpeg"))  # type: ignore[arg-type]
    for one, other in zip(exact, near, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 3


def test_taking_pickling_and_the_datas_hash(photos: Path, tmp_path: Path) -> None:
    prepare(find_source(photos), tmp_path / "out", PrepareSpec(16), 0)
    train = find_source(tmp_path / "out").train
    assert isinstance(train, PreparedImages)
    some = train.take(np.array([7, 0, 7]))
    np.testing.assert_array_equal(some.labels, train.labels[[7, 0, 7]])
    for copy in (some, pickle.loads(pickle.dumps(some))):
        np.testing.assert_array_equal(np.asarray(copy.open(0)), np.asarray(train.open(7)))
    assert split_hash(a=train) == split_hash(a=find_source(tmp_path / "out").train)
    assert split_hash(a=train) != split_hash(a=train.take(np.arange(1, len(train))))
    prepare(find_source(photos), tmp_path / "other", PrepareSpec(12), 0)
    assert split_hash(a=find_source(tmp_path / "other").train) != split_hash(a=train)
    assert "train/dog/1.png" in some.location(1) or "train" in some.location(1)


def test_it_goes_on_where_it_was_stopped(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out, written = find_source(photos), tmp_path / "out", []
    real = shard_writer._write_shard

    def counted(task, folder):  # type: ignore[no-untyped-def]
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(task.name)
        return real(task, folder)

    monkeypatch.setattr(shard_writer, "_write_shard", counted)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out, PrepareSpec(16), 0)
    assert not is_prepared(out)
    with pytest.raises(UserError):
        read_prepared(out)
    (out / ".train-00002.bin.xyz.part").write_bytes(b"half")  # as a killed process leaves it
    first = list(written)
    written[:] = []
    (out / f"{first[1]}.bin").write_bytes(b"damaged meanwhile")
    seen = []
    monkeypatch.setattr(
        shard_writer, "_write_shard", lambda task, folder: written.append(task.name) or real(task, folder)
    )
    prepare(source, out, PrepareSpec(16), 0, progress=lambda done, total: seen.append((done, total)))
    assert first[0] not in written
    assert first[1] in written
    assert seen[0] == (4, 16)
    assert seen[-1] == (16, 16)
    whole = prepare(source, tmp_path / "whole", PrepareSpec(16), 0)
    assert read_prepared(out) == whole
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in (tmp_path / "whole").iterdir())
    verify(out)


def test_a_changed_file_or_setting_is_prepared_again(photos: Path, tmp_path: Path) -> None:
    source, out = find_source(photos), tmp_path / "out"
    prepare(source, out, PrepareSpec(16), 0)
    with pytest.raises(UserError, match="holds a prepared set already"):
        prepare(source, out, PrepareSpec(16), 0)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"something else \('thesis.txt'\)"):
        prepare(source, strange, PrepareSpec(16), 0)
    assert (strange / "thesis.txt").read_text() == "mine"
    (strange / "thesis.txt").unlink()
    for left in (".DS_Store", "Thumbs.db", "desktop.ini", "@eaDir"):  # what systems leave there is nothing else
        (strange / left).touch()
    prepare(source, strange, PrepareSpec(16), 0)
    with pytest.raises(UserError, match="is prepared already"):
        prepare(find_source(out), tmp_path / "twice", PrepareSpec(16), 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_left_out_and_listed(photos: Path, tmp_path: Path, workers: int) -> None:
    (photos / "train" / "cat" / "1.png").write_bytes(b"")
    (photos / "test" / "dog" / "2.png").write_bytes(b"hello")
    bad = BadImages("skip")
    prepared = prepare(find_source(photos), tmp_path / "out", PrepareSpec(16), workers, bad)
    assert [(part, Path(path).name) for part, path, _ in prepared.skipped] == [("train", "1.png"), ("test", "2.png")]
    assert sorted(bad.reasons.values()) == ["empty", "not an image (or of a format that is not read)"]
    again = find_source(tmp_path / "out")
    assert (len(again.train), len(again.test or ())) == (9, 5)
    assert any("passed over: 2 files" in note for note in again.notes)
    with pytest.raises(UserError, match="--bad-images skip"):
        prepare(find_source(photos), tmp_path / "strict", PrepareSpec(16), workers, BadImages("error"))
    for i in range(5):
        (photos / "train" / "cat" / f"{i}.png").write_bytes(b"")
    with pytest.raises(UserError, match="class 'cat' has no readable training image left"):
        prepare(find_source(photos), tmp_path / "none", PrepareSpec(16), workers)


# ---------------------------------------------------------------- damage


@pytest.fixture
def out(photos: Path, tmp_path: Path) -> Path:
    prepare(find_source(photos), tmp_path / "out", PrepareSpec(16, "jpeg"), 0)
    return tmp_path / "out"


def test_verifying_reads_every_byte(out: Path) -> None:
    seen = []
    verify(out, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    content = bytearray((out / "test-00001.bin").read_bytes())
    content[-3] ^= 1
    (out / "test-00001.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"test-00001\.bin: damaged"):
        verify(out)


def test_a_damaged_image_is_a_bad_image(out: Path) -> None:
    content = bytearray((out / "train-00000.bin").read_bytes())
    content[:200] = bytes(200)
    (out / "train-00000.bin").write_bytes(content)
    train = find_source(out).train
    assert isinstance(train, PreparedImages)
    with pytest.raises(BadImage, match=r"out: train/cat/0.png: damaged"):
        train.open(0)
    train.open(1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prepared.json", b"{}"),
        ("prepared.json", b"[1, 2"),
        ("train.txt", b'"one"\n'),
        ("train-00000.index", b"nonsense"),
        ("train-00000.bin", b"short"),
    ],
)
def test_damaged_files_are_one_line(out: Path, name: str, content: bytes) -> None:
    (out / name).write_bytes(content)
    with pytest.raises(UserError, match="out/") as caught:
        find_source(out)
    assert "\n" not in str(caught.value)


def test_an_index_that_points_elsewhere_is_refused(out: Path) -> None:
    rows = np.fromfile(out / "train-00000.index", dtype=INDEX)
    for field, value in {"offset": 2**63, "bytes": 2**40, "label": -1}.items():
        wrong = rows.copy()
        wrong[field][1] = value
        wrong.tofile(out / "train-00000.index")
        with pytest.raises(UserError, match="prepare the set again"):
            find_source(out)
    wrong = rows.copy()
    wrong["label"][1] = 2
    wrong.tofile(out / "train-00000.index")
    with pytest.raises(UserError, match="label without a class"):
        find_source(out)


def test_a_name_that_leads_out_is_refused(out: Path) -> None:
    content = json.loads((out / "prepared.json").read_text())
    content["parts"]["train"][0]["name"] = "../../secret"
    (out / "prepared.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="not what fsgl prepare writes"):
        find_source(out)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["prepared.json", "train-00000.index", "train.txt"]), st.integers(0, 4000), st.binary(max_size=30)
)
def test_any_damage_is_one_line_or_harmless(out: Path, name: str, place: int, patch: bytes) -> None:
    content = (out / name).read_bytes()
    place %= len(content)
    (out / name).write_bytes(content[:place] + patch + content[place + len(patch) :])
    try:
        train = find_source(out).train
        assert isinstance(train, PreparedImages)
        for position in range(len(train)):
            try:
                train.open(position)
            except BadImage:
                continue
    except UserError:
        pass
    finally:
        (out / name).write_bytes(content)
