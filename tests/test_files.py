from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.errors import UserError
from fsgl.files import read_json, remove_partial, sole_user, write_atomically, write_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_content_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "file.bin"
    write_atomically(path, b"first")
    write_atomically(path, b"")
    write_atomically(path, b"\x00second\xff")
    assert path.read_bytes() == b"\x00second\xff"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_failure_leaves_the_old_content_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(UserError, match=r"file\.bin: cannot be written \(No space left on device\)"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_disk_that_fills_up_half_way_loses_nothing(tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: the kernel takes part of the bytes and refuses the rest."""
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")
    code = f"""
import resource
from pathlib import Path
from fsgl.errors import UserError
from fsgl.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(Path({str(path)!r}), bytes(1_000_000))
except UserError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "file.bin: cannot be written (File too large)" in shown.stdout
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash at the last moment would leave: the old file, and beside it the new one, flushed to the disk."""
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")
    seen: list[str] = []
    sync, replace = os.fsync, os.replace

    def watched_sync(descriptor: int) -> None:
        seen.append("sync")
        sync(descriptor)

    def watched_replace(source: str, target: Path) -> None:
        seen.append("rename")
        assert Path(source).read_bytes() == b"new content"
        assert Path(target).read_bytes() == b"old"
        assert Path(source).parent == path.parent  # a rename across file systems would be a copy
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_atomically(path, b"new content")
    assert seen == ["sync", "rename", "sync"]


def test_an_interrupt_while_writing_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_a_file_in_the_way_of_the_folder_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(tmp_path / "runs" / "x.json", b"")


@given(JSON)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("bad", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_no_number_goes_into_json_that_json_does_not_have(tmp_path: Path, bad: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", bad)
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"{", "not valid JSON"), (b"", "not valid JSON"), (b'"\xff"', "not valid JSON")],
)
def test_unreadable_json_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.json: {said}") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_json_error_says_the_line(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"a": 1}, indent=2)[:-1] + ",")
    with pytest.raises(UserError, match="line 3"):
        read_json(tmp_path / "x.json")


def test_a_folder_is_no_json_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path)


def test_partial_files_and_nothing_else_are_removed(tmp_path: Path) -> None:
    for name in (".a.json.xyz.part", ".b.part", "c.part", ".hidden", "a.json"):
        (tmp_path / name).write_text("")
    remove_partial(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"c.part", ".hidden", "a.json"}


def test_a_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "x"
    code = f"""
from pathlib import Path
from fsgl.errors import UserError
from fsgl.files import sole_user
try:
    with sole_user(Path({str(folder)!r})):
        print("alone")
except UserError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def another_process() -> str:
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    with sole_user(folder):
        assert "another process is at work in it" in another_process()
    assert another_process() == "alone\n"


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), sole_user(tmp_path / "file"):
        pass
