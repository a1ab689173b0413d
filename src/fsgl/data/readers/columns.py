"""Which columns of a table hold the paths, the labels, the parts and the groups: named by the user, or by their names.

Of the spellings of ``COLUMNS`` the first group that is there counts, and two of one group are ambiguous. Of columns
that may be the path one whose files are there is taken before one whose are not.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsgl.data.readers.part_names import part_name
from fsgl.data.readers.paths import clean, leaves_root, shorten
from fsgl.data.readers.reading import Reading, flag
from fsgl.errors import UserError

COLUMNS = {
    "path": (
        {"path", "file", "filename", "image"},
        {"file_name", "filepath", "file_path", "imagepath", "image_path", "image_name", "img", "img_path"},
    ),
    "label": (
        {"label", "class", "category", "target"},
        {"labels", "label_name", "class_name", "classname", "category_name", "species"},
    ),
    "split": ({"split"}, {"subset", "partition", "part", "set", "phase"}),
}  # fmt: skip
SAMPLED = 50  # rows by which columns of paths are judged
_FLAG = re.compile(r"is_?(?P<part>[a-z]+?)(?:ing)?(?:_?(?:set|image|img))?")
_YES, _NO = {"1", "1.0", "true", "yes", "y", "t"}, {"0", "0.0", "false", "no", "n", "f", ""}


@dataclass(frozen=True)
class Columns:
    """The places of the columns.  flag_of: the part whose column says yes or no, as is_test does.  backslashes: whether
    paths are written with them.  said: a sentence on what was chosen."""

    path: int
    label: int
    split: int | None = None
    group: int | None = None
    flag_of: str | None = None
    backslashes: bool = False
    said: str = ""

    def part(self, value: str, parts: dict[str, str], part_of: Callable[[str], str | None]) -> str | None:
        """The part that a row's value names. parts: as --parts gives them."""
        text = value.strip()
        if text in parts:
            return parts[text]
        if self.flag_of is None:
            return part_of(text)
        if text.casefold() in _YES:
            return self.flag_of
        if text.casefold() in _NO:
            return "test" if self.flag_of == "train" else "train"
        return None


def find_columns(
    path: Path, names: Sequence[str], reading: Reading, root: Path, sample: Callable[[int], list[str]],
    parts_matter: bool = True,
) -> Columns:  # fmt: skip
    """The columns of the table ``path``. sample: the first values of one. Raises UserError for what is missing."""
    label = _column(path, names, "label", reading.label_column)
    group = None if reading.group_column is None else _named(path, names, "group_column", reading.group_column)
    split, flag_of = (None, None) if not parts_matter else _split(path, names, reading, sample, label)
    image, backslashes = _path_column(path, names, reading, root, sample, label)
    for wanted, place in (("path", image), ("label", label)):
        if place is None:
            shown = ", ".join(f"'{shorten(name)}'" for name in names[:10]) + (", ..." if len(names) > 10 else "")
            known = ", ".join(sorted(COLUMNS[wanted][0]))
            how = flag(f"{wanted}_column")
            raise UserError(
                f"{path}: no column of {wanted}s (named {known}) among {shown}; {how} NAME says which it is"
            )
    assert image is not None
    assert label is not None
    used = {"paths": image, "labels": label, "parts": split, "groups": group}
    said = ", ".join(f"{what} from '{shorten(names[place])}'" for what, place in used.items() if place is not None)
    rest = [shorten(name) for place, name in enumerate(names) if place not in used.values() and name.strip()]
    if rest:
        said += f"; not used: {', '.join(f'{name!r}' for name in rest[:8])}" + (" ..." if len(rest) > 8 else "")
    also = [name for place, name in enumerate(names) if place != label and _plain(name) in set.union(*COLUMNS["label"])]
    if also and reading.label_column is None:
        said += f" (--label-column {shorten(also[0])} takes its labels)"
    if backslashes:
        said += "; backslashes in paths are taken for slashes"
    return Columns(image, label, split, group, flag_of, backslashes, said)


def known_names(names: Sequence[str]) -> int:
    """How many kinds of columns these names hold."""
    plain = {_plain(name) for name in names}
    return sum(bool(plain & group) for groups in COLUMNS.values() for group in groups)


def _column(path: Path, names: Sequence[str], wanted: str, given: str | None) -> int | None:
    if given is not None:
        return _named(path, names, f"{wanted}_column", given)
    for group in COLUMNS[wanted]:
        places = [place for place, name in enumerate(names) if _plain(name) in group]
        if len(places) > 1:
            raise _two(path, names, places, wanted)
        if places:
            return places[0]
    return None


def _two(path: Path, names: Sequence[str], places: Sequence[int], wanted: str) -> UserError:
    shown = " and ".join(f"'{shorten(names[place])}'" for place in places)
    return UserError(
        f"{path}: the columns {shown} may both be the {wanted}; rename or remove one, or say which with "
        f"{flag(f'{wanted}_column')}"
    )


def _named(path: Path, names: Sequence[str], option: str, given: str) -> int:
    """The column that the user named: exactly, or but for case and spaces where that is one."""
    for same in (lambda name: name, lambda name: name.strip(), _plain):
        places = [place for place, name in enumerate(names) if same(name) == same(given)]
        if len(places) == 1:
            return places[0]
        if places:
            raise UserError(f"{path}: {len(places)} columns are called '{shorten(given)}'; rename them")
    shown = ", ".join(f"'{shorten(name)}'" for name in names[:20]) + (", ..." if len(names) > 20 else "")
    raise UserError(f"{path}: no column '{shorten(given)}' ({flag(option)}) among {shown}")


def _split(
    path: Path, names: Sequence[str], reading: Reading, sample: Callable[[int], list[str]], label: int | None
) -> tuple[int | None, str | None]:
    place = _column(path, names, "split", reading.split_column)
    if place is not None:
        return place, _flag_of(names[place], sample(place))
    others = [(place, name) for place, name in enumerate(names) if place != label]
    flags = [(place, part) for place, name in others if (part := _flag_of(name, sample(place)))]
    if len(flags) > 1:
        raise _two(path, names, [place for place, _ in flags], "split")
    return flags[0] if flags else (None, None)


def _flag_of(name: str, values: Sequence[str]) -> str | None:
    """ "test" for a column "is_test", and for a column "test" that says yes or no."""
    match = _FLAG.fullmatch(_plain(name))
    found = part_name(match["part"] if match else _plain(name))
    if not match and not (_YES | _NO).issuperset(value.strip().casefold() for value in values):
        return None
    return None if found is None or found.rest else "test" if found.part == "eval" else found.part


def _path_column(
    path: Path,
    names: Sequence[str],
    reading: Reading,
    root: Path,
    sample: Callable[[int], list[str]],
    label: int | None,
) -> tuple[int | None, bool]:
    """The column of paths, and whether they are written with backslashes."""
    if reading.path_column is not None:
        place = _named(path, names, "path_column", reading.path_column)
        return place, _are_there(sample(place), root) == "with backslashes"
    groups = [[place for place, name in enumerate(names) if _plain(name) in group] for group in COLUMNS["path"]]
    likely = [place for group in groups for place in group if place != label]
    there = {place: found for place in likely if (found := _are_there(sample(place), root))}
    for group in groups:
        places = [place for place in group if place in there] if there else [p for p in group if p != label]
        if len(places) > 1:
            raise _two(path, names, places, "path")
        if places:
            return places[0], there.get(places[0]) == "with backslashes"
    return None, False


def _are_there(values: Sequence[str], root: Path) -> str:
    """Whether some of these paths are files, "as written" or, for those that have them, "with backslashes" taken for
    slashes; empty where none are."""
    def some_is(values: Sequence[str]) -> bool:
        return any(not leaves_root(value) and value not in ("", ".") and os.path.isfile(root / value)
                   for value in values)  # fmt: skip

    values = [clean(value, root) for value in values]
    slashed = [value for value in values if "\\" in value]
    if some_is([value.replace("\\", "/") for value in slashed]) and not some_is(slashed):
        return "with backslashes"
    return "as written" if some_is(values) else ""


def _plain(name: str) -> str:
    name = unicodedata.normalize("NFKC", name).strip().strip("\ufeff").lower()
    return name.replace(" ", "_").replace("-", "_")
