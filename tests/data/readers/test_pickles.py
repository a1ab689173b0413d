"""Well-formed files are compared with the stock reader; hostile ones are written with the stock writer."""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.readers.pickles import load_cifar_pickle
from fsgl.errors import UserError

ROWS = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4) * 10
BATCH = {"data": ROWS, "labels": [0, 1, 2, 3, -1, 70000], "batch_label": "one", "filenames": ["a.png", "b.png"]}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, Any]]:
    def write_and_read(data: bytes) -> dict[str, Any]:
        (tmp_path / "batch").write_bytes(data)
        return load_cifar_pickle(tmp_path / "batch")

    return write_and_read


Read = Callable[[bytes], dict[str, Any]]


def official_batch(rows: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2's cPickle wrote it: protocol 2, byte strings, NumPy's old module names."""
    return b"".join(
        [
            b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05(",
            *(b"K" + bytes([label]) for label in labels),
            b"eU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09",
            b"(K\x01M" + struct.pack("<H", rows.shape[0]) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86",
            b"cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b",
            b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + struct.pack("<I", rows.size) + rows.tobytes() + b"tb",
            b"U\x09filenamesq\x0c]q\r(U\x05a.pngq\x0eU\x05b.pngq\x0feu.",
        ]
    )


OFFICIAL_META = b"""(dp0
S'num_cases_per_batch'
p1
I10000
sS'label_names'
p2
(lp3
S'airplane'
p4
aS'it\\'s \\\\ \\xe9'
p5
asS'num_vis'
p6
L3072L
s."""


def test_official_batch(read: Read) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (7, 300), dtype=np.uint8)
    batch = read(official_batch(rows, [6, 9, 9, 4, 1, 1, 2]))
    assert batch["labels"] == [6, 9, 9, 4, 1, 1, 2]
    assert batch["batch_label"] == "training batch 1 of 5"
    assert batch["filenames"] == ["a.png", "b.png"]
    assert batch["data"].dtype == np.uint8
    assert (batch["data"] == rows).all()
    stock = pickle.loads(official_batch(rows, [6, 9, 9, 4, 1, 1, 2]), encoding="latin1")
    assert (stock["data"] == rows).all()  # so the hand-written bytes are what they claim to be


def test_official_meta(read: Read) -> None:
    stock = pickle.loads(OFFICIAL_META, encoding="latin1")
    assert (
        read(OFFICIAL_META)
        == stock
        == {
            "num_cases_per_batch": 10000,
            "label_names": ["airplane", "it's \\ é"],
            "num_vis": 3072,
        }
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("rows", [ROWS, np.asfortranarray(ROWS), np.arange(5), ROWS.astype("<u2")])
def test_rewritten_batches(read: Read, protocol: int, rows: np.ndarray) -> None:
    batch = read(pickle.dumps({b"data": rows, "labels": [1], "again": rows}, protocol))
    assert list(batch) == ["data", "labels", "again"]
    for key in ("data", "again"):
        assert batch[key].dtype == rows.dtype
        assert batch[key].shape == rows.shape
        assert (batch[key] == rows).all()
        assert batch[key].flags.writeable  # torch.from_numpy warns of arrays that are not


def plain() -> st.SearchStrategy[Any]:
    # No empty bytes: Python 3 writes them for protocols 0 to 2 as a call of bytes().
    leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.binary(min_size=1)
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.lists(inner).map(tuple), max_leaves=20)


@given(st.dictionaries(st.text(), plain(), max_size=5), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any], protocol: int) -> None:
    path = tmp_path_factory.getbasetemp() / "plain"
    path.write_bytes(pickle.dumps(value, protocol))
    found = load_cifar_pickle(path)
    assert found == value
    assert repr(found) == repr(value)  # 1 == True, but they are not the same


class Calls:
    """Pickled, it asks its reader to call a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.request = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.request


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch {}",), r"(posix|nt)\.system"),
        (builtins.eval, ("open({!r}, 'w')",), r"(__builtin__|builtins)\.eval"),
        (builtins.exec, ("open({!r}, 'w')",), r"(__builtin__|builtins)\.exec"),
        (builtins.getattr, ("{}", "strip"), r"(__builtin__|builtins)\.getattr"),
        (subprocess.Popen, (["touch", "{}"],), r"(subprocess|commands)\.Popen"),
        (np.load, ("{}",), r"numpy\.load"),
        (np.fromfile, ("{}",), r"numpy.*fromfile"),
    ],
)
def test_calls_are_refused_by_name(
    read: Read, tmp_path: Path, protocol: int, function: Callable[..., Any], arguments: tuple[Any, ...], named: str
) -> None:
    proof = tmp_path / "proof"
    filled = [[a.format(str(proof)) for a in b] if isinstance(b, list) else b.format(str(proof)) for b in arguments]
    with pytest.raises(UserError, match=rf"/batch' is not a CIFAR batch file: it asks for '{named}'"):
        read(pickle.dumps({"data": Calls(function, *filled)}, protocol))
    assert not proof.exists()


ENTRY = b"}U\x01a"  # a dictionary, and the key of what follows
HOSTILE = {
    "garbage": (bytes(range(1, 40)), "has the instruction 0x01"),
    "an instance": (b"(cbuiltins\nlist\no.", r"asks for 'builtins\.list'"),
    "an instance by its name": (b"(iposix\nsystem\n.", "has the instruction 0x69"),
    "an extension registered elsewhere": (ENTRY + b"\x82\x01s.", "has the instruction 0x82"),
    "a persistent object": (b"Pid\n.", "has the instruction 0x50"),
    "state of a dictionary": (b"}}U\x08__dict__}sb.", "sets the state"),
    "state of a list": (ENTRY + b"]}bs.", "sets the state"),
    "state of a known function": (ENTRY + b"c_codecs\nencode\n}bs.", "sets the state"),
    "a known type called": (ENTRY + b"cnumpy\nndarray\nK\x05\x85Rs.", "asks for a call"),
    "an object called": (ENTRY + b"U\x01x)Rs.", "asks for a call"),
    "bytes in another encoding": (ENTRY + b"c_codecs\nencode\n(U\x01xU\x05rot13tRs.", "asks for a call"),
    "a nested name": (ENTRY + b"U\x05numpyU\x0bndarray.max\x93s.", r"asks for 'numpy\.ndarray\.max'"),
    "a name with a line break in it": (ENTRY + b"U\x05numpyU\x03a\nb\x93s.", r"asks for 'numpy\.a\?b'"),
    "an array subclass": (
        ENTRY + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmatrix\n.",
        r"asks for 'numpy\.matrix'",
    ),
    "objects": (ENTRY + b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tRs.", "holds an array of type 'O8'"),
    "fields": (ENTRY + b"cnumpy\ndtype\n(U\x02V8K\x00K\x01tRs.", "holds an array of type 'V8'"),
    "a type's state": (ENTRY + b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNK\x00K\x00}tbs.", "sets the state"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hand_written_tricks_are_refused(read: Read, name: str) -> None:
    data, reason = HOSTILE[name]
    with pytest.raises(UserError, match=f"is not a CIFAR batch file: it {reason}"):
        read(data)


@pytest.mark.parametrize(
    "array",
    [
        np.array([os.system, None]),
        np.array([1.5]),
        np.array(["text"]),
        np.zeros(2, dtype=[("a", "u1"), ("b", "O")]),
        np.ma.masked_array([1, 2]),
    ],
    ids=["objects", "floats", "texts", "fields", "masked"],
)
def test_other_arrays_are_refused(read: Read, array: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"is not a CIFAR batch file: it (holds an array of type|asks for)"):
        read(pickle.dumps({"data": array}, 2))


def test_big_endian_integers_are_refused_rather_than_misread(read: Read) -> None:
    with pytest.raises(UserError, match="sets the state"):
        read(pickle.dumps({"data": np.arange(3, dtype=">i4")}, 2))


ARRAY = ENTRY + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
ARRAY += b"(K\x01%scnumpy\ndtype\n(U\x02u1K\x00K\x01tR\x89U\x02xxtbs."


def test_array_template_is_sound(read: Read) -> None:
    assert read(ARRAY % b"(K\x02t")["a"].tolist() == [120, 120]


DAMAGED = {
    "nothing": b"",
    "text of 16 exabytes": b"\x80\x04\x8d" + b"\xff" * 8 + b"x.",
    "bytes of 4 gigabytes": b"\x80\x03B\xff\xff\xff\xffx.",
    "bytearray of 1 terabyte": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "integer of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "array larger than its bytes": ARRAY % b"(J\xff\xff\xff\x7ft",
    "array of many sides": ARRAY % (b"(K\x02" + b"K\x01" * 40 + b"t"),
    "array of a negative side": ARRAY % b"(J\xff\xff\xff\xffJ\xfe\xff\xff\xfft",
    "array of a huge side and none": ARRAY.replace(b"U\x02xx", b"U\x00") % (b"(K\x00\x8a\x09" + b"\xff" * 8 + b"\x00t"),
    "list for a key": b"}]K\x01s.",
    "deeply nested key": b"}" + b")" + b"\x85" * 200_000 + b"K\x01s.",
    "memo that was never set": b"h\x07.",
    "pop of nothing": b"a.",
    "pop below the mark": b"}(s.",
    "string without quotes": b"Sabc\n.",
    "string with an unknown escape": b"S'\\q'\n.",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_named(read: Read, name: str) -> None:
    with pytest.raises(UserError, match=r"/batch' is torn or damaged"):
        read(DAMAGED[name])


def test_far_memo_index_takes_no_memory(read: Read) -> None:
    """The stock reader allocates a table up to the index: 32 GB here."""
    assert read(b"}r\xff\xff\xff\xff.") == {}


def test_small_file_cannot_ask_for_many_arrays(read: Read) -> None:
    text = b"X\x00\x10\x00\x00" + b"x" * 4096 + b"q\x00"
    encode = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    with pytest.raises(UserError, match="its arrays are larger than the file"):
        read(text + b"]" + encode * 1000 + b".")


def test_no_dictionary_is_refused(read: Read) -> None:
    with pytest.raises(UserError, match="it holds no dictionary"):
        read(pickle.dumps([1, 2]))


@pytest.mark.parametrize("data", [official_batch(ROWS, [1, 2]), pickle.dumps(BATCH, 4), OFFICIAL_META])
def test_every_torn_file_is_refused(read: Read, data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(UserError, match=r"torn or damaged|not a CIFAR batch file"):
            read(data[:length])


@given(st.data())
def test_altered_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever stands in the file, it is a dictionary or one clear error."""
    original = data.draw(
        st.sampled_from([official_batch(ROWS, [1, 2]), OFFICIAL_META, *(pickle.dumps(BATCH, p) for p in range(6))])
    )
    altered = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "altered"
    path.write_bytes(bytes(altered))
    with contextlib.suppress(UserError):
        assert all(isinstance(key, str) for key in load_cifar_pickle(path))


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read '.*batch' \(No such file"):
        load_cifar_pickle(tmp_path / "batch")


def test_oversized_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "batch", "wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    with pytest.raises(UserError, match="larger than any CIFAR file"):
        load_cifar_pickle(tmp_path / "batch")


@pytest.mark.parametrize(
    "name", ["cifar-10-batches-py/batches.meta", "cifar-10-batches-py/test_batch", "cifar-100-python/meta"]
)
def test_genuine_files_are_read_as_the_stock_reader_does(cifar_root: Path, name: str) -> None:
    found = load_cifar_pickle(cifar_root / name)
    with open(cifar_root / name, "rb") as file:
        stock = pickle.load(file, encoding="latin1")
    assert found.keys() == stock.keys()
    for key, value in stock.items():
        assert np.array_equal(found[key], value)
