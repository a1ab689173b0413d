"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from torchvision's folders, downloaded there when absent.

The batch files are read by ``pickles.py``, which executes nothing, and never by torchvision: its reader runs whatever
the pickle says and refuses copies whose md5 sums are not the official ones (the same images in another order, say).
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsgl.data.images.sources import ImageArrays, Source, as_labels
from fsgl.data.readers.pickles import load_cifar_pickle
from fsgl.errors import UserError, unknown


@dataclass(frozen=True)
class _Layout:
    """Where a set lies under the data root, by the names of its authors and of torchvision."""

    torchvision_class: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_key: str
    meta: str
    names_key: str
    num_classes: int
    # Per-channel statistics of the 50,000 training images; a test computes them again from the genuine pixels.
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, *self.test, self.meta)


_LAYOUTS = {
    "cifar10": _Layout(
        torchvision_class="CIFAR10",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test=("test_batch",),
        label_key="labels",
        meta="batches.meta",
        names_key="label_names",
        num_classes=10,
        mean=(0.49139968, 0.48215841, 0.44653091),
        std=(0.24703223, 0.24348513, 0.26158784),
    ),
    "cifar100": _Layout(
        torchvision_class="CIFAR100",
        folder="cifar-100-python",
        train=("train",),
        test=("test",),
        label_key="fine_labels",
        meta="meta",
        names_key="fine_label_names",
        num_classes=100,
        mean=(0.50707516, 0.48654887, 0.44091784),
        std=(0.26733429, 0.25643846, 0.27615047),
    ),
}
_ROW = 3 * 32 * 32
# Seconds without an answer after which there is no network; urllib would wait for ever.
_NETWORK_TIMEOUT = 30.0


def load_cifar(name: str, root: Path | str, download: bool = True) -> Source:
    """CIFAR-10 ("cifar10") or CIFAR-100 ("cifar100", fine labels): uint8 ``N x 32 x 32 x 3``, in archive order.

    Read from ``root/cifar-10-batches-py`` or ``root/cifar-100-python``, whatever the md5 sums of the files in it. Where
    that folder is absent, the archive is taken from ``root`` if it lies there with torchvision's checksum, or else
    downloaded (170 MB) with torchvision if ``download``, and unpacked.
    Raises UserError for another name, when the images can be had in neither way (saying which archive to put where),
    and for a folder with a missing, torn or malformed file.
    """
    if name not in _LAYOUTS:
        raise unknown("CIFAR data set", name, _LAYOUTS)
    layout, root = _LAYOUTS[name], Path(root)
    folder = root / layout.folder
    if not folder.is_dir():
        _obtain(layout, root, download)
    train, test = (_read_split(folder, files, layout) for files in (layout.train, layout.test))
    return Source(name, train, test, _read_class_names(folder / layout.meta, layout), layout.mean, layout.std)


def _read_split(folder: Path, files: tuple[str, ...], layout: _Layout) -> ImageArrays:
    images, labels = zip(*(_read_batch(folder / file, layout) for file in files), strict=True)
    return ImageArrays(np.concatenate(images), np.concatenate(labels))


def _read_batch(path: Path, layout: _Layout) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise UserError(
            f"'{path}' is missing; put it there, or remove the folder to have it unpacked or downloaded anew"
        )
    batch = load_cifar_pickle(path)
    rows, values = batch.get("data"), batch.get(layout.label_key)
    if rows is None or values is None:
        raise UserError(f"'{path}' has no 'data' or no '{layout.label_key}', so it is not a batch of this data set")
    if not (isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.ndim == 2 and rows.shape[1] == _ROW):
        found = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise UserError(f"'{path}': 'data' must be uint8 rows of {_ROW} pixel values, not {found}")
    try:
        labels = as_labels(values)
    except (UserError, ValueError, OverflowError) as error:
        raise UserError(f"'{path}': '{layout.label_key}' is not a list of whole numbers") from error
    if len(labels) != len(rows) or not len(rows):
        raise UserError(f"'{path}' has {len(rows)} images and {len(labels)} labels")
    wrong = np.flatnonzero((labels < 0) | (labels >= layout.num_classes))
    if wrong.size:
        raise UserError(
            f"'{path}': image {wrong[0]} has label {labels[wrong[0]]}, outside 0 to {layout.num_classes - 1}"
        )
    # A row is the red plane, the green, the blue.
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def _read_class_names(path: Path, layout: _Layout) -> tuple[str, ...]:
    names = load_cifar_pickle(path).get(layout.names_key)
    texts = tuple(n.decode("latin1") if isinstance(n, bytes) else n for n in (names if isinstance(names, list) else ()))
    if len(texts) != layout.num_classes or not all(isinstance(text, str) for text in texts):
        raise UserError(f"'{path}': '{layout.names_key}' must be a list of {layout.num_classes} names")
    return texts


def _obtain(layout: _Layout, root: Path, download: bool) -> None:
    """Make ``root/layout.folder`` out of the archive, whole or not at all."""
    # torchvision takes seconds to import, and is of no use where the folder is there already.
    import torchvision.datasets
    from torchvision.datasets.utils import check_integrity, download_url

    official = getattr(torchvision.datasets, layout.torchvision_class)
    archive = root / official.filename
    remedy = (
        f"put {official.filename} (from {official.url}, md5 {official.tgz_md5}) into '{root}', "
        f"or its folder {layout.folder}" + ("; the archive there has another checksum" if archive.exists() else "")
    )
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that a rename is all that is left to do: an interrupted run leaves nothing half done.
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{layout.folder}-") as scratch:
            if not check_integrity(archive, official.tgz_md5):
                if not download:
                    raise UserError(f"no {layout.folder} in '{root}', and downloading is off; {remedy}")
                print(f"downloading {official.url} (170 MB) into {root}", file=sys.stderr)
                try:
                    with _calm_network():
                        download_url(official.url, scratch, official.filename, official.tgz_md5)
                except (OSError, RuntimeError, http.client.HTTPException) as error:
                    raise UserError(f"could not download {official.filename} ({_reason(error)}); {remedy}") from error
                os.replace(Path(scratch, official.filename), archive)
            _unpack(archive, layout, Path(scratch))
            _move_folder(Path(scratch, layout.folder), root / layout.folder)
    except OSError as error:
        raise UserError(f"cannot put {layout.folder} into '{root}' ({_reason(error)}); {remedy}") from error


def _unpack(archive: Path, layout: _Layout, target: Path) -> None:
    """Write the files that the set consists of, and nothing else that the archive may hold, under ``target``."""
    (target / layout.folder).mkdir()
    expected = {f"{layout.folder}/{file}" for file in layout.files}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                # Names of our own and plain files only, so no member can point anywhere else.
                if member.name in expected and member.isreg():
                    contents = tar.extractfile(member)
                    assert contents is not None
                    with contents, open(target / member.name, "wb") as file:
                        shutil.copyfileobj(contents, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"'{archive}' cannot be unpacked ({_reason(error)}); remove it") from error
    absent = sorted(name for name in expected if not (target / name).is_file())
    if absent:
        raise UserError(f"'{archive}' lacks {', '.join(absent)}; remove it")


def _move_folder(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():  # or else another process was quicker, and its folder is as good
            raise


@contextlib.contextmanager
def _calm_network() -> Iterator[None]:
    """A network that gives up, and a progress bar for people only: in a log it would be thousands of lines."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT)
    try:
        with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: BaseException) -> str:
    """One line of why; urllib wraps the system's own words."""
    cause = getattr(error, "reason", None) or error
    words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(words).split())
