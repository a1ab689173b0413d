from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.readers.names import label_notes, looks_joined, number_labels

NFC, NFD = unicodedata.normalize("NFC", "caf\u00e9"), unicodedata.normalize("NFD", "caf\u00e9")


@pytest.mark.parametrize(
    ("written", "names", "labels"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        (["10", "9", "-3", "9"], ("-3", "9", "10"), [2, 1, 0, 1]),  # by number, not by text, with gaps
        (["00010", "00001", "00002"], ("00001", "00002", "00010"), [2, 0, 1]),  # as written
        (["7", "007", "10", "7.0"], ("007", "7", "10"), [1, 0, 2, 1]),  # pandas' 7.0 is 7; 007 is not
        (["4006381333931", "0123456789012"], ("0123456789012", "4006381333931"), [1, 0]),
        (["10", "9", "x"], ("10", "9", "x"), [0, 1, 2]),  # one name among numbers: all are names
        (["1.5", "1.0"], ("1.0", "1.5"), [1, 0]),
        (["9" * 19, "1"], ("1", "9" * 19), [1, 0]),
        (["9" * 5000, "1"], ("1", "9" * 5000), [1, 0]),  # too long to be read as a number
        ([NFC, NFD, "tea"], (NFC, "tea"), [0, 0, 1]),
        (["\udcff", "\udcfe", "a"], ("a", "\\xfe", "\\xff"), [2, 1, 0]),  # bytes that are no text
        (["\udcff", "\\xff"], ("\\xff", "\\xff'"), [1, 0]),  # ... and a folder that is called like them
        (["\ud800", "a"], ("a", "\\ud800"), [1, 0]),
        (["Cat", "cat", "a|b", " x"], (" x", "Cat", "a|b", "cat"), [1, 3, 2, 0]),
    ],
)
def test_labels_are_numbered_and_keep_their_names(
    written: list[str], names: tuple[str, ...], labels: list[int]
) -> None:
    found, (column,) = number_labels([written])
    assert found == names
    assert column.tolist() == labels
    assert column.dtype == np.int64


def test_a_folder_may_be_called_as_pandas_writes_a_number() -> None:
    found, (column,) = number_labels([["10.0", "7", "1.0", "01", "1"]], cells=False)
    assert found == ("01", "1", "1.0", "7", "10.0")
    assert column.tolist() == [4, 3, 2, 0, 1]
    (said,) = label_notes({"10.0": 2, "7": 1, "1.0": 3, "01": 4, "1": 5}, cells=False)
    assert said == "'01' (4) and '1' (5) and '1.0' (3) are one number: different classes"


@given(st.lists(st.lists(st.integers(-(10**17), 10**17).map(str) | st.text(max_size=3), max_size=9), max_size=3))
def test_numbering_is_of_all_columns_together_and_loses_nothing(columns: list[list[str]]) -> None:
    names, numbered = number_labels(columns)
    assert len(set(names)) == len(names)
    assert {k for row in numbered for k in row.tolist()} == set(range(len(names)))
    for column, row in zip(columns, numbered, strict=True):
        for label, k in zip(column, row.tolist(), strict=True):
            assert names[k] == unicodedata.normalize("NFC", label)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"cat": 3, "dog": 4}, []),
        (
            {"Cat": 3, "cat": 4, "dog": 1},
            ["'Cat' (3) and 'cat' (4) differ only in letter case or spaces: different classes"],
        ),
        (
            {"cat": 3, "cat\u200b": 4},  # of no width
            ["'cat' (3) and 'cat\\u200b' (4) differ only in letter case or spaces: different classes"],
        ),
        ({"sea  lion": 1, "Sea lion": 2, " sea lion": 3}, ["' sea lion' (3) and 'Sea lion' (2) and 'sea  lion' (1)"]),
        ({NFC: 2, NFD: 3}, ["is written in two Unicode forms (2 and 3 times): one class"]),
        ({"007": 2, "7": 1, "8": 1}, ["'007' (2) and '7' (1) are one number: different classes"]),
        ({"7": 2, "7.0": 1}, ["labels such as '7.0' are taken for the number, '7'"]),
        ({"1.5": 2, "1.0": 1}, []),
        ({"1": 2, "01": 1, "1.0": 3, "other": 1}, ["'01' (1) and '1' (2) and '1.0' (3) are one number"]),
        ({"1e3": 2, "1000": 1, "-1": 1, "-01": 2}, ["'-01' (2) and '-1' (1); '1000' (1) and '1e3' (2) are one number"]),
        ({"1": 2, "1 ": 1}, ["differ only in letter case or spaces"]),
        ({"\uff11": 2, "1": 1, "\u0663": 1, "3": 1}, ["are one number"]),  # digits of other scripts
        ({"\u0130zmir": 2, "izmir": 1, "IZMIR": 3}, ["'IZMIR' (3) and 'izmir' (1) and '\u0130zmir' (2) differ"]),
        ({"\u2764\ufe0f": 2, "\u2764": 1}, ["differ only in letter case"]),  # as a picture, and as a sign
    ],
)
def test_labels_that_nearly_meet_are_told_with_counts(labels: dict[str, int], said: list[str]) -> None:
    notes = label_notes(labels)
    assert len(notes) == len(said)
    for note, part in zip(notes, said, strict=True):
        assert part in note


@pytest.mark.parametrize(
    ("labels", "asked"),
    [
        ("a a|b b b|a", True),
        ("cat;dog cat;dog emu;dog", True),
        ("a b c d a|b e f g h i", True),  # made of labels that stand alone
        ("a b c d x|y e f g h i", False),
        ("tabby,cat tiger,cat emu", False),
        ("cat dog cat,dog", True),
        ("a_b a-b a/b", False),
        ("| a b", False),
    ],
)
def test_labels_that_look_like_several(labels: str, asked: bool) -> None:
    assert (looks_joined(Counter(labels.split())) is not None) == asked
