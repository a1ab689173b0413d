"""What an exported file is compared on: the run's test images as files, some stored as cameras and scanners store.

A file that answers as the network does on upright 8-bit squares may still go wrong on what people have: so a few of the
images are stored again rotated (by their EXIF tag), wide, in 16 bits and transparent.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from PIL.Image import Exif, Image, Transpose, fromarray

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.sources import ImageFiles, Images
from fsgl.data.load import LoadedData, load_data
from fsgl.data.stream.features import ImageFeatures
from fsgl.deploy.predict import ImageFile
from fsgl.errors import UserError
from fsgl.runs.saved import TrainedModel

COMPARED = 100  # images, and four of them stored in another way
WAYS = ("rotated", "wide", "16 bits", "transparent")


def sample_files(
    trained: TrainedModel, folder: Path, data: LoadedData | None = None
) -> tuple[list[ImageFile], str, str | None]:
    """Files to compare on, the odd ones at the end; what they are of, and why they are of no test images.

    folder: what has to be written is written there.  data: the run's, where they are in memory; None reads them.
    """
    odd = f" ({', '.join(WAYS)} among them)"
    try:
        files, some = _test_images((data or load_data(trained.experiment.data)).test, folder)
        return files + _odd_ones(trained, some, folder), "test images" + odd, None
    except UserError as error:
        problem = str(error)
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (*trained.input_size, 3), dtype=np.uint8) for _ in range(COMPARED)]
    images = [fromarray(pixels) for pixels in noise]
    files = [_saved(image, folder, f"{i}.png") for i, image in enumerate(images)]
    return files + _odd_ones(trained, images[: len(WAYS)], folder), "images of noise" + odd, problem


def _test_images(test: Images | ImageFeatures, folder: Path) -> tuple[list[ImageFile], list[Image]]:
    """Up to COMPARED of them as files, and the first few as images. Raises UserError where none can be read."""
    assert not isinstance(test, ImageFeatures)  # which nothing reads from a disk
    chosen = test.take(np.unique(np.linspace(0, len(test) - 1, min(COMPARED, len(test)), dtype=int)))
    files: list[ImageFile] = []
    some: list[Image] = []
    for position in range(len(chosen)):
        with contextlib.suppress(BadImage):
            image = chosen.open(position)
            if isinstance(chosen, ImageFiles):
                files.append(ImageFile(chosen.root, chosen.paths[position], chosen.location(position)))
            else:
                files.append(_saved(image, folder, f"{position}.png"))
            if len(some) < len(WAYS):
                some.append(image)
    if not files:
        raise UserError("none of them can be read")
    return files, some


def _saved(image: Image, folder: Path, name: str) -> ImageFile:
    image.save(folder / name)
    return ImageFile(folder, name, name)


def _odd_ones(trained: TrainedModel, images: list[Image], folder: Path) -> list[ImageFile]:
    """One file of each of WAYS."""
    turned, wide, deep, clear = (images[i % len(images)] for i in range(len(WAYS)))
    exif = Exif()
    exif[0x0112] = 6  # the camera lay on its side
    turned.transpose(Transpose.ROTATE_90).save(folder / "rotated.jpg", exif=exif, quality=95)
    wide = wide.resize((3 * wide.width, wide.height))
    wide.save(folder / "wide.png")
    grey = np.asarray(deep.convert("L"), dtype=np.float32) / 255
    scale = trained.scale
    if scale is None:
        name = _deep_png(grey * 65535, folder)
    elif scale.black == 0 and 255 <= scale.white <= 65535:
        name = _deep_png(grey * scale.white, folder)
    else:
        name = "deep.tif"
        fromarray((scale.black + grey * (scale.white - scale.black)).astype(np.float32)).save(folder / name)
    clear = clear.convert("RGBA")
    alpha = np.linspace(0, 255, clear.width * clear.height).reshape(clear.height, clear.width).astype(np.uint8)
    clear.putalpha(fromarray(alpha))
    clear.save(folder / "transparent.png")
    return [ImageFile(folder, file, file) for file in ("rotated.jpg", "wide.png", name, "transparent.png")]


def _deep_png(values: np.ndarray, folder: Path) -> str:
    fromarray(np.rint(values).astype(np.uint16)).save(folder / "deep.png")
    return "deep.png"
