"""Streams of batches from images that must be decoded: files (ImageNet-LT, iNaturalist, one's own) and prepared sets.

An image is decoded once for all its views, in worker processes, and travels as 8-bit pixels. On a CPU the workers make
whole views (views.py); for a GPU they cut the crops and the device does the rest of a batch at once. "classic" is
the torchvision pipeline (classic.py), the reference. Each view's random numbers come from a seed derived from
(epoch, step, stream, place in the batch), so they depend neither on the number of workers nor on where a run resumed.
"""

from __future__ import annotations

import atexit
import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fsgl.data.images.bad_images import BadImages
from fsgl.data.images.image_files import BadImage
from fsgl.data.images.pixels import photograph_view
from fsgl.data.images.signals import leave_signals_to_parent
from fsgl.data.stream.classic import train_transform
from fsgl.data.stream.streams import StepPositions, StreamSpec
from fsgl.data.stream.transfer import to_device
from fsgl.data.stream.transforms import normalise
from fsgl.data.stream.views import Draw, ViewSpec, cut, finish_on_device, view_of
from fsgl.errors import UserError, first_line, unknown
from fsgl.randomness import derive_seed
from fsgl.types import Batch, Sample

AUGMENTATIONS = ("fast", "classic")
# (position of the image, seeds of its views); no seeds: the test-time view.
Request = tuple[int, tuple[int, ...]]


class Decodable(Protocol):
    """Images that are opened one at a time."""

    @property
    def labels(self) -> np.ndarray: ...

    def pixels(self, position: int, at_least: int | None = None) -> np.ndarray:
        """RGB, uint8 ``H x W x 3``; at_least: pixels of the shorter side that are needed. Raises BadImage."""
        ...


@dataclass(frozen=True)
class Decoded:
    """What a worker made of the requests of one step.

    pixels: uint8 ``B x V x S x S x 3``, or classic's float32 ``B x V x 3 x S x S``.  draws: ``B x V x 11`` where the
    device finishes the views.  bad: (path, reason) of what could not be read.
    """

    pixels: Tensor
    draws: Tensor | None = None
    bad: list[tuple[str, str]] = field(default_factory=list)

    def pin_memory(self) -> Decoded:
        """For DataLoader."""
        draws = None if self.draws is None else self.draws.pin_memory()
        return Decoded(self.pixels.pin_memory(), draws, self.bad)


class _Views(Dataset[Any]):
    """Answers a Request with (views, draws, bad images). An error is answered, too: raised in a worker it would reach
    the user wrapped in the worker's traceback."""

    def __init__(
        self, images: Decodable, views: ViewSpec, kind: str, classic: Callable[[Any], Tensor] | None,
        whole: bool = False,
    ) -> None:  # fmt: skip
        self._images, self._views, self._kind, self._classic, self._whole = images, views, kind, classic, whole

    def __getitem__(self, request: Request) -> tuple[list[Any], list[Draw], list[BadImage]]:
        position, seeds = request
        if not seeds:
            from PIL import Image

            size = self._views.size
            try:
                pixels = self._images.pixels(position, 2 * size)
            except BadImage as error:
                return [np.zeros((size * (1 + self._whole), size, 3), np.uint8)], [], [error]
            return [photograph_view(Image.fromarray(pixels), size, self._whole)], [], []
        readable, bad = self._open_or_another(position)
        if readable is None:
            return [], [], bad
        if self._classic is not None:
            return [self._classically(readable, seed) for seed in seeds], [], bad
        height, width, _ = readable.shape
        draws = [self._views.draw(width, height, np.random.default_rng(seed)) for seed in seeds]
        make = view_of if self._kind == "whole" else cut
        return [make(readable, draw, self._views.size) for draw in draws], draws, bad

    def _open_or_another(self, position: int) -> tuple[np.ndarray | None, list[BadImage]]:
        """The image, or the next readable one of its class; and what could not be read on the way."""
        at_least = None if self._classic else self._views.enough
        try:
            return self._images.pixels(position, at_least), []
        except BadImage as error:
            bad = [error]
        labels = self._images.labels
        of_class = np.flatnonzero(labels == labels[position])
        place = int(np.searchsorted(of_class, position))
        for other in np.roll(of_class, -place)[1:].tolist():
            try:
                return self._images.pixels(other, at_least), bad
            except BadImage as error:
                bad.append(error)
        return None, bad

    def _classically(self, pixels: np.ndarray, seed: int) -> Tensor:
        from PIL.Image import fromarray

        assert self._classic is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._classic(fromarray(pixels))


def _collate(answers: list[tuple[list[Any], list[Draw], list[BadImage]]]) -> Decoded | str:
    bad = [(error.path, error.reason) for _, _, errors in answers for error in errors]
    if not all(views for views, _, _ in answers):
        return f"{bad[-1][0]}: {bad[-1][1]}, and so is every other image of its class"
    # Joined by NumPy, also for tensors (classic's): it copies a reversed or read-only view without complaint.
    pixels = torch.from_numpy(np.stack([np.asarray(view) for views, _, _ in answers for view in views]))
    pixels = pixels.unflatten(0, (len(answers), -1))
    draws = [draws for _, draws, _ in answers]
    return Decoded(pixels, torch.tensor(draws, dtype=torch.float32) if draws[0] else None, bad)


def _quiet_worker(_: int) -> None:
    leave_signals_to_parent()
    torch.set_num_threads(1)


@contextlib.contextmanager
def _as_many_as_asked() -> Iterator[None]:
    """Within: torch does not warn of more workers than cores, which is how it is on a machine with one core."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


class _Requests:
    """The batch sampler of a DataLoader whose workers outlive an epoch: what it yields is set anew for each."""

    def __init__(self) -> None:
        self.steps: Iterable[list[Request]] = ()

    def __iter__(self) -> Iterator[list[Request]]:
        return iter(self.steps)


class _Loader:
    """Decodes lists of requests in ``workers`` processes, which start once; 0 is this process."""

    def __init__(self, views: _Views, workers: int, pin: bool, bad: BadImages) -> None:
        self._requests, self._bad = _Requests(), bad
        with _as_many_as_asked():
            self._loader: DataLoader[Any] = DataLoader(
                views,
                batch_sampler=self._requests,
                num_workers=workers,
                persistent_workers=workers > 0,
                collate_fn=_collate,
                worker_init_fn=_quiet_worker,
                pin_memory=pin,
                generator=torch.Generator(),  # or it would seed its workers from torch's global one, and move it
            )
        if workers:
            atexit.register(_end_workers, weakref.ref(self._loader))

    def load(self, steps: Iterable[list[Request]]) -> Iterator[Decoded]:
        self._requests.steps = steps
        try:
            with _as_many_as_asked():
                batches = iter(self._loader)
            for decoded in batches:
                if isinstance(decoded, str):
                    raise UserError(decoded)
                self._bad.note(decoded.bad)
                yield decoded
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            reason = first_line(error)
            raise UserError(f"a decoding process died ({reason}); fewer --workers need less memory") from None


def _end_workers(loader: weakref.ref[DataLoader[Any]]) -> None:
    """Before multiprocessing kills them at the interpreter's end, which torch would report as an accident."""
    alive = loader()
    if alive is not None and (iterator := alive._iterator) is not None:
        # Itself, and not by dropping it: an epoch that was not finished holds on to it.
        iterator._shutdown_workers()  # type: ignore[attr-defined]
        alive._iterator = None


class DecodingStream:
    """Batches from images that are decoded; interchangeable with ``ArrayStream``.

    workers: decoding processes, 0 decodes in this one.  views: size and distributions of the augmentation.
    augmentation: "fast" or "classic".  on_device: where "fast" finishes the views; None is on GPUs only.
    bad: notes what cannot be read.
    """

    def __init__(
        self,
        images: Decodable,
        num_classes: int,
        spec: StreamSpec,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device | str = "cpu",
        workers: int = 0,
        views: ViewSpec | None = None,
        augmentation: str = "fast",
        on_device: bool | None = None,
        bad: BadImages | None = None,
    ) -> None:
        if augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", augmentation, AUGMENTATIONS)
        self._device = torch.device(device)
        self._labels = torch.as_tensor(images.labels)
        self._positions = StepPositions(images.labels, num_classes, spec)
        self._spec = spec
        self._mean, self._std = mean, std
        views = views or ViewSpec()
        self._on_device = augmentation == "fast" and (self._device.type == "cuda" if on_device is None else on_device)
        classic = train_transform(mean, std, views.size) if augmentation == "classic" else None
        answers = _Views(images, views, "crops" if self._on_device else "whole", classic)
        self._loader = _Loader(answers, workers, self._device.type == "cuda", bad or BadImages("error"))

    @property
    def steps_per_epoch(self) -> int:
        return self._positions.steps_per_epoch

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        decoded = self.decoded(epoch, first_step)
        # Twice the same walk, as the loader's runs ahead: positions are cheap, an epoch's list of requests is not.
        for _, original, rebalanced in self._positions.epoch(epoch, first_step):
            views = self._finished(next(decoded))
            rows, share = self._spec.shard.rows(len(original))
            size = len(original[rows])
            first = self._sample(original[rows], [view[:size] for view in views])
            if rebalanced is None:
                yield Batch(first, share=share)
            else:
                yield Batch(first, self._sample(rebalanced[rows], [view[size:] for view in views]), share)
        for _ in decoded:  # none is left; but the loader ends its epoch only when asked once more
            raise AssertionError("more batches than steps")

    def decoded(self, epoch: int, first_step: int = 0) -> Iterator[Decoded]:
        """What the decoding processes make of each step; ``batches`` is this, finished."""
        return self._loader.load(self._requests(epoch, *step) for step in self._positions.epoch(epoch, first_step))

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

    def _finished(self, decoded: Decoded) -> list[Tensor]:
        """The views ``B x 3 x S x S``, float32, channels-last, on the device."""
        pixels = to_device(decoded.pixels, self._device)
        if pixels.dtype != torch.uint8:  # classic: normalised already
            return [view.contiguous(memory_format=torch.channels_last) for view in pixels.unbind(dim=1)]
        if not self._on_device:
            return [normalise(view, self._mean, self._std, self._device) for view in pixels.unbind(dim=1)]
        assert decoded.draws is not None
        draws = to_device(decoded.draws, self._device)
        views = (finish_on_device(*each) for each in zip(pixels.unbind(dim=1), draws.unbind(dim=1), strict=True))
        return [normalise(view, self._mean, self._std, self._device) for view in views]

    def _sample(self, positions: np.ndarray, views: list[Tensor]) -> Sample:
        which = torch.from_numpy(positions)
        return Sample(tuple(views), to_device(self._labels[which], self._device), to_device(which, self._device))


def decoded_batches(
    images: Decodable,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device | str = "cpu",
    workers: int = 0,
    size: int = 224,
    batch_size: int = 100,
    bad: BadImages | None = None,
    whole: bool = False,
) -> Iterator[Tensor]:
    """The images in order under the test-time transform, for evaluation; an unreadable one is black.

    whole: as of ``photograph_view``.
    """
    count, on_gpu = len(images.labels), torch.device(device).type == "cuda"
    every: list[Request] = [(position, ()) for position in range(count)]
    steps = (every[start : start + batch_size] for start in range(0, count, batch_size))
    answers = _Views(images, ViewSpec(size), "whole", None, whole)
    for decoded in _Loader(answers, workers, on_gpu, bad or BadImages("error")).load(steps):
        yield normalise(to_device(decoded.pixels[:, 0], torch.device(device)), mean, std, device)
