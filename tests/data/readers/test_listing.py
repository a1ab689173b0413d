from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.images.sources import ImageFiles
from fsgl.data.readers.listing import Labelled, Listing, Rows, describe, number_labels, same_numbers, source_of, title
from fsgl.errors import UserError


@pytest.mark.parametrize(
    ("written", "names", "labels"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        (["10", "9", "-3", "9"], ("-3", "9", "10"), [2, 1, 0, 1]),  # by number, not by text, with gaps
        (["7", "07", "7.0", "+7", "8"], ("7", "8"), [0, 0, 0, 0, 1]),
        (["10", "9", "x"], ("10", "9", "x"), [0, 1, 2]),  # one name among numbers: all are names
        (["1.5", "1"], ("1", "1.5"), [1, 0]),
        (["9" * 19, "1"], ("1", "9" * 19), [1, 0]),  # too long for a number
        (["\udcff", "a"], ("?", "a"), [0, 1]) if "\udcff" < "a" else (["\udcff", "a"], ("a", "?"), [1, 0]),
    ],
)
def test_labels_are_numbered(written: list[str], names: tuple[str, ...], labels: list[int]) -> None:
    found, (column,) = number_labels([written])
    assert found == names
    assert column.tolist() == labels
    assert column.dtype == np.int64


@given(st.lists(st.lists(st.integers(-(10**17), 10**17).map(str) | st.text(max_size=3), max_size=9), max_size=3))
def test_numbering_is_of_all_columns_together_and_loses_nothing(columns: list[list[str]]) -> None:
    names, numbered = number_labels(columns)
    pairs = {
        (label, int(k))
        for column, row in zip(columns, numbered, strict=True)
        for label, k in zip(column, row, strict=True)
    }
    assert {k for _, k in pairs} == set(range(len(names)))
    assert len({label for label, _ in pairs}) == len(pairs)  # one number a label
    if len({k for _, k in pairs}) < len(pairs):
        assert same_numbers(label for label, _ in pairs) is not None


def test_equal_numbers_are_noticed() -> None:
    assert same_numbers(["7", "8", "07"]) == ("07", "7")
    assert same_numbers(["7", "8", "07", "x"]) is None
    assert same_numbers(["7", "8"]) is None


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
