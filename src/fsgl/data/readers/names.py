"""The names of classes: as they are written, in one Unicode form, in order, and told where two nearly meet."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from decimal import Decimal

import numpy as np

from fsgl.data.readers.paths import shorten

# pandas writes the whole numbers of a column with gaps as 3.0. Python reads no longer ones without being asked to.
_NUMBER = re.compile(r"([+-]?[0-9]{1,4000})(\.0+)?", re.ASCII)
# 1.50 and 1e3, too, in digits of any script.
_DECIMAL = re.compile(r"[+-]?\d{1,4000}(\.\d{0,4000})?([eE][+-]?\d{1,6})?")
# How gaps of a table are written: by nobody (an empty cell), pandas, R, Excel and databases. "none" may be a class.
GAPS = frozenset({"", "nan", "NaN", "NAN", "None", "NaT", "<NA>", "NA", "N/A", "n/a", "#N/A", "NULL", "null"})


def normal(label: str) -> str:
    """A label in Unicode's normal form C: one word, whichever system wrote it."""
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def number_labels(columns: Iterable[Sequence[str]], cells: bool = True) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Names of the classes, and every column of labels as int64 indices into them.

    A name is the label as it is written, in normal form C. Where all are whole numbers the classes stand in the order
    of the numbers ("007" before "10"), otherwise in the order of the names; and then the ".0" of pandas is no part of
    the name of cells, while a folder may be called so. Bytes of a folder's name that are no text become ``\\xff`` in
    it, and no two classes have one name.
    """
    columns = list(columns)
    written = {label for column in columns for label in column}
    key_of = {label: normal(label) for label in written}
    if _all_numbers(key_of.values()):
        key_of = {label: _bare(key) if cells else key for label, key in key_of.items()}
        order = sorted(set(key_of.values()), key=lambda key: (int(_bare(key)), key))
    else:
        order = sorted(set(key_of.values()))
    place = {key: index for index, key in enumerate(order)}
    index_of = {label: place[key] for label, key in key_of.items()}
    labels = [np.array([index_of[label] for label in column], dtype=np.int64) for column in columns]
    return _as_text(order), labels


def _all_numbers(keys: Iterable[str]) -> bool:
    return all(_NUMBER.fullmatch(key) for key in keys)


def _bare(key: str) -> str:
    match = _NUMBER.fullmatch(key)
    assert match
    return match[1]


def _as_text(keys: Sequence[str]) -> tuple[str, ...]:
    """Names that every file and page takes. Folders' names may be bytes that are no text."""
    taken = set(keys)
    names = []
    for key in keys:
        try:
            key.encode()
        except UnicodeEncodeError:
            try:
                name = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            except UnicodeEncodeError:  # of an .npz: surrogates that stand for nothing
                name = key.encode("utf-8", "backslashreplace").decode()
            while name in taken:  # a folder may be called like that
                name += "'"
            taken.add(name)
            key = name
        names.append(key)
    return tuple(names)


def label_notes(counts: Mapping[str, int], cells: bool = True) -> list[str]:
    """What a person should know of labels that nearly meet, with their counts. counts: by label as it is written.
    cells: as of ``number_labels``."""
    notes = []
    keys: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        keys[normal(label)].append(label)
    for key, labels in keys.items():
        if len(labels) > 1:
            several = " and ".join(f"{counts[label]:,}" for label in labels)
            notes.append(f"'{shorten(key)}' is written in two Unicode forms ({several} times): one class")
    totals: Counter[str] = Counter()
    numbers = _all_numbers(keys)
    for key, labels in keys.items():
        totals[_bare(key) if numbers and cells else key] += sum(counts[label] for label in labels)
    if numbers and cells and (dotted := next((key for key in keys if _bare(key) != key), None)):
        notes.append(f"labels such as '{shorten(dotted)}' are taken for the number, '{shorten(_bare(dotted))}'")
    notes += _nearly(totals, _as_number, "are one number")
    return notes + _nearly(totals, _as_seen, "differ only in letter case or spaces", _as_number)


def _as_number(name: str) -> Hashable:
    return Decimal(name) if _DECIMAL.fullmatch(name) else name


def _as_seen(name: str) -> str:
    """Without letter case (and the dots of Turkish i), spaces, and signs that are not seen, such as one of no width."""
    text = unicodedata.normalize("NFKC", name).casefold().replace("i\u0307", "i").replace("\u0131", "i")
    shown = (sign for sign in text if unicodedata.category(sign) != "Cf" and not "\ufe00" <= sign <= "\ufe0f")
    return " ".join("".join(shown).split())


def _nearly(
    totals: Mapping[str, int], key: Callable[[str], Hashable], how: str, told: Callable[[str], Hashable] | None = None
) -> list[str]:
    """Of names with the same key, a sentence. told: those that have the same of this were told before."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for name in sorted(totals):
        groups[key(name)].append(name)
    met = [names for names in groups.values()
           if len(names) > 1 and not (told and len({told(name) for name in names}) == 1)]  # fmt: skip
    listed = [" and ".join(f"'{shorten(name, True)}' ({totals[name]:,})" for name in names) for names in met[:5]]
    more = f", and {len(met) - 5} more such" if len(met) > 5 else ""
    return [f"{'; '.join(listed)}{more} {how}: different classes"] if met else []


def looks_joined(counts: Mapping[str, int]) -> tuple[str, str] | None:
    """A separator and a label that holds it, where most labels look like several ("cat|dog"), or those that do are
    made of labels that also stand alone."""
    total = sum(counts.values())
    for separator in "|;,":
        holding = [label for label in counts if separator in label.strip(separator)]
        share = sum(counts[label] for label in holding) / total if total else 0
        pieces = {piece.strip() for label in holding for piece in label.split(separator)}
        if holding and ((separator != "," and 2 * share >= 1) or (share >= 0.05 and pieces <= set(counts))):
            return separator, holding[0]
    return None
