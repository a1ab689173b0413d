from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from fsgl.data.readers import tables
from fsgl.data.readers.listing import Labelled, Rows
from fsgl.data.readers.reading import Reading
from fsgl.data.readers.tables import read_table
from fsgl.errors import UserError


def read(path: Path, part: str | None = None) -> dict[str, Labelled]:
    rows = Rows()
    read_table(path, path.parent, rows, part)
    return rows.parts


def csv(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def parquet(folder: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


TWO = {"train": Labelled(["a/1.jpg", "b 2.jpg"], ["cat", "7"])}


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na/1.jpg,cat\nb 2.jpg,7\n",
        "\ufeffFile;CLASS\r\na/1.jpg;cat\r\n\r\nb 2.jpg;7\r\n",
        "id\tTarget\timage\n0\tcat\ta/1.jpg\n1\t7\tb 2.jpg",
        '"filename"|"category"\n"a/1.jpg"|"cat"\n"b 2.jpg"|"7"\n',
        'label,"note, with comma; and more",path\ncat,x,./a/1.jpg\n7,"y\nz",b 2.jpg\n',
        "image_path,class_name,label\na/1.jpg,Felis,cat\nb 2.jpg,Nr,7\n",  # "label" before "class_name"
        " File Name , Label \na/1.jpg, cat \nb 2.jpg ,7\n",
    ],
)
def test_csv_of_every_kind(tmp_path: Path, text: str) -> None:
    assert read(csv(tmp_path, text)) == TWO


def test_parts_by_their_column(tmp_path: Path) -> None:
    text = "path,label,split\n1,a,train\n2,a,Valid\n3,a,testing\n4,b,TRAINING\n"
    expected = {
        "train": Labelled(["1", "4"], ["a", "b"]),
        "val": Labelled(["2"], ["a"]),
        "test": Labelled(["3"], ["a"]),
    }
    assert read(csv(tmp_path, text)) == expected
    columns = {"path": ["1", "2", "3", "4"], "label": ["a", "a", "a", "b"], "split": ["train", "val", "test", "train"]}
    assert read(parquet(tmp_path, **columns)) == expected
    assert list(read(csv(tmp_path, text), part="val")) == ["val"]  # a list for one part is that part


@pytest.mark.parametrize(
    ("column", "yes"), [("is_test", "True"), ("test", "1"), ("Testing", "yes"), ("Validation", "1.0")]
)
def test_columns_that_say_yes_or_no_of_a_part(tmp_path: Path, column: str, yes: str) -> None:
    no = {"True": "False", "1": "0", "yes": "no", "1.0": ""}[yes]
    found = read(csv(tmp_path, f"path,label,{column}\n1,a,{no}\n2,a,{yes}\n3,b,{no}\n"))
    part = "val" if column == "Validation" else "test"
    assert found == {"train": Labelled(["1", "3"], ["a", "b"]), part: Labelled(["2"], ["a"])}


@pytest.mark.parametrize(
    ("header", "parts", "said"),
    [
        ("path,label,fold", "train=0,test=1", "has no column of parts for --parts; --split-column NAME"),
        ("path,label,split", "train=0,test=1,val=9", "--parts names '9', but no row has that"),
        ("path,label,split", "train=0,test=1", None),
    ],
)
def test_parts_that_are_named_are_there(tmp_path: Path, header: str, parts: str, said: str | None) -> None:
    path = csv(tmp_path, f"{header}\n1,a,0\n2,b,1\n")
    if said is None:
        read_table(path, tmp_path, rows := Rows(), reading=Reading(parts=parts))
        assert set(rows.parts) == {"train", "test"}
        return
    with pytest.raises(UserError, match=said):
        read_table(path, tmp_path, Rows(), reading=Reading(parts=parts))


def test_the_first_row_may_have_its_label_in_quotation_marks(tmp_path: Path) -> None:
    assert read(csv(tmp_path, 'path,label\n1,"NA"\n2,b\n')) == {"train": Labelled(["1", "2"], ["NA", "b"])}


def test_two_spellings_with_spaces_are_said_where_none_is_without(tmp_path: Path) -> None:
    rows = Rows()
    read_table(csv(tmp_path, "path,label\n1, cat \n2,cat \n3,dog\n"), tmp_path, rows)
    assert sum("but for spaces around it: one class" in note for note in rows.notes()) == 2


def test_backslashes_are_slashes_where_others_write_slashes(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    found = read(csv(tmp_path, "path,label,split\n1/x,a,train\n2\\x,b,test\n"))
    assert found == {"train": Labelled(["1/x"], ["a"]), "test": Labelled(["2/x"], ["b"])}


def test_a_column_that_is_called_like_a_part_and_says_something_else_is_none(tmp_path: Path) -> None:
    assert read(csv(tmp_path, "path,label,test\n1,a,blood\n2,b,1\n")) == {"train": Labelled(["1", "2"], ["a", "b"])}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_without_a_mark(tmp_path: Path, encoding: str) -> None:
    assert read(csv(tmp_path, "path,label\na/1.jpg,cat\nb 2.jpg,7\n".encode(encoding))) == TWO


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\n1,a\0\n", r"line 1: not a table \(it holds NUL characters"),
        ("", "t.csv: empty; a table begins with the names of its columns"),
        ("\n", "t.csv: empty"),
        ("path,label\n", None),
        ("a/1.jpg,cat\n", r"no column of paths \(named file, filename, image, path\) among 'a/1\.jpg', 'cat'"),
        ("path,colour\n1,2\n", r"no column of labels \(named category, class, label, target\) among 'path', 'colour'"),
        ("path,file,label\n1,2,3\n", "the columns 'path' and 'file' may both be the path; rename or remove one"),
        ("path,Label,class\n1,2,3\n", "the columns 'Label' and 'class' may both be the label"),
        ("path,label,label\n1,2,3\n", "the columns 'label' and 'label' may both be the label"),
        ("path,label\n1,a\n2\n", r"t\.csv, line 3: has 1 of 2 columns"),
        ("path,label\n1,a\n2,cat, big\n", r"line 3: has 3 cells for 2 columns; put text that holds ',' into quotation"),
        ("\npath,label\n1,a\n", "t.csv: its first line is empty"),
        ('path,label\n1,a\n2,"b\n3,b\n4,c\n', "line 3: not a table .a quotation mark is not closed"),
        ('path,label\n1,a\n2,"b\n3,b\n4,"c"\n', "line 3: not a table .a quotation mark is not closed"),
        ('path,label\n1,"say \\"x\\""\n', "line 2: not a table .a quotation mark"),
        ("path,label\n1,a\n2,\n", r"t\.csv, line 3: '2' has no label"),
        ("path,label\n1,a\n,b\n", r"t\.csv, line 3: '' must be a path inside"),
        ("path,label\n1,a\n../2,b\n", r"t\.csv, line 3: '\.\./2' must be a path inside"),
        ("path,label\n1,a\n/etc/passwd,b\n", r"t\.csv, line 3: '/etc/passwd' must be a path inside"),
        ("path,label\n1,a\n1,b\n", r"t\.csv, line 3: '1' is 'b' here and 'a' before"),
        ("path,label,split\n1,a,fold3\n", r"line 2: split 'fold3' is none of train, val, test .*--parts"),
        ("path,label,split\n1,a,\n", r"line 2: split '' is none of"),
        (b"path,label\n1,\xff\n", "not a table of text"),
        ("path,label\n1," + "x" * 200_000 + "\n", r"line 2: not a table \(field larger than field limit"),
    ],
)
def test_mistakes_in_csv_are_one_line(tmp_path: Path, text: str | bytes, said: str | None) -> None:
    if said is None:
        assert read(csv(tmp_path, text)) == {}
        return
    with pytest.raises(UserError, match=said) as caught:
        read(csv(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [["cat", "dog"], pyarrow.array(["cat", "dog"]).dictionary_encode(), pyarrow.array(["cat", "dog"], "large_string")],
)
def test_parquet_of_names(tmp_path: Path, labels: Any) -> None:
    assert read(parquet(tmp_path, file=["a", "b"], label=labels)) == {"train": Labelled(["a", "b"], ["cat", "dog"])}


def test_parquet_of_numbers_as_pandas_leaves_them(tmp_path: Path) -> None:
    assert read(parquet(tmp_path, file=["a", "b"], label=[3, 10]))["train"].labels == ["3", "10"]
    assert read(parquet(tmp_path, file=["a", "b"], label=[3.0, 10.0]))["train"].labels == ["3.0", "10.0"]
    with pytest.raises(UserError, match=r"t\.parquet, row 2: 'b' has no label"):
        read(parquet(tmp_path, file=["a", "b"], label=[3.0, float("nan")]))
    with pytest.raises(UserError, match=r"t\.parquet, row 1: 'a' has no label"):
        read(parquet(tmp_path, file=["a", "b"], label=[None, "x"]))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"image": [{"bytes": b"x", "path": "a"}], "label": [1]},
            "the column 'image' holds struct; paths and labels are",
        ),
        ({"path": ["a"], "label": [[1, 2]]}, "the column 'label' holds list"),
        ({"path": [b"a"], "label": [1]}, "the column 'path' holds binary"),
        ({"x": ["a"], "label": [1]}, "no column of paths"),
        ({"path": ["../a"], "label": [1]}, r"row 1: '\.\./a' must be a path inside"),
    ],
)
def test_mistakes_in_parquet_are_one_line(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read(parquet(tmp_path, **columns))
    assert "\n" not in str(caught.value)


def test_damaged_parquet(tmp_path: Path) -> None:
    whole = parquet(tmp_path, path=["a"] * 1000, label=list(range(1000))).read_bytes()
    for content in (b"", b"PAR1", whole[:-20], b"x" + whole[1:-4] + b"PAR2", whole[:40] + b"\xff" * 60 + whole[100:]):
        with pytest.raises(UserError, match=r"t\.parquet") as caught:
            read(csv(tmp_path, content, "t.parquet"))
        assert "\n" not in str(caught.value)


def test_parquet_that_claims_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 999)
    with pytest.raises(UserError, match="claims 1,000 rows; at most 999 are read"):
        read(parquet(tmp_path, path=["a"] * 1000, label=["x"] * 1000))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path, path=["a"], label=["x"])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"Parquet needs pyarrow: pip install 'fsgl\[parquet\]'"):
        read(path)


def test_absent_table(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(UserError, match=rf"{name}: (cannot be read|not a readable Parquet file) \(No such file"):
            read(tmp_path / name)


def test_table_as_long_as_inaturalists_takes_seconds(tmp_path: Path) -> None:
    lines = [f"train_val2018/Plantae/{i % 8142}/{i:032x}.jpg,{i % 8142}" for i in range(437_513)]
    path = csv(tmp_path, "path,label\n" + "\n".join(lines))
    started = time.process_time()
    assert len(read(path)["train"].paths) == 437_513
    assert time.process_time() - started < 20
