"""CSV and Parquet tables with a row for each image: its path, its label and, if there, its part and its group.

columns.py tells which column is which. Paths start from the table's folder, or from the root that is given. In a CSV a
word such as nan, unquoted, and an empty cell are gaps and no labels.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from fsgl.data.readers.columns import SAMPLED, Columns, find_columns, known_names
from fsgl.data.readers.listing import Rows
from fsgl.data.readers.names import GAPS
from fsgl.data.readers.part_names import part_of_value
from fsgl.data.readers.paths import inside, shorten
from fsgl.data.readers.reading import PARTS, Reading
from fsgl.errors import UserError, first_line

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
DELIMITERS = ",\t;|"
MAX_ROWS = 50_000_000  # ImageNet-21k has 14 million images; a small Parquet file can claim any number


def read_table(path: Path, root: Path, rows: Rows, part: str | None = None, reading: Reading | None = None) -> None:
    """Add the images of a table to ``rows``, and what was made of its columns.

    part: what all of them are, whatever the table says; None goes by its column, and is training where it has none.
    Raises UserError, with file and line, for columns that are missing or ambiguous, and for rows without a path, a
    label or a known split.
    """
    reading = reading or Reading()
    reading.require("table", str(path))
    parquet = path.suffix.lower() in (".parquet", ".pq")
    named = reading.named_parts()
    if named and part is not None:
        raise UserError(f"{path}: is the table of the {PARTS[part]} images; --parts does not apply to it")
    known: dict[str, str | None] = {}
    for where, (image, label, split, group), quoted, columns in (
        _parquet_rows(path, root, reading, part) if parquet else _csv_rows(path, root, reading, part)
    ):
        into = part
        if into is None:
            into = "train"
            if named and split is None:
                raise UserError(f"{path}: has no column of parts for --parts; --split-column NAME says which it is")
            if split is not None:
                if split not in known:
                    known[split] = columns.part(split, named, part_of_value)
                into = known[split]
        if into is None:
            hint = "train, val, test or what is like them; --parts train=VALUE,... says which it is"
            raise UserError(f"{where}: split '{shorten(split or '')}' is none of {hint}")
        image = image.replace("\\", "/") if columns.backslashes else image
        rows.add(inside(root, image, where), label, into, where, quoted, group)
        if not rows.said or rows.said[-1] != columns.said:
            rows.said.append(columns.said)
    if absent := sorted(named.keys() - {value.strip() for value in known}):
        raise UserError(f"{path}: --parts names '{shorten(absent[0])}', but no row has that")


# Path, label, split and group of a row.
Cells = tuple[str, str, str | None, str | None]
# File and line, the cells, whether the label was quoted, and which columns they are from.
Row = tuple[str, Cells, bool, Columns]


def _csv_rows(path: Path, root: Path, reading: Reading, part: str | None) -> Iterator[Row]:
    reader, before = None, 0
    try:
        with path.open(encoding=_encoding(path), newline="") as file:
            header = file.readline()
            if separator := re.fullmatch(r"sep=(.)\s*", header.removeprefix("\ufeff")):  # Excel's own first line
                delimiter, before = separator[1], 1
            else:
                file.seek(0)
                delimiter, before = _delimiter(header), 0
            raw = _Lines(file)
            # strict: what follows a quotation mark that is not closed is no name of a class
            reader = csv.reader(raw, delimiter=delimiter, strict=True)
            names = next(reader, [])
            if not any(names):
                begins = "empty" if not names and next(reader, None) is None else "its first line is empty"
                raise UserError(f"{path}: {begins}; a table begins with the names of its columns, such as path,label")
            names[0] = names[0].removeprefix("\ufeff")
            raw.take()
            first = [(row, reader.line_num, raw.take()) for row in islice(reader, SAMPLED)]

            def sample(place: int) -> list[str]:
                return [row[place] for row, _, _ in first if len(row) > place]

            columns = find_columns(path, names, reading, root, sample, part is None)
            wanted = (columns.path, columns.label, columns.split, columns.group)
            last = max(place for place in wanted if place is not None)
            for row, line, text in chain(first, ((row, reader.line_num, raw.take()) for row in reader)):
                if not row:
                    continue
                where = f"{path}, line {line + before}"
                if len(row) <= last:
                    raise UserError(f"{where}: has {len(row)} of {len(names)} columns")
                if any(row[len(names) :]):  # which cells are out of their place is anybody's guess
                    raise UserError(
                        f"{where}: has {len(row)} cells for {len(names)} columns; put text that holds '{delimiter}' "
                        "into quotation marks"
                    )
                image, label, split, group = (None if place is None else row[place] for place in wanted)
                assert image is not None
                assert label is not None
                quoted = label.strip() in GAPS and _is_quoted(text, columns.label, delimiter)
                yield where, (image, label, split, group), quoted, columns
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeError:
        raise UserError(f"{path}: not a table of text (not UTF-8; save it as that)") from None
    except csv.Error as error:
        line = 0 if reader is None else reader.line_num
        told = first_line(error)
        if "end of data" in told or "expected after" in told:
            line -= raw.waiting() - 1
            told = "a quotation mark is not closed, or text follows the one that closes; in text it is written twice"
        raise UserError(f"{path}, line {line + before}: not a table ({told})") from None


class _Lines:
    """The lines of a file, and those that were read since they were last taken: the text of a row."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._since: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if "\0" in line:
                raise csv.Error("it holds NUL characters, which are no text")
            self._since.append(line)
            yield line

    def waiting(self) -> int:
        """How many lines the present row has so far."""
        return len(self._since)

    def take(self) -> str:
        text = "".join(self._since)
        self._since.clear()
        return text


def _is_quoted(row: str, place: int, delimiter: str) -> bool:
    """Whether the cell at a place stands in quotation marks."""
    between = re.escape(delimiter)
    cells = re.findall(rf'(?:^|{between})(\s*"(?:[^"]|"")*"[^{between}]*|[^{between}]*)', row.strip("\r\n"))
    return place < len(cells) and cells[place].lstrip().startswith('"')


def _encoding(path: Path) -> str:
    """UTF-8, or UTF-16 where the first bytes say so, as in what Excel calls Unicode text, or every other one is 0."""
    with path.open("rb") as file:
        head = file.read(4)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    zeros = [place for place, byte in enumerate(head) if byte == 0]
    return "utf-16-le" if zeros == [1, 3] else "utf-16-be" if zeros == [0, 2] else "utf-8-sig"


def _delimiter(header: str) -> str:
    """The one that makes most of the names of columns in the first line known."""

    def known(delimiter: str) -> int:
        return known_names([name.strip().strip('"') for name in header.split(delimiter)])

    return max(DELIMITERS, key=lambda delimiter: (known(delimiter), header.count(delimiter)))


def _parquet_rows(path: Path, root: Path, reading: Reading, part: str | None) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path}: Parquet needs pyarrow: pip install 'fsgl[parquet]'") from None
    try:
        with path.open("rb") as opened, pyarrow.parquet.ParquetFile(opened) as file:
            names = file.schema_arrow.names
            types = pyarrow.types

            def sample(place: int) -> list[str]:
                if not _is_text(file.schema_arrow.field(place).type, types):
                    return []
                batch = next(file.iter_batches(batch_size=SAMPLED, columns=[names[place]]), None)
                return [] if batch is None else [_text(value) for value in batch.column(0).to_pylist()]

            columns = find_columns(path, names, reading, root, sample, part is None)
            places = (columns.path, columns.label, columns.split, columns.group)
            wanted = [None if place is None else names[place] for place in places]
            for name in filter(None, wanted):
                _require_text(path, file.schema_arrow.field(name), types)
            if file.metadata.num_rows > MAX_ROWS:
                raise UserError(f"{path}: claims {file.metadata.num_rows:,} rows; at most {MAX_ROWS:,} are read")
            number = 0
            for batch in file.iter_batches(columns=list(dict.fromkeys(filter(None, wanted)))):
                values = [None if name is None else batch.column(name).to_pylist() for name in wanted]
                for row in range(batch.num_rows):
                    number += 1
                    image, label, split, group = (None if column is None else _text(column[row]) for column in values)
                    yield f"{path}, row {number}", (image or "", label or "", split, group), False, columns
    except (pyarrow.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{path}: not a readable Parquet file ({shorten(reason)})") from None


def _require_text(path: Path, field: Any, types: Any) -> None:
    """Paths, names and whole numbers are taken; images inside a table, as some sets publish them, are not."""
    if not _is_text(field.type, types):
        kind = str(field.type.value_type if types.is_dictionary(field.type) else field.type).split("<")[0]
        raise UserError(
            f"{path}: the column '{shorten(field.name)}' holds {kind}; paths and labels are text or numbers"
        )


def _is_text(kind: Any, types: Any) -> bool:
    kind = kind.value_type if types.is_dictionary(kind) else kind
    tests = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    return any(test(kind) for test in tests)


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # NaN, which is not itself, is how pandas leaves a gap
