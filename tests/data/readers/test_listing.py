from __future__ import annotations

from pathlib import Path

import pytest

from fsgl.data.images.sources import ImageFiles
from fsgl.data.readers.listing import Labelled, Listing, Rows, describe, source_of, title
from fsgl.errors import UserError


def test_source_of_a_listing() -> None:
    parts = {"train": Labelled(["a", "b"], ["10", "2"]), "val": Labelled(["c"], ["2"])}
    source = source_of(Listing(Path("/data/pets.csv"), Path("/data"), "a table", parts, ["said"]))
    assert isinstance(source.train, ImageFiles)
    assert isinstance(source.val, ImageFiles)
    assert (source.name, source.class_names, source.test) == ("pets", ("2", "10"), None)
    assert (source.train.root, source.train.paths) == (Path("/data"), ("a", "b"))
    assert (source.train.labels.tolist(), source.val.labels.tolist()) == ([1, 0], [0])
    assert source.found == "a table: 2 classes; 2 training and 1 validation images"
    assert source.notes == ("said",)
    with pytest.raises(UserError, match=r"pets\.csv: no training images, only validation images"):
        source_of(Listing(Path("/data/pets.csv"), Path("/data"), "a table", {"val": parts["val"]}))


def test_words_for_people(tmp_path: Path) -> None:
    sizes = {"test": 3, "train": 1000, "val": 2}
    assert describe("x", 1, sizes) == "x: 1 class; 1,000 training, 2 validation and 3 test images"
    assert (title(Path("a/b.c.csv")), title(tmp_path / "pets/"), title(Path("/"))) == ("b.c", "pets", "images")


def test_rows_are_collected() -> None:
    rows = Rows()
    for path, label, part in [("a", "x", "train"), ("b", " y ", "train"), ("a", "x", "train"), ("a", "x", "test")]:
        rows.add(path, label, part, "l")
    assert rows.parts == {"train": Labelled(["a", "b"], ["x", "y"]), "test": Labelled(["a"], ["x"])}
    assert rows.notes() == [
        "1 repeated rows passed over", "1 images are in more than one part: the scores will flatter",
    ]  # fmt: skip
    with pytest.raises(UserError, match="t, line 9: 'a' is 'z' here and 'x' before; an image has one class"):
        rows.add("a", "z", "test", "t, line 9")
    with pytest.raises(UserError, match="t, line 9: 'c' has no label"):
        rows.add("c", " ", "train", "t, line 9")
    assert Rows().notes() == []
