"""CSV and Parquet tables with a row for each image: its path, its label and, if there, its part.

The columns are found by their names, upper or lower case: of the spellings of ``COLUMNS`` the first group that is there
counts, and two of the same group are ambiguous. Paths start from the table's folder, or from the root that is given.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fsgl.data.readers.listing import PART_NAMES, Rows
from fsgl.data.readers.paths import inside, shorten
from fsgl.errors import UserError, first_line

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
DELIMITERS = ",\t;|"
MAX_ROWS = 50_000_000  # ImageNet-21k has 14 million images; a small Parquet file can claim any number

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


def read_table(path: Path, root: Path, rows: Rows, part: str | None = None) -> None:
    """Add the images of a table to ``rows``.

    part: what all of them are, whatever the table says; None goes by its column, and is training where it has none.
    Raises UserError, with file and line, for columns that are missing or ambiguous, and for rows without a path, a
    label or a known split.
    """
    parquet = path.suffix.lower() in (".parquet", ".pq")
    for where, image, label, split in _parquet_rows(path) if parquet else _csv_rows(path):
        into = part
        if into is None:
            into = "train" if split is None else PART_NAMES.get(split.strip().lower())
        if into is None:
            raise UserError(f"{where}: split '{shorten(split or '')}' is none of {', '.join(PART_NAMES)}")
        rows.add(inside(root, image, where), label, into, where)


Row = tuple[str, str, str, str | None]  # file and line, path, label, split


def _csv_rows(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = _delimiter(header)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            names = next(reader, [])
            if not any(names):
                raise UserError(f"{path}: empty; a table begins with the names of its columns, such as path,label")
            wanted = _columns(path, names)
            for row in reader:
                if not row:
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(row) <= max(place for place in wanted if place is not None):
                    raise UserError(f"{where}: has {len(row)} of {len(names)} columns")
                image, label, split = (None if place is None else row[place] for place in wanted)
                yield where, image or "", label or "", split
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a table of text (not UTF-8)") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a table ({error})") from None


def _delimiter(header: str) -> str:
    """The one that makes most of the names of columns in the first line known."""

    def known(delimiter: str) -> int:
        names = {_plain(name.strip().strip('"')) for name in header.split(delimiter)}
        return sum(bool(names & group) for groups in COLUMNS.values() for group in groups)

    return max(DELIMITERS, key=lambda delimiter: (known(delimiter), header.count(delimiter)))


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path}: Parquet needs pyarrow: pip install 'fsgl[parquet]'") from None
    try:
        with path.open("rb") as opened, pyarrow.parquet.ParquetFile(opened) as file:
            names = file.schema_arrow.names
            wanted = [None if place is None else names[place] for place in _columns(path, names)]
            for name in filter(None, wanted):
                _require_text(path, file.schema_arrow.field(name), pyarrow.types)
            if file.metadata.num_rows > MAX_ROWS:
                raise UserError(f"{path}: claims {file.metadata.num_rows:,} rows; at most {MAX_ROWS:,} are read")
            number = 0
            for batch in file.iter_batches(columns=list(filter(None, wanted))):
                columns = [None if name is None else batch.column(name).to_pylist() for name in wanted]
                for row in range(batch.num_rows):
                    number += 1
                    image, label, split = (None if column is None else column[row] for column in columns)
                    yield f"{path}, row {number}", _text(image), _text(label), _text(split) if columns[2] else None
    except (pyarrow.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{path}: not a readable Parquet file ({shorten(reason)})") from None


def _require_text(path: Path, field: Any, types: Any) -> None:
    """Paths, names and whole numbers are taken; images inside a table, as some sets publish them, are not."""
    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_floating(kind)):
        kind = str(kind).split("<")[0]
        raise UserError(
            f"{path}: the column '{shorten(field.name)}' holds {kind}; paths and labels are text or numbers"
        )


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # NaN, which is not itself, is how pandas leaves a gap


def _columns(path: Path, names: Sequence[str]) -> tuple[int, int, int | None]:
    """The places of path, label and split."""
    image, label, split = (_column(path, names, wanted) for wanted in COLUMNS)
    for wanted, place in (("path", image), ("label", label)):
        if place is None:
            shown = ", ".join(f"'{shorten(name)}'" for name in names[:10]) + (", ..." if len(names) > 10 else "")
            known = ", ".join(sorted(COLUMNS[wanted][0]))
            raise UserError(f"{path}: no column of {wanted}s (named {known}) among {shown}")
    assert image is not None
    assert label is not None
    return image, label, split


def _column(path: Path, names: Sequence[str], wanted: str) -> int | None:
    for group in COLUMNS[wanted]:
        places = [place for place, name in enumerate(names) if _plain(name) in group]
        if len(places) > 1:
            shown = " and ".join(f"'{shorten(names[place])}'" for place in places)
            raise UserError(f"{path}: the columns {shown} may both be the {wanted}; rename or remove one")
        if places:
            return places[0]
    return None


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
