"""A trained network asked about images: which files are meant, what it is shown of them, what it says."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fsgl.data.images.image_files import BadImage, open_in_set
from fsgl.data.images.leftovers import leftover
from fsgl.data.images.pixels import view
from fsgl.data.images.white_level import decide_scale
from fsgl.data.readers.names import normal
from fsgl.data.readers.paths import shorten
from fsgl.data.readers.walk import Walk, say_unread, some_of
from fsgl.data.stream.transforms import normalise
from fsgl.engine.predict import predict_logits
from fsgl.errors import UserError
from fsgl.runs.saved import TrainedModel

BATCH = 64
PRIORS = ("uniform", "training")


@dataclass(frozen=True)
class ImageFile:
    """A file that was asked about.

    root: nothing outside it is read.  relative: within the root.  shown: as named.  follow: links may lead out.
    """

    root: Path
    relative: str
    shown: str
    follow: bool = False


def find_images(names: Sequence[str], follow: bool = False) -> tuple[list[ImageFile], list[str]]:
    """The files that these names mean: files, folders (all images within), or patterns such as 'new/**/*.jpg'.

    In the order given, each folder and pattern sorted, every file once; and what was passed over, in sentences. What
    systems leave (``leftover``) is passed over in folders, by patterns, and among several names, which a shell may have
    found; a name that stands alone is meant. follow: links that lead out of a folder, too.
    Raises UserError for a name that means no image.
    """
    found: dict[str, ImageFile] = {}
    notes, left = [], Counter[str]()
    for name in names:
        path = Path(name).expanduser()
        if len(names) > 1 and leftover(path.name):
            left[path.name] += 1
            continue
        if path.is_dir():
            some, said = _images_in(path, follow)
            notes += said
            if not some:
                raise UserError(f"{name}: no image in this folder" + "".join(f"; {note}" for note in said))
        elif path.exists() or not glob.has_magic(name):
            some = [_alone(path)]  # where it is absent the reader says so
        else:
            some = []
            for match in sorted(glob.glob(str(path), recursive=True)):
                met = [step for step in Path(match).parts if step not in path.parts and leftover(step)]
                left.update(met[:1])
                if not met and os.path.isfile(match):
                    some.append(_alone(Path(match)))
            if not some:
                raise UserError(f"{name}: no file matches")
        found |= {file.shown: file for file in some if file.shown not in found}
    if not found:
        raise UserError(f"{some_of(names)}: what systems and programs leave beside pictures, and no picture")
    if left:
        told = some_of(f"'{shorten(name)}' {count:,}" for name, count in sorted(left.items()))
        notes.append(f"passed over, as systems and programs leave it: {told}")
    return list(found.values()), notes


def _images_in(folder: Path, follow: bool) -> tuple[list[ImageFile], list[str]]:
    """The images that training would find, and the links out of the folder, of which the reader says what is wrong."""
    walk = Walk(folder, follow)
    links = [link for link in walk.links if link not in walk.folder_links]
    some = sorted([*walk.paths(), *links], key=lambda path: path.split("/"))
    notes = []
    if passed := walk.notes():
        notes.append(f"{folder}: passed over: {', '.join(passed)}")
    if unread := sum(walk.unread.values(), Counter[str]()):
        notes.append(f"{folder}: cannot be read here: {say_unread(unread)}")
    if walk.folder_links:
        named = some_of(f"'{shorten(link)}'" for link in sorted(walk.folder_links))
        why = "they lead round, or to nothing" if follow else "--follow-links takes them"
        notes.append(f"{folder}: links to folders left aside: {named} ({why})")
    return [ImageFile(folder, inner, str(folder / inner), follow) for inner in some], notes


def _alone(path: Path) -> ImageFile:
    """A file that was named itself, and may be a link to anywhere."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        target = path.absolute()
    return ImageFile(target.parent, target.name, str(path))


def scaled_for(trained: TrainedModel, files: Sequence[ImageFile]) -> tuple[TrainedModel, tuple[str, ...]]:
    """The network with a scale for images of more than 8 bits, and what people should know of it.

    That of the run; where it was trained on none, one for all the files that are asked about.
    """
    if trained.scale is not None:
        return trained, ()
    scale, notes = decide_scale([file.root / file.relative for file in files], name="the images asked about")
    return replace(trained, scale=scale), notes


def predict_views(trained: TrainedModel, views: Sequence[np.ndarray], device: torch.device | str = "cpu") -> np.ndarray:
    """Logits ``N x K`` float32 of what ``data.images.pixels.view`` makes of images."""
    images = normalise(np.stack(views), trained.mean, trained.std, device)
    experiment = trained.experiment
    return predict_logits(trained.model, experiment.method, [images], experiment.evaluation.mirror, trained.image_size)


def predict_files(
    trained: TrainedModel, files: Sequence[ImageFile], device: torch.device | str = "cpu", workers: int = 2
) -> Iterator[tuple[ImageFile, np.ndarray | BadImage]]:
    """Logits ``K`` of each file in order, or why it gives none. workers: decoding threads."""

    def load(file: ImageFile) -> np.ndarray | BadImage:
        try:
            image = open_in_set(file.root, file.relative, trained.shape.enough, trained.scale, file.follow)
            return view(image, trained.shape)
        except BadImage as error:
            return BadImage(file.shown, error.reason)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for start in range(0, len(files), BATCH):
            group = files[start : start + BATCH]
            loaded = list(pool.map(load, group))
            views = [each for each in loaded if not isinstance(each, BadImage)]
            logits = iter(predict_views(trained, views, device) if views else ())
            for file, each in zip(group, loaded, strict=True):
                yield file, each if isinstance(each, BadImage) else next(logits)


def read_prior(trained: TrainedModel, prior: str) -> np.ndarray:
    """Class weights ``K``: "uniform", "training", or a CSV file of class name and weight (every class, weights >= 0).

    Raises UserError.
    """
    if prior == "uniform":
        return np.ones(len(trained.class_names))
    if prior == "training":
        return np.maximum(trained.class_counts, 1).astype(np.float64)
    import csv

    path, weights = Path(prior), dict.fromkeys(trained.class_names, float("nan"))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise UserError(f"--prior {prior}: neither {' nor '.join(PRIORS)}, and no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    for number, cells in enumerate(lines, start=1):
        if not cells:
            continue
        try:
            weight = float(cells[1])
            if not 0 <= weight < float("inf") or any(cells[2:]):  # "cat,1,5" may be one and a half
                raise ValueError
        except (IndexError, ValueError):
            if number == 1:
                continue  # a heading
            raise UserError(f"{path}, line {number}: expected 'class,weight', a weight of 0 or more") from None
        # As it is written, spaces and all, or else without what an editor adds around it.
        names = (cells[0], normal(cells[0]), normal(cells[0].strip()))
        name = next((name for name in names if name in weights), None)
        if name is None:
            raise UserError(f"{path}, line {number}: '{shorten(cells[0])}' is no class of this run")
        if weights[name] == weights[name]:
            raise UserError(f"{path}, line {number}: the class '{shorten(name)}' has a weight before")
        weights[name] = weight
    missing = [name for name, weight in weights.items() if weight != weight]
    if missing:
        raise UserError(f"{path}: no weight for the class '{missing[0]}'")
    if not any(weights.values()):
        raise UserError(f"{path}: all weights are 0")
    return np.array(list(weights.values()))
