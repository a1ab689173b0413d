"""Streams of batches from image files, decoded and augmented in worker processes (ImageNet-LT, iNaturalist).

The classic torchvision pipeline (METHOD section 2): random resized crop, colour jitter, greyscale, Gaussian blur,
flip, normalise; at test resize 256, centre crop 224. Each view's random numbers come from a seed derived from
(epoch, step, stream, place in the batch), so they depend neither on the number of workers nor on where a run resumed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fsgl.data.sources import ImageFiles
from fsgl.data.streams import StepPositions, StreamSpec
from fsgl.data.transfer import to_device
from fsgl.errors import UserError
from fsgl.randomness import derive_seed
from fsgl.types import Batch, Sample

# (position of the image, seeds of its views); no seeds: the test-time transform.
Request = tuple[int, tuple[int, ...]]


def train_transform(mean: tuple[float, ...], std: tuple[float, ...], size: int = 224) -> Callable[[Any], Tensor]:
    """PIL image -> float32 ``C x size x size``, augmented with torch's global generator (seeded for each view)."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(size),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.0),
            v2.RandomGrayscale(0.2),
            # PIL's blur, which the field uses, reaches about three sigma; an odd kernel of 0.1 side does too.
            v2.RandomApply([v2.GaussianBlur(size // 10 // 2 * 2 + 1, (0.1, 2.0))], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )


def evaluation_transform(mean: tuple[float, ...], std: tuple[float, ...], size: int = 224) -> Callable[[Any], Tensor]:
    """PIL image -> float32 ``C x size x size``: short side to 8/7 of the size, centre crop."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.Resize(size * 8 // 7),
            v2.CenterCrop(size),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )


def open_image(root: Path, relative: str) -> Any:
    """The image as RGB. Raises UserError for a file that is missing, unreadable or outside the root."""
    from PIL import Image

    path = root / relative
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{path}: leads out of {root} through a link; nothing outside the root is read")
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path}: no such image; is {root} the folder that the list's paths start from?") from None
    except UserError:
        raise
    except Exception as error:  # from arbitrary bytes a decoder raises anything: SyntaxError for a torn PNG
        raise UserError(f"{path}: not a readable image ({error}); mend it or take it off the list") from None


class _Views(Dataset):
    """Answers a Request with its views; an unreadable file is answered with the error itself, because a worker's
    exception would reach the user wrapped in its traceback."""

    def __init__(self, files: ImageFiles, transform: Callable[[Any], Tensor]) -> None:
        self._files = files
        self._transform = transform

    def __getitem__(self, request: Request) -> list[Tensor] | UserError:
        position, seeds = request
        try:
            image = open_image(self._files.root, self._files.paths[position])
        except UserError as error:
            return error
        if not seeds:
            return [self._transform(image)]
        views = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                views.append(self._transform(image))
        return views


def _stack(items: list[list[Tensor] | UserError]) -> list[Tensor] | UserError:
    views: list[list[Tensor]] = []
    for item in items:
        if isinstance(item, UserError):
            return item
        views.append(item)
    return [torch.stack(view) for view in zip(*views, strict=True)]


def _quiet_worker(_: int) -> None:
    # Ctrl-C reaches the whole process group; the main process decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _load(
    files: ImageFiles, transform: Callable[[Any], Tensor], requests: list[list[Request]], workers: int, pin: bool
) -> Iterator[list[Tensor]]:
    loader: DataLoader[Any] = DataLoader(
        _Views(files, transform),
        batch_sampler=requests,
        num_workers=workers,
        collate_fn=_stack,
        worker_init_fn=_quiet_worker,
        pin_memory=pin,
        generator=torch.Generator(),  # or the loader would seed its workers from torch's global one, and move it
    )
    for views in loader:
        if isinstance(views, UserError):
            raise views
        yield views


class DecodingStream:
    """Batches from image files; interchangeable with ``ArrayStream``.

    workers: decoding processes, 0 decodes in this one.  size: side of the crops in pixels.
    """

    def __init__(
        self,
        files: ImageFiles,
        num_classes: int,
        spec: StreamSpec,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device | str = "cpu",
        workers: int = 0,
        size: int = 224,
        transform: Callable[[Any], Tensor] | None = None,
    ) -> None:
        self._files = files
        self._labels = torch.as_tensor(files.labels)
        self._positions = StepPositions(files.labels, num_classes, spec)
        self._spec = spec
        self._transform = transform or train_transform(mean, std, size)
        self._device = torch.device(device)
        self._workers = workers

    @property
    def steps_per_epoch(self) -> int:
        return self._positions.steps_per_epoch

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        steps = list(self._positions.epoch(epoch, first_step))
        requests = [self._requests(epoch, step, original, rebalanced) for step, original, rebalanced in steps]
        loaded = _load(self._files, self._transform, requests, self._workers, self._device.type == "cuda")
        for (_, original, rebalanced), views in zip(steps, loaded, strict=True):
            rows, share = self._spec.shard.rows(len(original))
            size = len(original[rows])
            first = self._sample(original[rows], [view[:size] for view in views])
            if rebalanced is None:
                yield Batch(first, share=share)
            else:
                yield Batch(first, self._sample(rebalanced[rows], [view[size:] for view in views]), share)

    def _requests(self, epoch: int, step: int, original: np.ndarray, rebalanced: np.ndarray | None) -> list[Request]:
        def request(stream: str, place: int, position: int) -> Request:
            views = range(self._spec.views)
            seeds = tuple(derive_seed(self._spec.seed, "view", epoch, step, stream, place, view) for view in views)
            return position, seeds

        # Seeds by the place in the whole step, so that they do not depend on how processes divide it.
        rows, _ = self._spec.shard.rows(len(original))
        samples = {"original": original, "rebalanced": rebalanced}
        return [
            request(stream, place, position)
            for stream, positions in samples.items()
            if positions is not None
            for place, position in list(enumerate(positions.tolist()))[rows]
        ]

    def _sample(self, positions: np.ndarray, views: list[Tensor]) -> Sample:
        moved = tuple(
            view.to(self._device, non_blocking=True, memory_format=torch.channels_last).contiguous(
                memory_format=torch.channels_last
            )
            for view in views
        )
        return Sample(moved, to_device(self._labels[torch.from_numpy(positions)], self._device))


def file_batches(
    files: ImageFiles,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device | str = "cpu",
    workers: int = 0,
    size: int = 224,
    batch_size: int = 100,
) -> Iterator[Tensor]:
    """The files in order under the test-time transform, for evaluation."""
    positions = range(len(files.paths))
    requests: list[list[Request]] = [
        [(position, ()) for position in positions[start : start + batch_size]]
        for start in range(0, len(files.paths), batch_size)
    ]
    on_gpu = torch.device(device).type == "cuda"
    for (images,) in _load(files, evaluation_transform(mean, std, size), requests, workers, on_gpu):
        yield images.to(device, non_blocking=True, memory_format=torch.channels_last)
