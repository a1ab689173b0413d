"""Image files that are small and of one size are decoded once, into memory: training from them is many times faster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.sources import ImageArrays, ImageFiles, Source
from fsgl.data.readers.medmnist import statistics
from fsgl.errors import UserError

SMALL_SIDE = 64  # pixels; what networks of CIFAR's kind are meant for
MOST_BYTES = 3 * 2**29  # of pixels: Tiny ImageNet has 1.35 GB of them, CIFAR 0.18
_SAMPLED = 32  # images of each part that are looked at before all are decoded


def keep_small_images(source: Source, skip_bad: bool = False) -> Source:
    """The source with its images in memory, where all are of one size, ``SMALL_SIDE`` at most, and fit.

    Any other source comes back as it is: of images that are not small none is judged here. skip_bad: leave out, and
    count, images that cannot be read. Otherwise they raise BadImage.
    """
    parts = {"train": source.train, "val": source.val, "test": source.test}
    files = {part: images for part, images in parts.items() if isinstance(images, ImageFiles)}
    size = _common_size(list(files.values()))
    if size is None or 3 * size[0] * size[1] * sum(map(len, files.values())) > MOST_BYTES:
        return source
    bad: list[BadImage] = []
    arrays, groups = {}, dict(source.groups)
    for part, images in files.items():
        decoded = _decoded(images, size, bad if skip_bad else None)
        if decoded is None:
            return source
        arrays[part], kept = decoded
        if part in groups:
            groups[part] = tuple(groups[part][place] for place in kept)
    if not len(arrays["train"]):
        raise UserError(f"{source.name}: none of the training images can be read, the first {bad[0]}")
    notes = [*source.notes, f"{size[0]} x {size[1]} pixels, kept in memory"]
    if bad:
        notes.append(f"passed over: {len(bad):,} files that give no image, the first {bad[0]}")
    mean, std = statistics(arrays["train"].images)
    return replace(
        source,
        train=arrays["train"],
        val=arrays.get("val"),
        test=arrays.get("test"),
        mean=mean,
        std=std,
        notes=tuple(notes),
        groups=groups,
    )


def _common_size(parts: list[ImageFiles]) -> tuple[int, int] | None:
    """Width and height of the images, by a sample, unless they differ or are large. Unreadable ones say nothing."""
    sizes = set()
    for size in _sizes(parts):
        sizes.add(size)
        if len(sizes) > 1 or max(size) > SMALL_SIDE:
            return None
    return next(iter(sizes), None)


def _sizes(parts: list[ImageFiles]) -> Iterator[tuple[int, int]]:
    for images in parts:
        for place in np.unique(np.linspace(0, len(images) - 1, min(_SAMPLED, len(images)), dtype=int)).tolist():
            try:
                yield images.open(place).size
            except BadImage:
                continue


def _decoded(
    images: ImageFiles, size: tuple[int, int], bad: list[BadImage] | None
) -> tuple[ImageArrays, list[int]] | None:
    """The pixels and the places of those that were read, or None where an image is of another size. bad: takes those
    that are left out."""
    pixels = np.empty((len(images), size[1], size[0], 3), dtype=np.uint8)
    kept = []
    for place in range(len(images)):
        try:
            image = images.open(place)
        except BadImage as error:
            if bad is None:
                raise
            bad.append(error)
            continue
        if image.size != size:
            return None
        pixels[place] = np.asarray(image)
        kept.append(place)
    if len(kept) == len(images):
        return ImageArrays(pixels, images.labels), kept
    return ImageArrays(pixels[kept], images.labels[kept]), kept
