"""Somebody's own images, from the command line to the run folder: every kind of source, and every mistake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from fsgl.commands.cli import main
from fsgl.data.images.sources import ImageArrays, ImageFiles
from fsgl.data.load import DataSpec, load_data
from fsgl.data.readers.cifar import load_cifar
from fsgl.data.readers.own import find_source
from fsgl.data.readers.reading import Reading
from fsgl.data.readers.small_images import keep_small_images
from fsgl.errors import UserError
from fsgl.recipes import make_experiment

COUNTS = {"cat": 20, "dog": 9, "emu": 5, "fox": 3}
TWO_STEPS = ["--device", "cpu", "--max-steps", "2", "--track", "none", "--batch-size", "8", "--workers", "0"]
SMALL = [*TWO_STEPS, "--backbone", "resnet8-slim"]
Rows = list[tuple[str, str]]


def write_images(root: Path, counts: dict[str, int], size: tuple[int, int], suffix: str = ".png") -> Rows:
    """Random pixels in a folder for each class. Returns their relative paths with the classes."""
    random, rows = np.random.default_rng(0), []
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}{suffix}")
            rows.append((f"{name}/{i}{suffix}", name))
    return rows


def parts_of(rows: Rows) -> list[str]:
    return ["test" if i % 4 == 1 else "val" if i % 4 == 2 else "train" for i in range(len(rows))]


def folder(base: Path) -> list[str]:
    write_images(base / "pets", COUNTS, (8, 8))
    return [str(base / "pets")]


def folder_in_parts(base: Path) -> list[str]:
    for part, counts in {"train": COUNTS, "valid": {"cat": 2, "fox": 2}, "test": {"dog": 3, "cat": 1}}.items():
        write_images(base / "pets" / part, counts, (8, 8), ".jpg")
    return [str(base / "pets")]


def csv(base: Path) -> list[str]:
    rows = write_images(base, COUNTS, (8, 8))
    lines = [f"{path};{label};{part}" for (path, label), part in zip(rows, parts_of(rows), strict=True)]
    (base / "pets.csv").write_text("\n".join(["File;Label;Split", *lines]))
    return [str(base / "pets.csv")]


def parquet(base: Path) -> list[str]:
    rows = write_images(base / "images", COUNTS, (8, 8))
    numbers = {"cat": 10, "dog": 9, "emu": -3, "fox": 700}
    table = pyarrow.table({"image": [path for path, _ in rows], "target": [numbers[label] for _, label in rows]})
    pyarrow.parquet.write_table(table, base / "pets.parquet")
    return [str(base / "pets.parquet"), "--root", str(base / "images")]


def text_list(base: Path) -> list[str]:
    rows = write_images(base / "images", COUNTS, (8, 8))
    (base / "pets.txt").write_text("\n".join(f"{path} {label}" for path, label in rows))
    return [str(base / "pets.txt"), "--root", str(base / "images")]


def lists(base: Path) -> list[str]:
    rows = write_images(base / "images", COUNTS, (8, 8))
    for part in ("train", "val", "test"):
        mine = [row for row, its in zip(rows, parts_of(rows), strict=True) if its == part]
        (base / f"pets_{part}.txt").write_text("\n".join(f"{path} {label}" for path, label in mine))
    files = [word for part in ("train", "val", "test") for word in (f"--{part}-list", str(base / f"pets_{part}.txt"))]
    return ["lists", "--root", str(base / "images"), *files]


def npz(base: Path) -> list[str]:
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, count in {"train": 40, "val": 8, "test": 12}.items():
        arrays[f"{part}_images"] = random.integers(0, 256, (count, 10, 10), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 3 * 2 + 1)[:, None]
    np.savez_compressed(base / "pets.npz", **arrays)  # type: ignore[arg-type]
    return [str(base / "pets.npz")]


# What is found, the classes, training images of each, and images of validation and test.
FOUND: dict[Callable[[Path], list[str]], tuple[str, list[str], list[int], int, int]] = {
    folder: ("a folder for each class: 4 classes; 37 training images", list(COUNTS), [14, 6, 4, 3], 3, 7),
    folder_in_parts: (
        "a folder for each class under train, valid, test: 4 classes; 37 training, 4 validation and 4 test images",
        list(COUNTS), [20, 9, 5, 3], 4, 4,
    ),
    csv: ("a table of images: 4 classes; 19 training, 9 validation and 9 test images",
          list(COUNTS), [10, 5, 2, 2], 9, 9),
    parquet: ("a table of images in ", ["-3", "9", "10", "700"], [4, 6, 14, 3], 3, 7),
    text_list: ("a list of images in ", list(COUNTS), [14, 6, 4, 3], 3, 7),
    lists: ("3 lists of images in ", list(COUNTS), [10, 5, 2, 2], 9, 9),
    npz: ("arrays of 10 x 10 pixels, grey: 3 classes; 40 training, 8 validation and 12 test images",
          ["1", "3", "5"], [14, 13, 13], 8, 12),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOUND, ids=lambda kind: kind.__name__)
def test_from_a_path_to_a_trained_network(
    kind: Callable[[Path], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, names, counts, val, test = FOUND[kind]
    run = tmp_path / "run"
    assert main(["train", "fsgl", "--data", *kind(tmp_path), "--run", str(run), *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "\nfound " + found in shown
    assert shown.startswith(f"fsgl on {'pets_train' if kind is lists else 'pets'}, resnet8-slim, seed 0 -> ")
    record = json.loads((run / "experiment.json").read_text())
    assert (record["class_names"], record["class_counts"]) == (names, counts)
    data = record["data"]
    assert (data["train"], data["val"], data["test"]) == (sum(counts), val, test)
    assert [line.strip() for line in shown.splitlines() if line.strip() in data["found"][1:]] == data["found"][1:]
    assert record["settings"]["schedule"]["kind"] == "cosine"  # as CIFAR's: the images are small
    assert main(["evaluate", str(run), "--json", "--device", "cpu"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["top1"] == pytest.approx(record["result"]["last"]["top1"])
    assert np.load(run / "predictions.npz")["logits"].shape == (test, len(names))


def test_photographs_are_decoded_as_they_are_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "pets", {"cat": 6, "dog": 6}, (90, 70), ".jpg")
    run = tmp_path / "run"
    command = [
        "train",
        "cross-entropy",
        "--data",
        str(tmp_path / "pets"),
        "--run",
        str(run),
        "data.test=0.5",
        "--val",
        "0",
        "--scratch",
    ]
    assert main([*command, *TWO_STEPS, "--batch-size", "2", "--max-steps", "1"]) == 0
    record = json.loads((run / "experiment.json").read_text())
    assert record["settings"]["backbone"] == "resnet18-imagenet"  # as --scratch says
    assert record["class_counts"] == [4, 4]  # half is 3, but 4 stay in training
    assert "0.5 of each class set aside, 4 images (seed 0)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("side", "backbone"),
    [(None, "timm:tf_efficientnet_lite0"), (64, "resnet8-lite"), (65, "timm:tf_efficientnet_lite0")],
)
def test_network_goes_by_the_size_of_the_images(side: int | None, backbone: str) -> None:
    assert make_experiment("fsgl", "own", "x", side=side).backbone == backbone
    assert make_experiment("fsgl", "cifar10", side=side).backbone == "resnet34"


def test_resumed_run_notices_changed_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = Path(folder(tmp_path)[0]), tmp_path / "run"
    begin = ["train", "cross-entropy", "--data", str(path), "--run", str(run), "data.test_seed=3", *SMALL]
    assert main(begin) == 0
    capsys.readouterr()
    go_on = ["train", "--run", str(run), "--resume", "--device", "cpu", "--track", "none", "--max-steps", "4"]
    (path / "cat/3.png").rename(tmp_path / "3.png")
    assert main(go_on) == 2
    said = capsys.readouterr().err
    assert "the run began with other images" in said
    assert said.count("\n") == 1
    (tmp_path / "3.png").rename(path / "cat/3.png")
    assert main(go_on) == 0
    assert "no test images of its own: 0.2 of each class set aside, 7 images (seed 3)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "cat/3.png").unlink(),
        lambda path: (path / "cat").rename(path / "a cat"),
        lambda path: (path / "fox/0.png").rename(path / "emu/99.png"),
        lambda path: shutil.copy(path / "cat/0.png", path / "dog/0.png"),  # other pixels in a small image
    ],
    ids=["removed", "renamed", "moved", "replaced"],
)
def test_every_change_of_the_images_changes_the_hash(change: Callable[[Path], object], tmp_path: Path) -> None:
    spec = DataSpec("own", folder(tmp_path)[0])
    before = load_data(spec).hash
    assert load_data(spec).hash == before
    change(tmp_path / "pets")
    assert load_data(spec).hash != before


def test_replay_takes_the_images_from_where_they_are_now(tmp_path: Path) -> None:
    path, run, again = Path(folder(tmp_path)[0]), tmp_path / "run", tmp_path / "again"
    assert main(["train", "cross-entropy", "--data", str(path), "--run", str(run), *SMALL]) == 0
    path.rename(tmp_path / "moved")
    replay = ["train", "--from", str(run / "experiment.json"), "--root", str(tmp_path / "moved"), "--run", str(again)]
    assert main([*replay, "--device", "cpu", "--max-steps", "2", "--track", "none"]) == 0
    assert (run / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_relative_paths_are_taken_from_where_the_run_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (there := tmp_path / "there").mkdir()
    monkeypatch.chdir(there)
    rows = write_images(Path("pets"), {"cat": 12, "dog": 9, "emu": 4}, (8, 8))  # of emu none is spared for the test
    Path("train.txt").write_text("".join(f"{path} {label}\n" for path, label in rows))
    own, listed = ["--data", "pets"], ["--data", "lists", "--train-list", "train.txt", "--root", "pets"]
    for name, data in {"own": own, "listed": listed}.items():
        assert main(["train", "cross-entropy", *data, "--run", name, *SMALL]) == 0
    assert "balanced is of 2 of 3 classes (few of 2 of 3 classes)" in " ".join(capsys.readouterr().out.split())
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    for name in ("own", "listed"):
        assert main(["evaluate", f"../there/{name}"]) == 0
        assert "balanced is of 2 of 3 classes" in " ".join(capsys.readouterr().out.split())
    go_on = ["train", "--run", "../there/own", "--resume", "--device", "cpu", "--workers", "0", "--track", "none"]
    assert main([*go_on, "--max-steps", "3"]) == 0
    write_images(elsewhere / "pets", {"cat": 9, "dog": 9}, (8, 8))  # others of the same name do not stand in for them
    assert main(["evaluate", "../there/own"]) == 0
    there.rename(moved := tmp_path / "moved")  # with its images: then what is here counts
    monkeypatch.chdir(moved)
    assert main(["evaluate", "listed"]) == 0


def test_followed_links_are_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the caches of hubs and of DVC have them: a class that is a link, and files that are."""
    write_images(tmp_path / "store", {"cat": 9, "blobs": 9}, (8, 8))
    (tmp_path / "pets" / "dog").mkdir(parents=True)
    (tmp_path / "pets" / "cat").symlink_to(tmp_path / "store" / "cat")
    for i in range(9):
        (tmp_path / "pets" / "dog" / f"{i}.png").symlink_to(tmp_path / "store" / "blobs" / f"{i}.png")
    train = ["train", "cross-entropy", "--data", str(tmp_path / "pets"), "--run", str(tmp_path / "run"), *SMALL]
    assert main(train) == 2
    assert "it holds links ('cat' 1, 'dog' 9): --follow-links takes them" in capsys.readouterr().err
    assert main([*train, "--follow-links"]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    write_images(tmp_path / "store", {"blobs": 9}, (90, 80))  # of another size: decoded as they are needed
    spec = DataSpec("own", str(tmp_path / "pets"), reading=Reading(links="follow"))
    data = load_data(spec)
    assert isinstance(data.test, ImageFiles)
    assert sum(len(batch) for batch in data.evaluation_batches(data.test, "cpu")) == len(data.test)
    assert not data.bad.reasons


def test_hash_tells_other_images_and_other_parts_apart(tmp_path: Path) -> None:
    rows = write_images(tmp_path / "pets", COUNTS, (100, 80))
    spec: dict[str, Any] = {"name": "own", "root": str(tmp_path / "pets")}
    base = load_data(DataSpec(**spec))
    assert isinstance(base.train, ImageFiles)
    assert load_data(DataSpec(**spec)).hash == base.hash
    others = [
        load_data(DataSpec(**spec, **change)).hash
        for change in ({"test": 0.3}, {"test_seed": 1}, {"val_seed": 1}, {"val": 0.0})
    ]
    (tmp_path / "pets.csv").write_text("\n".join(["path,label", *(f"{path},{label}!" for path, label in rows)]))
    table = load_data(DataSpec("own", str(tmp_path / "pets.csv"), images=spec["root"]))
    assert table.train.labels.tolist() == base.train.labels.tolist()  # only the classes' names differ
    assert len({base.hash, table.hash, *others}) == 6
    shutil.move(tmp_path / "pets", tmp_path / "moved")
    assert load_data(DataSpec("own", str(tmp_path / "moved"))).hash == base.hash


def test_images_that_lead_out_are_not_read(tmp_path: Path) -> None:
    write_images(tmp_path / "secret", {"x": 1}, (8, 8))
    write_images(tmp_path / "pets", {"cat": 6, "dog": 6}, (8, 8))
    (tmp_path / "pets" / "out.png").symlink_to(tmp_path / "secret" / "x" / "0.png")
    rows = [f"{name}/{i}.png {name}" for name in ("cat", "dog") for i in range(6)]
    (tmp_path / "pets" / "list.txt").write_text("\n".join([*rows, "out.png cat"]))
    source = find_source(tmp_path / "pets" / "list.txt")
    with pytest.raises(UserError, match=r"out\.png: leads out of .*pets; nothing outside it is read"):
        keep_small_images(source)


def test_real_images_come_through_a_folder_unchanged(cifar_root: Path, tmp_path: Path) -> None:
    genuine = load_cifar("cifar10", cifar_root).train
    assert isinstance(genuine, ImageArrays)
    for i in range(300):
        name = tmp_path / "cifar" / f"{genuine.labels[i]}" / f"{i:04}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(genuine.images[i]).save(name)
    data = load_data(DataSpec("own", str(tmp_path / "cifar"), val=0.0))
    assert isinstance(data.train, ImageArrays)
    assert isinstance(data.test, ImageArrays)
    assert data.class_names == tuple("0123456789")

    def pairs(images: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
        return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))

    found = pairs(data.train.images, data.train.labels) + pairs(data.test.images, data.test.labels)
    assert sorted(found) == pairs(genuine.images[:300], genuine.labels[:300])
    np.testing.assert_allclose(data.mean, data.train.images.mean(axis=(0, 1, 2)) / 255)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "unknown data set 'nowhere'; known: digits, .* (nor is there such a file or folder)"),
        (["cifar-10"], "unknown data set 'cifar-10'; did you mean 'cifar10'? (nor is there such a file or folder)"),
        ([""], "unknown data set ''; known: "),
        (["./nowhere"], "nowhere: no such file or folder"),
        (["nowhere.csv"], "nowhere.csv: no such file or folder"),
        (["PETS", "--imbalance-factor", "10"], "pets has its own tail; data.imbalance_factor does not apply to it"),
        (
            ["PETS", "--root", "x"],
            "pets: a root (x) is for tables and lists of paths; this holds the images themselves",
        ),
        (["PETS", "--test-list", "x"], "pets is not given by lists; data.train_list and its like do not apply"),
        (["PETS", "data.test=1.5"], "data.test must be above 0 and below 1, not 1.5"),
        (["PETS/cat"], "cat: no folders with images, one a class; 20 images lie in it without a class"),
        (["PETS/cat/0.png"], "0.png: neither a folder of images nor a file of a known kind"),
        (["lists"], "lists needs data.train_list, a text file 'path label' or a table"),
        (["digits", "data.test=0.5"], "digits has a test set; data.test and data.test_seed do not apply to it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    command = [word.replace("PETS", str(tmp_path / "pets")) for word in arguments]
    assert main(["train", "fsgl", "--data", *command, *SMALL]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    start, _, end = said.partition(".*")
    assert start in error
    assert end in error
    assert not (tmp_path / "runs").exists()


def test_name_of_a_data_set_is_not_looked_for_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["train", "fsgl", "--data", "digits", "--run", "run", *SMALL, "--max-steps", "1"]) == 0


def test_run_is_named_for_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "fsgl", "--data", "pets", *SMALL, "--max-steps", "1"]) == 0
    assert (tmp_path / "runs" / "fsgl-pets-seed0" / "experiment.json").exists()
