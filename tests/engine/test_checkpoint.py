from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsgl.engine.checkpoint import alternative, list_checkpoints, load_checkpoint, make_newest, save_checkpoint
from fsgl.errors import UserError

PAYLOAD = {"state": {"weights": torch.arange(6.0).reshape(2, 3), "epoch": 3}, "history": [{"loss": 0.1}], "best": None}


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def honest_name(content: bytes, place: str = "epoch-0004-step-00000") -> str:
    """The name that a checkpoint of this content has, computed from its description alone."""
    return f"{place}-{hashlib.sha256(place.encode() + content).hexdigest()[:16]}.pt"


class Marks:
    """Unpickled, it makes a file: what a malicious checkpoint would do, and worse."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "checkpoints", PAYLOAD, epoch=3, step=7)
    assert path.name == honest_name(path.read_bytes(), "epoch-0003-step-00007")
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["state"].pop("weights"), PAYLOAD["state"]["weights"])
    assert loaded == {"state": {"epoch": 3}, "history": [{"loss": 0.1}], "best": None}


def test_newest_are_kept_and_listed_by_number(tmp_path: Path) -> None:
    places = [(0, 5), (9, 100_000), (10, 3), (9999, 0), (10000, 0)]
    for epoch, step in places:
        save_checkpoint(tmp_path, {"place": (epoch, step)}, epoch, step, keep=3)
    (tmp_path / "notes.pt").touch()
    (tmp_path / "epoch-0001-step-00000.pt").touch()
    assert [load_checkpoint(path)["place"] for path in list_checkpoints(tmp_path)] == [(10000, 0), (9999, 0), (10, 3)]
    assert (tmp_path / "notes.pt").exists()


def test_write_that_fails_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [save_checkpoint(tmp_path, PAYLOAD, epoch, 0) for epoch in (1, 2)]

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_checkpoint(tmp_path, PAYLOAD, 3, 0)
    assert sorted(tmp_path.iterdir()) == before
    load_checkpoint(before[1])


def test_leftovers_of_a_killed_write_are_swept(tmp_path: Path) -> None:
    tmp_path.joinpath(".epoch-0001-step-00000-0123456789abcdef.pt.xyz.part").write_bytes(b"half")
    path = save_checkpoint(tmp_path, PAYLOAD, 2, 0)
    assert list(tmp_path.iterdir()) == [path]


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def flip(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def lengthen(path: Path) -> Path:
    path.write_bytes(path.read_bytes() + b"\0")
    return path


def rename(path: Path) -> Path:
    return path.rename(path.with_name("epoch-0009" + path.name[10:]))


@pytest.mark.parametrize("damage", [cut, empty, flip, lengthen, rename])
def test_damaged_one_is_refused_by_name_and_the_one_before_it_offered(damage: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    older, newer = (save_checkpoint(folder, PAYLOAD, epoch, 0) for epoch in (1, 2))
    newer = damage(newer)
    with pytest.raises(UserError, match="torn or altered") as error:
        load_checkpoint(newer)
    text = one_line(error)
    assert text.startswith(f"{newer}: ")
    assert text.endswith(f"--resume '{older}'")
    newer.unlink()
    with pytest.raises(UserError, match="torn or altered") as error:
        load_checkpoint(damage(older))
    assert "there is no older one" in one_line(error)


def test_every_bit_counts(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, {"a": 1}, 1, 0)
    whole = path.read_bytes()
    for place in range(0, len(whole), 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(UserError, match="torn or altered"):
            load_checkpoint(path)


@pytest.mark.parametrize("name", ["model.pt", "epoch-0001-step-00000.pt", "epoch-0001-step-00000-0123456789ABCDEF.pt"])
def test_foreign_file_is_refused(name: str, tmp_path: Path) -> None:
    torch.save(PAYLOAD, tmp_path / name)
    with pytest.raises(UserError, match="not a checkpoint of fsgl") as error:
        load_checkpoint(tmp_path / name)
    assert str(tmp_path / name) in one_line(error)


def test_absent_one_and_a_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / honest_name(b"")
    with pytest.raises(UserError, match="No such file"):
        load_checkpoint(path)
    path.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(path)


@pytest.mark.parametrize("form", ["torch", "pickle", "old torch"])
def test_malicious_one_executes_nothing(form: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    payload = {**PAYLOAD, "state": Marks(marker)}
    if form == "pickle":
        content = pickle.dumps(payload)
    else:
        buffer = io.BytesIO()
        torch.save(payload, buffer, _use_new_zipfile_serialization=form == "torch")
        content = buffer.getvalue()
    path = tmp_path / honest_name(content)
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    assert not marker.exists()
    assert str(path) in one_line(error)
    assert "weights_only" not in str(error.value)  # torch's own message tells how to execute it after all
    # The attack is real: unpickled, it does make the file.
    if form == "pickle":
        pickle.loads(content)
        assert marker.exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"\x80\x02" + tail))
def test_any_bytes_under_an_honest_name_are_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / honest_name(content)
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    one_line(error)


def test_payload_that_is_no_dictionary_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save([1, 2], buffer)
    path = tmp_path / honest_name(buffer.getvalue())
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="no dictionary"):
        load_checkpoint(path)


def test_make_newest_removes_what_comes_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third, fourth = (save_checkpoint(tmp_path, {"n": n}, n, 0, keep=9) for n in range(1, 5))
    make_newest(fourth, tmp_path)
    assert list_checkpoints(tmp_path) == [fourth, third, second, first]
    monkeypatch.chdir(tmp_path)
    make_newest(Path(third.name), tmp_path)  # spelt another way, it is still not one of the others
    assert list_checkpoints(tmp_path) == [third, second, first]
    copy = tmp_path / "elsewhere" / second.name
    copy.parent.mkdir()
    copy.write_bytes(second.read_bytes())
    make_newest(copy, tmp_path)
    assert list_checkpoints(tmp_path) == [first]
    assert copy.exists()


def test_alternative_is_the_next_older(tmp_path: Path) -> None:
    first, second, third = (save_checkpoint(tmp_path, {"n": n}, 1, n, keep=9) for n in range(3))
    assert alternative(third).endswith(f"--resume {second}")
    assert alternative(second).endswith(f"--resume {first}")
    assert "no older one" in alternative(first)
