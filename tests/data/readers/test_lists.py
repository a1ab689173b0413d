from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.data.images.sources import ImageFiles, Source
from fsgl.data.readers.listing import Labelled, Rows
from fsgl.data.readers.lists import IMAGENET_STATISTICS, INATURALIST_STATISTICS, load_lists, read_list
from fsgl.errors import UserError


class Folder:
    """A root with every file that well-formed lists name, and the two lists."""

    def __init__(self, base: Path) -> None:
        self.root, self.train, self.test = base / "images", base / "train list.txt", base / "test.txt"
        self.write("n01/a.jpg 0\nn02/b c.jpg 1\nn01/d.jpg 0\n", "val/e.jpg 1\n")
        for name in ("n01/a.jpg", "n02/b c.jpg", "n01/d.jpg", "val/e.jpg"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).touch()

    def write(self, train: str, test: str = "val/e.jpg 0\n") -> None:
        self.train.write_text(train, encoding="utf-8")
        self.test.write_text(test, encoding="utf-8")

    def load(self, name: str = "ImageNet-LT", class_names: list[str] | None = None) -> Source:
        return load_lists(name, self.root, self.train, self.test, class_names)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def files(part: object) -> ImageFiles:
    assert isinstance(part, ImageFiles)
    return part


def test_lists_are_read(folder: Folder) -> None:
    source = folder.load()
    assert files(source.train).root == folder.root
    assert files(source.train).paths == ("n01/a.jpg", "n02/b c.jpg", "n01/d.jpg")
    assert source.train.labels.tolist() == [0, 1, 0]
    assert files(source.test).paths == ("val/e.jpg",)
    assert source.class_names == ("0", "1")
    assert source.name == "ImageNet-LT"


@pytest.mark.parametrize("name", ["ImageNet-LT", "Places-LT", "iNaturalist2018", "iNaturelist2018"])
def test_statistics_go_by_name(folder: Folder, name: str) -> None:
    source = folder.load(name)
    expected = INATURALIST_STATISTICS if name.startswith("iNat") else IMAGENET_STATISTICS
    assert (source.mean, source.std) == expected


def test_statistics_can_be_given(folder: Folder) -> None:
    own = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    source = load_lists("mine", folder.root, folder.train, folder.test, statistics=own)
    assert (source.mean, source.std) == own


@pytest.mark.parametrize(
    "text",
    [
        "n01/a.jpg 0\n\n  \nn02/b c.jpg 1\n\n",
        "n01/a.jpg 0\r\nn02/b c.jpg 1\r\n",
        "\ufeffn01/a.jpg\t0\n  n02/b c.jpg   1  ",
    ],
)
def test_blank_lines_line_ends_and_tabs_do_not_matter(folder: Folder, text: str) -> None:
    folder.write(text)
    source = folder.load()
    assert files(source.train).paths == ("n01/a.jpg", "n02/b c.jpg")
    assert source.train.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "bad", ["n02/b.jpg", "7", "n02/b.jpg one", "n02/b.jpg 1.0", "n02/b.jpg -1", "x 9999999999", "x \u0661"]
)
def test_line_without_a_label_is_named(folder: Folder, bad: str) -> None:
    folder.write(f"n01/a.jpg 0\n\n{bad}\n")
    with pytest.raises(UserError, match=r"train list\.txt, line 3: expected 'relative/path label'"):
        folder.load()


@pytest.mark.parametrize(
    "bad", ["../x.jpg", "n01/../../x.jpg", "/etc/passwd", "..", "n01\\..\\x", "\\x", "C:\\x", "a\0b"]
)
def test_path_out_of_the_root_is_named(folder: Folder, bad: str) -> None:
    folder.write(f"n01/a.jpg 0\n{bad} 0\n")
    with pytest.raises(UserError, match=r"train list\.txt, line 2: .* must be a path inside the image folder"):
        folder.load()


@pytest.mark.parametrize("good", ["a..b/c.jpg", "n01/..jpg", "...", "a:b.jpg"])
def test_dots_within_names_are_fine(folder: Folder, good: str) -> None:
    folder.write(f"n01/a.jpg 0\n{good} 0\n")
    assert files(folder.load().train).paths[1] == good


def test_class_without_training_images_is_named(folder: Folder) -> None:
    folder.write("n01/a.jpg 0\nn02/b c.jpg 2\n")
    with pytest.raises(UserError, match="class 1 has no training images"):
        folder.load()
    with pytest.raises(UserError, match=r"class 1 \('dog'\) has no training images"):
        folder.load(class_names=["cat", "dog", "emu"])
    folder.write("n01/a.jpg 0\n", "val/e.jpg 1\n")
    with pytest.raises(UserError, match="class 1 has no training images"):
        folder.load()


def test_stray_label_is_an_error_at_once_and_not_a_gigabyte(folder: Folder) -> None:
    folder.write("n01/a.jpg 0\nn01/d.jpg 999999999\n")
    started = time.perf_counter()
    with pytest.raises(UserError, match="class 1 has no training images"):
        folder.load()
    assert time.perf_counter() - started < 1


def test_label_beyond_the_class_names_is_named(folder: Folder) -> None:
    with pytest.raises(UserError, match=r"train list\.txt, line 2: label 1, but the classes are 0 to 0"):
        folder.load(class_names=["cat"])


def test_absent_and_unreadable_things_are_named(folder: Folder) -> None:
    with pytest.raises(UserError, match=r"cannot read the list '.*no\.txt' \(No such file"):
        load_lists("x", folder.root, folder.root / "no.txt", folder.test)
    with pytest.raises(UserError, match=r"image folder '.*nowhere' does not exist"):
        load_lists("x", folder.root / "nowhere", folder.train, folder.test)
    folder.write("\n")
    with pytest.raises(UserError, match="names no images"):
        folder.load()
    folder.train.write_bytes(b"n01/\xff.jpg 0\n")
    with pytest.raises(UserError, match="not UTF-8 at byte 4"):
        folder.load()


def test_wrong_root_is_noticed_by_the_first_file(folder: Folder) -> None:
    with pytest.raises(UserError, match=r"'n01/a\.jpg', the first image of '.*', is not under '.*n01'"):
        load_lists("x", folder.root / "n01", folder.train, folder.test)


@given(
    st.lists(
        st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=8).filter(
            lambda name: not set(name) & set("/\\\ufeff") and name != ".."
        ),
        max_size=5,
    )
)
def test_any_plain_name_survives(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = Folder(tmp_path_factory.mktemp("lists"))
    folder.write("n01/a.jpg 0\n" + "".join(f"d/{name} x 0\n" for name in names))
    assert files(folder.load().train).paths[1:] == tuple(f"d/{name} x" for name in names)


def test_lists_as_long_as_inaturalists_take_seconds(folder: Folder) -> None:
    lines = ["n01/a.jpg 0"] + [f"train_val2018/Plantae/{i % 8142}/{i:032x}.jpg {i % 8142}" for i in range(437_512)]
    folder.write("\n".join(lines))
    started = time.perf_counter()
    source = folder.load("iNaturalist2018")
    assert time.perf_counter() - started < 10
    assert (len(source.train), source.num_classes) == (437_513, 8142)


def own(tmp_path: Path, text: str, part: str = "train") -> dict[str, Labelled]:
    path, rows = tmp_path / "own.txt", Rows()
    path.write_text(text, encoding="utf-8")
    read_list(path, tmp_path, rows, part)
    return rows.parts


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a.jpg 10\nb c.jpg 2\n", ["10", "2"]),
        ("\ufeffa.jpg cat\r\n\r\n  b c.jpg   dog  ", ["cat", "dog"]),
        ("a.jpg\tgreat cat\nb c.jpg\t-3\n", ["great cat", "-3"]),
        ("./a.jpg 1\nb c.jpg 1\na.jpg 1\n", ["1", "1"]),
    ],
)
def test_own_list_has_labels_of_any_kind(tmp_path: Path, text: str, labels: list[str]) -> None:
    assert own(tmp_path, text, "val") == {"val": Labelled(["a.jpg", "b c.jpg"], labels)}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("b.jpg", "expected 'relative/path label', found 'b.jpg'"),
        ("../b.jpg 1", r"'\.\./b\.jpg' must be a path inside the image folder"),
        ("/etc/passwd 1", "'/etc/passwd' must be a path inside the image folder"),
        ("a.jpg 1", "'a.jpg' is '1' here and '0' before; an image has one class"),
    ],
)
def test_mistakes_in_own_list_are_named(tmp_path: Path, bad: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"own\.txt, line 3: {said}"):
        own(tmp_path, f"a.jpg 0\n\n{bad}\n")


def test_third_list_is_for_validation(folder: Folder) -> None:
    source = load_lists("x", folder.root, folder.train, folder.test, val_list=folder.test)
    assert files(source.val).paths == files(source.test).paths
    assert files(source.val).labels.tolist() == [1]


def test_name_that_is_too_long_for_a_file_is_no_crash(folder: Folder) -> None:
    folder.write("x" * 300 + ".jpg 0\n")
    with pytest.raises(UserError, match=r"the first image of '.*', is not under"):
        folder.load()


@pytest.mark.parametrize("line", ["path label", "path\tlabel", "# made by hand"])
def test_a_heading_or_a_comment_is_no_image(tmp_path: Path, line: str) -> None:
    (tmp_path / "l.txt").write_text(f"{line}\n1.png cat\n2.png dog\n")
    with pytest.raises(UserError, match=r"line 1: .* is no image; a list has no heading and no comments"):
        read_list(tmp_path / "l.txt", tmp_path, Rows(), "train")
