"""Lists, tables and .npz files of arbitrary content are read, or refused in one line; nothing else happens.

FSGL_FUZZ says how many cases each test draws; ``make fuzz`` takes 10,000.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsgl.data.images.sources import ImageArrays, ImageFiles, Source
from fsgl.data.readers import medmnist
from fsgl.data.readers.own import find_source
from fsgl.errors import UserError

CASES = settings(max_examples=int(os.environ.get("FSGL_FUZZ", "300")))

GOOD_PATHS = ("1.png", "a/2.png", "b/3.png", "4 5.png")
# Pieces from which lists and tables are made, so that many cases get far into the reader.
PATHS = st.sampled_from(
    ["1.png", "a/2.png", "./1.png", "../1.png", "/etc/passwd", "a/../../b", "out.png", "loop.png", "C:\\x"]
)
LABELS = st.sampled_from(["0", "7", "07", "-1", "1.0", "cat", "nan", "9" * 30, "", " ", "\u0663", "a\u2028b"])
SPLITS = st.sampled_from(["train", "VAL", "test", "fold", "", " training "])
CELLS = PATHS | LABELS | SPLITS | st.text(max_size=12)
NAMES = st.sampled_from(
    ["path", "file", "Label", "class", "split", "subset", "target", "x", '"path"', "", "\ufeffpath"]
)
SEPARATORS = st.sampled_from([",", ";", "\t", "|", " ", "  "])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in GOOD_PATHS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "out.png").symlink_to("/etc/passwd")
    (folder / "loop.png").symlink_to("loop.png")
    return folder


def found(path: Path) -> Source | None:
    """The source, held to its promises, or None where it was refused, in one line that names the file."""
    refused = None
    try:
        source = find_source(path)
    except UserError as error:
        refused = str(error)
    if refused is not None:
        assert len(refused.splitlines()) == 1
        assert path.name in refused
        return None
    used = set()
    for part in (source.train, source.val, source.test):
        if part is None:
            continue
        used |= set(part.labels.tolist())
        if isinstance(part, ImageFiles):
            assert len(part) > 0
            assert len(set(part.paths)) == len(part)
            for relative in part.paths:
                assert os.path.normpath(path.parent / relative).startswith(f"{path.parent}{os.sep}")
    assert used == set(range(source.num_classes))
    assert len(set(source.class_names)) == source.num_classes
    return source


def lines_of(cells: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    ends = st.sampled_from(["\n", "\r\n", "\n\n", "\r"])
    line = st.tuples(st.lists(cells, max_size=4), SEPARATORS).map(lambda pair: pair[1].join(pair[0]))
    return st.tuples(st.lists(line, max_size=6), ends).map(lambda pair: pair[1].join(pair[0]))


ROW = st.tuples(PATHS, LABELS, SPLITS)
GOOD_ROWS = st.lists(
    st.tuples(st.sampled_from(GOOD_PATHS), st.sampled_from(["0", "7", "cat"]),
              st.sampled_from(["train", "VAL", "test"])),
    min_size=1, max_size=6, unique_by=lambda row: row[0],
)  # fmt: skip


@CASES
@given(
    content=st.one_of(
        lines_of(CELLS).map(str.encode),
        GOOD_ROWS.map(lambda rows: "\n".join(f"{path} {label}" for path, label, _ in rows).encode()),
        st.binary(max_size=200),
    )
)
def test_any_list(folder: Path, content: bytes) -> None:
    (folder / "fuzz.txt").write_bytes(content)
    source = found(folder / "fuzz.txt")
    if source is not None:
        lines = content.decode("utf-8-sig").replace("\r", "\n").split("\n")
        assert len(source.train) <= sum(bool(line.strip()) for line in lines)
        assert source.val is source.test is None


@CASES
@given(
    content=st.one_of(
        st.tuples(lines_of(NAMES), lines_of(CELLS)).map(lambda pair: f"{pair[0]}\n{pair[1]}".encode()),
        st.tuples(st.sampled_from(",;\t|"), st.lists(ROW, max_size=6) | GOOD_ROWS).map(
            lambda pair: "\n".join(pair[0].join(row) for row in [("path", "label", "split"), *pair[1]]).encode()
        ),
        st.binary(max_size=200),
    )
)
def test_any_csv(folder: Path, content: bytes) -> None:
    (folder / "fuzz.csv").write_bytes(content)
    found(folder / "fuzz.csv")


@CASES
@given(
    rows=GOOD_ROWS.filter(lambda rows: any(split == "train" for *_, split in rows)), delimiter=st.sampled_from(",;\t|")
)
def test_good_csv_is_read_whole(folder: Path, rows: list[tuple[str, str, str]], delimiter: str) -> None:
    lines = [delimiter.join(row) for row in [("file", "class", "split"), *rows]]
    (folder / "good.csv").write_text("\n".join(lines))
    source = found(folder / "good.csv")
    assert source is not None
    read = {
        (path, source.class_names[label], split)
        for split, part in (("train", source.train), ("VAL", source.val), ("test", source.test))
        if isinstance(part, ImageFiles)
        for path, label in zip(part.paths, part.labels.tolist(), strict=True)
    }
    assert read == set(rows)


DESCR = st.sampled_from(
    ["'|u1'", "'<u1'", "'<i8'", "'>i4'", "'<f4'", "'|O'", "'<U3'", "'|S0'", "'|V0'", "[('a', '|u1')]", "'|b1'",
     "'<M8[s]'", "'(2,3)u1'", "'|S999999999'", "None", "'x'", "{[]: 1}", "u1"]
)  # fmt: skip
SIDES = st.sampled_from(["0", "1", "2", "28", "-1", "True", "10**9", "999999999", "9" * 25, "0x10", "2.0", "'a'", "()"])
SHAPES = st.lists(SIDES, max_size=5).map(lambda sides: "(" + "".join(f"{side}, " for side in sides) + ")")
HEADERS = st.one_of(
    st.tuples(
        DESCR, st.sampled_from(["False", "True", "0"]), SHAPES | st.sampled_from(["(2, 4, 4)", "(2, 1)", "(2,)"])
    ).map(lambda parts: "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}\n".format(*parts)),
    st.text(max_size=60),
).map(str.encode)
VERSIONS = st.sampled_from([b"\x01\x00", b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x00\x00"])


def npy(version: bytes, header: bytes, values: bytes, claim: int | None) -> bytes:
    length = len(header) if claim is None else claim
    size = struct.pack("<H", length % 2**16) if version == b"\x01\x00" else struct.pack("<I", length)
    return b"\x93NUMPY" + version + size + header + values


ARRAYS = st.one_of(
    st.builds(
        npy,
        VERSIONS,
        HEADERS,
        st.binary(max_size=64) | st.sampled_from([bytes(2), bytes(32)]),
        st.none() | st.none() | st.integers(0, 2**32 - 1),
    ),
    st.binary(max_size=80),
)


def good(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


GOOD = {
    "train_images": good(np.zeros((2, 4, 4), np.uint8)), "train_labels": good(np.array([[0], [5]])),
    "test_images": good(np.zeros((2, 4, 4), np.uint8)), "test_labels": good(np.array(["0", "5"])),
}  # fmt: skip


@CASES
@given(
    members=st.dictionaries(st.sampled_from(list(GOOD)), ARRAYS, max_size=2),
    damage=st.none() | st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)),
    compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]),
)
def test_any_npz(folder: Path, members: dict[str, bytes], damage: tuple[int, bytes] | None, compression: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in {**GOOD, **members}.items():
            archive.writestr(f"{name}.npy", content)
    content = bytearray(buffer.getvalue())
    if damage is not None:
        place = damage[0] % len(content)
        content[place : place + len(damage[1])] = damage[1]
    (folder / "fuzz.npz").write_bytes(content)
    source = found(folder / "fuzz.npz")
    if not members and damage is None:
        assert source is not None
    if source is not None:
        assert isinstance(source.train, ImageArrays)
        assert source.train.images.nbytes <= len(content) * 100 + medmnist._HARMLESS_BYTES
