"""Features of a frozen backbone, computed once for all epochs and all heads that are tried on them, and kept on disk.

View 0 of an image is the image as it is evaluated. View v > 0 is what the stream of images would show of it first in
epoch v: augmentation becomes a fixed number of draws. A departure from training on images, hence a setting
(``transfer.cached_views``) that is off unless asked for; docs/pretrained.md says what else it changes.

A view is a file NAME.npy, ``N x D`` float32, beside NAME.json with its SHA-256. The name is a hash of all that decides
the figures: the backbone's weights, the images, how they are shown, and the versions of what computes. A file that is
not what its SHA-256 says is computed anew; both are written beside and renamed, so a killed process leaves nothing
half-written that could be taken for whole. They are mapped, not read: memory stays flat however many there are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsgl import __version__
from fsgl.data.images.sources import Images
from fsgl.data.stream.features import ImageFeatures
from fsgl.data.stream.streams import StepPositions, StreamSpec
from fsgl.engine.predict import portions
from fsgl.errors import UserError
from fsgl.files import read_json, replacing, write_json
from fsgl.models.assemble import RecognitionNet
from fsgl.models.weights import digest
from fsgl.recipes.experiment import as_hashed
from fsgl.runs.network import ModelWithData

BATCH = 64  # images of a step of the stream that shows augmented ones, and of a forward pass on a GPU
TELL_EVERY = 10.0  # seconds
WHERE = ("root", "images", "train_list", "val_list", "test_list")  # what lies there is in hashes of its own
PARTS = ("train", "val", "test")


def default_folder() -> Path:
    """Where features are kept unless told: the user's own cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fsgl" / "features"


def with_cached_features(
    network: ModelWithData, folder: Path, device: torch.device, workers: int = 0, quiet: bool = False,
    parts: Sequence[str] = PARTS, told: Callable[[int, int], None] | None = None,
) -> ModelWithData:  # fmt: skip
    """The network with features in place of the images of these parts, from ``folder`` or computed and kept there.

    Images that cannot be read are left out and listed in the data's ``bad``, as in training on images. Raises UserError
    where none is left or the disk does not take the features.
    told: while they are computed, of how many are done, of how many that were not there, over all parts. What it raises
    ends that; the views that are whole are kept.
    """
    cache = _Cache(network, folder, device, workers, quiet)
    there = [(part, images) for part in parts if (images := getattr(network.data, part)) is not None]
    views = {part: network.experiment.transfer.cached_views if part == "train" else 1 for part, _ in there}
    if told is not None:
        cache.tell(told, sum(cache.missing(part, images, views[part]) for part, images in there))
    found: dict[str, Any] = {part: cache.features(part, images, views[part]) for part, images in there}
    if cache.computed and not quiet:
        print(f"features are kept in {folder} ({cache.computed / 2**20:,.0f} MiB new; remove what you need no more)")
    return dataclasses.replace(network, data=dataclasses.replace(network.data, **found))


def as_it_was_scored(
    network: ModelWithData, record: Mapping[str, Any], folder: Path | None, device: torch.device, workers: int = 0,
    parts: Sequence[str] = ("val", "test"),
) -> ModelWithData:  # fmt: skip
    """A trained run's network, with features in place of the images of ``parts`` where it was trained on features.

    They are those of training where these are still there and the same would come out, else computed anew, with
    progress on standard output. A network that was trained on images is returned as it is.
    record: of the run.  folder: None is where the run kept them, while that is there, else the user's own cache.
    Raises UserError, as ``with_cached_features``.
    """
    if not network.experiment.transfer.cached_views:
        return network
    kept = record.get("feature_cache")
    if folder is None:
        folder = Path(kept) if isinstance(kept, str) and Path(kept).is_dir() else default_folder()
    return with_cached_features(network, folder, device, workers, parts=parts)


def cached_features(
    network: ModelWithData, part: str, images: Images, folder: Path, device: torch.device, workers: int = 0,
    told: Callable[[int, int], None] = lambda done, count: None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Features ``M x D`` of ``images`` as they are evaluated, and the positions ``M`` of those that can be read.

    What ``with_cached_features`` keeps of a part of this name is found here, and the other way round. told: of every so
    many done, of how many, while they are computed; what it raises ends that, and nothing is kept. Raises UserError.
    """
    cache = _Cache(network, folder, device, workers, quiet=True, told=told)
    found = cache.features(part, images, 1)
    return found.views[0], np.flatnonzero(~network.data.unreadable(images))


class _Cache:
    def __init__(
        self, network: ModelWithData, folder: Path, device: torch.device, workers: int, quiet: bool,
        told: Callable[[int, int], None] = lambda done, count: None,
    ) -> None:  # fmt: skip
        if not isinstance(network.model, RecognitionNet) or not network.model.frozen:
            raise ValueError("features are cached of a frozen backbone only")
        self._model = network.model
        self._experiment, self._data = network.experiment, network.data
        self._folder, self._device, self._workers, self._quiet = folder, device, workers, quiet
        self._told = told
        self._weights = digest(self._model.backbone)
        self.computed = 0
        """Bytes that were not there and are now."""
        self._before = 0  # images of views that were computed before this one

    def tell(self, told: Callable[[int, int], None], total: int) -> None:
        """From now on of all that is computed, of which there are so many."""
        self._told = lambda done, count: told(self._before + done, total)

    def missing(self, part: str, images: Images, views: int) -> int:
        """Images to compute, one for each view."""
        paths = [self._path(self._decides(part, images, view)) for view in range(views)]
        return len(images) * sum(not path.exists() for path in paths)

    def features(self, part: str, images: Any, views: int) -> ImageFeatures:
        found = ImageFeatures(tuple(self._view(part, images, view) for view in range(views)), images.labels)
        unreadable = self._data.unreadable(images)
        if unreadable.all():
            raise UserError(f"none of the {part} images can be read")
        return found.take(np.flatnonzero(~unreadable)) if unreadable.any() else found

    def _view(self, part: str, images: Images, view: int) -> np.ndarray:
        decides = self._decides(part, images, view)
        array = self._path(decides)
        found = _opened(array)
        if found is None or len(found) != len(images):
            self._compute(array, part, images, view, decides)
            found = _opened(array)
        else:
            self._data.bad.reasons.update(read_json(array.with_suffix(".json")).get("bad", {}))
        if found is None:  # another process, or a failing disk
            raise UserError(f"{array}: changed while it was written; is the folder used by another program?")
        return found

    def _path(self, decides: dict[str, Any]) -> Path:
        name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]
        return self._folder / f"{name}.npy"

    def _decides(self, part: str, images: Images, view: int) -> dict[str, Any]:
        """All that the figures follow from."""
        data = self._data
        spec = {name: value for name, value in as_hashed(data.spec).items() if name not in WHERE}
        return {
            "backbone": self._experiment.backbone,
            "weights": self._weights,
            "images": [part, data.hash, images.state_on_disk()],
            "shown": [spec, data.image_size, data.mean, data.std],
            "view": [view, self._experiment.seed if view else 0],
            "computed": [_versions(), self._device.type, str(self._model.compute_dtype)],
        }

    def _compute(self, array: Path, part: str, images: Images, view: int, decides: dict[str, Any]) -> None:
        count = len(images)
        batches = self._augmented(view) if view else self._plain(images)
        what = f"{part} view {view}" if part == "train" else part
        start = told = time.monotonic()
        done, written = 0, None
        self._model.eval()
        with _replacing(array) as path, torch.inference_mode():
            for positions, shown in batches:
                passed = []
                for some in portions(shown.to(self._device), self._data.image_size):
                    passed.append(self._model.features(some).float().cpu())
                    self._told(done + sum(map(len, passed)), count)
                features = torch.cat(passed).numpy()
                if written is None:
                    written = np.lib.format.open_memmap(path, "w+", np.float32, (count, features.shape[1]))
                written[positions] = features
                done += len(features)
                if not self._quiet and time.monotonic() - told > TELL_EVERY:
                    told = time.monotonic()
                    speed = done / (told - start)
                    print(f"features of {what}: {done:,} of {count:,} images, {speed:.0f}/s", flush=True)
            if written is None or done != count:
                raise UserError(f"{part}: features need every image, and {count - done} of {count} could not be read")
            written.flush()
            size, known = written.nbytes, {"sha256": _sha256(path), "of": decides, "bad": self._bad(images)}
            del written
            array.with_suffix(".json").unlink(missing_ok=True)  # of an older file of this name
        write_json(array.with_suffix(".json"), known)
        self.computed, self._before = self.computed + size, self._before + count

    def _bad(self, images: Images) -> dict[str, str]:
        """Reasons by location, of the images that were found unreadable."""
        places = np.flatnonzero(self._data.unreadable(images)).tolist()
        reasons = self._data.bad.reasons
        return {where: reasons[where] for where in (images.location(place) for place in places)}

    def _plain(self, images: Images) -> Iterator[tuple[slice, Tensor]]:
        place = 0
        for batch in self._data.evaluation_batches(images, self._device, self._workers):
            for shown in batch.split(BATCH):
                yield slice(place, place + len(shown)), shown
                place += len(shown)

    def _augmented(self, view: int) -> Iterator[tuple[np.ndarray, Tensor]]:
        data = self._data
        spec = StreamSpec(BATCH, 1, None, self._experiment.seed)
        stream = data.stream(spec, self._device, self._workers)
        order = StepPositions(data.train.labels, data.num_classes, spec).epoch(view)
        for (_, positions, _), batch in zip(order, stream.batches(view), strict=True):
            # In an unreadable image's place the stream shows another one; its row is left out in the end.
            right = batch.original.labels.cpu().numpy() == data.train.labels[positions]
            if not (right | data.unreadable(data.train)[positions]).all():
                raise UserError("a training image could not be read that could be before; is the folder changing?")
            yield positions, batch.original.views[0]


def _versions() -> dict[str, str]:
    """Of the packages that decide how an image is opened, augmented and turned into features."""
    found = {"fsgl": __version__, "torch": torch.__version__}
    for name in ("torchvision", "pillow", "timm"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _opened(array: Path) -> np.ndarray | None:
    """The array mapped from its file, if it is there and what its SHA-256 says."""
    try:
        known = read_json(array.with_suffix(".json"))
        if not isinstance(known, dict) or known.get("sha256") != _sha256(array):
            return None
        found: np.ndarray = np.load(array, mmap_mode="r", allow_pickle=False)
    except (UserError, OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and found.dtype == np.float32 else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _replacing(array: Path) -> Iterator[Path]:
    """As ``files.replacing``. Raises UserError where the disk refuses."""
    try:
        with replacing(array) as path:
            yield path
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{array.parent}: features cannot be written ({reason}); try --feature-cache FOLDER") from None
