"""Downloads come from a web server on this machine, which torchvision is told is the official one."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fsgl.data.draw.split import split_hash
from fsgl.data.readers.cifar import load_cifar
from fsgl.errors import UserError

each_set = pytest.mark.parametrize("name", ["cifar10", "cifar100"])
MakeCifar = Callable[[Path, str], Path]


FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


class Quiet(http.server.ThreadingHTTPServer):
    """Says nothing when a client hangs up early, as torchvision does while it looks for redirections."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Server:
    """A web server on this machine that serves a folder, and what torchvision is told of it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.requests: list[str] = []

    def offer(self, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[tarfile.TarFile], None]) -> Path:
        """Offer an archive with what ``write`` puts in it as torchvision's own, and return where it is."""
        import torchvision.datasets

        official = getattr(torchvision.datasets, name.upper())
        archive = self.folder / str(official.filename)
        with tarfile.open(archive, "w:gz") as tar:
            write(tar)
        monkeypatch.setattr(official, "url", f"{self.address}/{official.filename}")
        monkeypatch.setattr(official, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
        return archive


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "web"
    folder.mkdir()
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            requests.append(format % args)

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    web = Quiet(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    started = Server(folder, f"http://127.0.0.1:{web.server_port}")
    started.requests = requests
    yield started
    web.shutdown()
    thread.join()
    web.server_close()


def whole(make_cifar: MakeCifar, name: str, base: Path) -> Callable[[tarfile.TarFile], None]:
    folder = make_cifar(base, name)
    return lambda tar: tar.add(folder, folder.name)


def left_behind(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


@each_set
def test_absent_set_is_downloaded_once(
    tmp_path: Path,
    make_cifar: MakeCifar,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = server.offer(monkeypatch, name, whole(make_cifar, name, tmp_path / "made"))
    root = tmp_path / "data with space" / "deeper"
    downloaded = load_cifar(name, root)
    expected = load_cifar(name, tmp_path / "made")
    assert split_hash(a=downloaded.train, b=downloaded.test) == split_hash(a=expected.train, b=expected.test)
    assert left_behind(root) == sorted([FOLDERS[name], archive.name])
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, "not a terminal: one line, no progress bar"
    assert server.address in said.err
    asked = len(server.requests)
    assert asked >= 1
    load_cifar(name, root)
    shutil.rmtree(root / FOLDERS[name])
    load_cifar(name, root, download=False)  # from the archive, which is there now
    assert len(server.requests) == asked


def test_download_with_a_wrong_checksum_is_refused(
    tmp_path: Path, make_cifar: MakeCifar, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    archive = server.offer(monkeypatch, "cifar10", whole(make_cifar, "cifar10", tmp_path / "made"))
    archive.write_bytes(archive.read_bytes() + b"altered")
    root = tmp_path / "data"
    with pytest.raises(UserError, match=r"could not download cifar-10-python\.tar\.gz .*corrupted"):
        load_cifar("cifar10", root)
    assert left_behind(root) == []


def test_archive_with_a_wrong_checksum_is_replaced(
    tmp_path: Path, make_cifar: MakeCifar, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    good = server.offer(monkeypatch, "cifar10", whole(make_cifar, "cifar10", tmp_path / "made"))
    root = tmp_path / "data"
    root.mkdir()
    (root / good.name).write_bytes(good.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"downloading is off.*the archive there has another checksum"):
        load_cifar("cifar10", root, download=False)
    load_cifar("cifar10", root)
    assert (root / good.name).read_bytes() == good.read_bytes()


@each_set
def test_without_network_one_line_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import torchvision.datasets

    official = getattr(torchvision.datasets, name.upper())
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(official, "url", f"http://127.0.0.1:9/{official.filename}")  # nobody listens there
    root = tmp_path / "data"
    with pytest.raises(UserError) as caught:
        load_cifar(name, root)
    line = str(caught.value)
    assert "\n" not in line
    for part in (official.filename, official.url, official.tgz_md5, f"'{root}'", FOLDERS[name], "refused"):
        assert part in line
    assert left_behind(root) == []


def test_download_can_be_forbidden(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"downloading is off; put cifar-100-python\.tar\.gz \(from https://"):
        load_cifar("cifar100", tmp_path, download=False)


def test_archive_without_all_files_leaves_nothing(
    tmp_path: Path, make_cifar: MakeCifar, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    made = make_cifar(tmp_path / "made", "cifar10")
    (made / "data_batch_2").unlink()
    archive = server.offer(monkeypatch, "cifar10", lambda tar: tar.add(made, made.name))
    root = tmp_path / "data"
    with pytest.raises(UserError, match="lacks cifar-10-batches-py/data_batch_2"):
        load_cifar("cifar10", root)
    assert left_behind(root) == [archive.name]


def test_archive_writes_only_the_files_of_the_set(
    tmp_path: Path, make_cifar: MakeCifar, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    made = make_cifar(tmp_path / "made", "cifar10")
    outside = tmp_path / "outside"

    def write(tar: tarfile.TarFile) -> None:
        tar.add(made, made.name)
        for strange in ("../outside", str(outside), "cifar-10-batches-py/../../outside", "cifar-10-batches-py/extra"):
            member = tarfile.TarInfo(strange)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("cifar-10-batches-py/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)

    server.offer(monkeypatch, "cifar10", write)
    root = tmp_path / "data"
    load_cifar("cifar10", root)
    assert not outside.exists()
    assert left_behind(root / FOLDERS["cifar10"]) == left_behind(made)


def test_file_that_is_a_link_in_the_archive_is_refused(
    tmp_path: Path, make_cifar: MakeCifar, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    made = make_cifar(tmp_path / "made", "cifar10")
    (made / "data_batch_2").unlink()
    (made / "data_batch_2").symlink_to("/etc/passwd")
    server.offer(monkeypatch, "cifar10", lambda tar: tar.add(made, made.name))
    with pytest.raises(UserError, match="lacks cifar-10-batches-py/data_batch_2"):
        load_cifar("cifar10", tmp_path / "data")


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match=r"cannot put cifar-10-batches-py into '.*data' \(File exists\)"):
        load_cifar("cifar10", tmp_path / "data")


def test_slower_of_two_processes_uses_the_others_folder(
    tmp_path: Path, make_cifar: MakeCifar, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    made = whole(make_cifar, "cifar10", tmp_path / "made")
    server.offer(monkeypatch, "cifar10", made)
    root = tmp_path / "data"
    rename = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    assert len(load_cifar("cifar10", root).train) == 50
    assert left_behind(root) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]
