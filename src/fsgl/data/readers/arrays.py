"""Images and labels from Python, arrays or a torch Dataset: converted where there is one reading, or else refused.

    images   N x H x W (grey), N x H x W x C or N x C x H x W, C = 1 or 3; a list of such images; of one size
             8-bit; other whole numbers from 0 to 255; fractions from 0 to 1 or from 0 to 255; booleans
    labels   N whole numbers, names or booleans

Whatever was converted is said in a note. ``save_arrays`` keeps the images in an .npz of MedMNIST's layout with one more
member, ``fsgl``, a JSON text: what the labels were, the classes' names, and the value that is white.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.data.images.sources import ImageArrays, Source
from fsgl.data.readers.listing import describe
from fsgl.data.readers.medmnist import statistics
from fsgl.errors import UserError
from fsgl.files import write_atomically

KEPT = "arrays.npz"  # in a run folder
MOST_BYTES = 2**32  # of a Dataset's images, which are read into memory
_NAMES = {"train": "training", "val": "validation", "test": "test", "new": "new"}
_KINDS = "none of: arrays (images, labels), a torch Dataset, a path, the name of a data set"


def read_arrays(train: Any, val: Any = None, test: Any = None, class_names: Sequence[str] | None = None) -> Source:
    """The source that these parts make; its ``notes`` say what was converted, its ``given`` what the labels were.

    train, val, test: (images, labels), or a torch Dataset of such pairs; None for no val or test.  class_names: of the
    labels in ascending order; None takes the Dataset's ``classes``, or the labels themselves.
    Raises UserError, a sentence, for what cannot be understood.
    """
    images, labels, notes, white = {}, {}, list[str](), None
    for part, given in {"train": train, "val": val, "test": test}.items():
        if given is None and part != "train":
            continue
        x, y, names = _pair(given, _NAMES[part])
        class_names = class_names or names
        images[part], white, said = as_pixels(x, _NAMES[part], white)
        labels[part], more = label_values(y, len(images[part]), _NAMES[part])
        notes += [*said, *more]
    shapes = {part: found.shape[1:] for part, found in images.items()}
    for part, shape in shapes.items():
        if shape != shapes["train"]:
            raise UserError(f"the {_NAMES[part]} images are {_by(shape)}, the training images {_by(shapes['train'])}")
    classes = np.unique(labels["train"])
    if len(classes) < 2:
        raise UserError(f"all training images are of one class, {classes[0]}; two are needed at least")
    names, names_in_full = _class_names(classes, class_names)
    found = {
        part: ImageArrays(images[part], class_indices(labels[part], classes, _NAMES[part])) for part in images
    }  # fmt: skip
    mean, std = statistics(found["train"].images)
    sizes = {part: len(each) for part, each in found.items()}
    about = {"classes": classes.tolist(), "names": list(names), "white": white}
    return Source(
        "arrays", found["train"], found.get("test"), names, mean, std, val=found.get("val"),
        found=describe(f"arrays of {_by(shapes['train'])}", len(names), sizes),
        notes=tuple(dict.fromkeys(notes + names_in_full)), given=about,
    )  # fmt: skip


def labelled_images(given: Any, what: str, white: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels as of ``as_pixels`` and labels as of ``label_values``, of arrays or a Dataset. Raises UserError."""
    images, labels, _ = _pair(given, what)
    pixels, _, _ = as_pixels(images, what, white)
    return pixels, label_values(labels, len(pixels), what)[0]


def as_pixels(images: Any, what: str = "new", white: float | None = None) -> tuple[np.ndarray, float | None, list[str]]:
    """Images as uint8 ``N x H x W x C``, the value that was taken for white, and what was converted.

    what: which images, for messages.  white: 1 or 255, as of the training images where these are more of the same; None
    finds out, and stays None of 8-bit images, of which there is no doubt.
    Raises UserError.
    """
    array, notes = _image_array(images, what), []
    if array.ndim == 4:
        last, first = array.shape[3] in (1, 3), array.shape[1] in (1, 3)
        if last and first:
            raise UserError(
                f"the {what} images are of shape {_shape(array)}, which may be channels first or last; give them in a "
                "size by which it can be told"
            )
        if first:
            array = np.moveaxis(array, 1, 3)
            notes.append(f"{what} images taken as N x C x H x W, channels first")
        elif not last:
            hint = "; leave the fourth channel out: images[..., :3]" if array.shape[3] == 4 else ""
            raise UserError(
                f"the {what} images are of shape {_shape(array)}; wanted are 1 or 3 channels, N x H x W x C{hint}"
            )
    elif array.ndim == 3 and array.shape[2] in (1, 3):
        raise UserError(f"the {what} images are of shape {_shape(array)}, a single image; give images[None]")
    elif array.ndim == 3:
        array = array[..., None]
        notes.append(f"{what} images taken as N x H x W, grey")
    else:
        raise UserError(f"the {what} images are of shape {_shape(array)}; wanted is N x H x W, or that with channels")
    array, white, said = _levels(array, what, white)
    return np.ascontiguousarray(array), white, notes + said


def label_values(labels: Any, count: int, what: str) -> tuple[np.ndarray, list[str]]:
    """Labels as a vector of whole numbers, booleans or names, and what was converted. Raises UserError."""
    notes: list[str] = []
    if isinstance(labels, (list, tuple)):
        kinds = {str if isinstance(each, str) else type(each) for each in labels}
        if str in kinds and len(kinds) > 1:
            raise UserError(f"the {what} labels are of several kinds: {', '.join(sorted(k.__name__ for k in kinds))}")
    try:
        array = _numpy(labels)
    except ValueError:
        raise UserError(f"the {what} labels are lists of several lengths; wanted is one label an image") from None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
        notes.append(f"{what} labels taken from their one column")
    if array.ndim != 1:
        hint = "; of one-hot rows give labels.argmax(1)" if array.ndim == 2 else ""
        raise UserError(f"the {what} labels are of shape {_shape(array)}; wanted is a label for each image{hint}")
    if len(array) != count:
        raise UserError(f"there are {count:,} {what} images and {len(array):,} labels; wanted is a label for each")
    if array.dtype.kind == "O":
        kinds = {type(each) for each in array.tolist()}
        if len(kinds) > 1 or not kinds <= {str, int, bool}:
            odd = next((each for each in array.tolist() if type(each) not in (str, int, bool)), array[0])
            several = "of several kinds, or " if len(kinds) > 1 else ""
            raise UserError(f"the {what} labels are {several}no whole numbers or names, such as {odd!r:.60}")
        array = np.array(array.tolist())
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise UserError(f"label {int(np.argmin(np.isfinite(array)))} of the {what} images is not a number (NaN)")
        if (array != np.rint(array)).any():
            raise UserError(
                f"Unknown label type: the {what} labels are fractions such as {array[array != np.rint(array)][0]:g}; "
                "classes are whole numbers or names"
            )
        array = array.astype(np.int64)
        notes.append(f"{what} labels taken as whole numbers")
    if array.dtype.kind not in "biuU":
        raise UserError(f"the {what} labels are {array.dtype}; wanted are whole numbers or names")
    if array.dtype.kind == "U" and (array == "").any():
        raise UserError(f"label {int(np.argmax(array == ''))} of the {what} images is an empty name")
    return array, notes


def class_indices(labels: np.ndarray, classes: np.ndarray, what: str) -> np.ndarray:
    """``N`` int64, the place of each label among the ascending classes. Raises UserError for one that is not there."""
    if (labels.dtype.kind == "U") != (classes.dtype.kind == "U"):
        raise UserError(f"the {what} labels are {labels.dtype}, those trained with {classes.dtype}")
    place = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    strange = np.flatnonzero(classes[place] != labels)
    if strange.size:
        raise UserError(f"the {what} label {labels[strange[0]]!s} is no class of the training images")
    return place.astype(np.int64)


def save_arrays(source: Source, path: Path) -> None:
    """Keep a source that ``read_arrays`` made; ``read_medmnist`` reads it again."""
    parts = {"train": source.train, "val": source.val, "test": source.test}
    members: dict[str, np.ndarray] = {"fsgl": np.array(json.dumps(source.given))}
    for part, images in parts.items():
        if isinstance(images, ImageArrays):
            members |= {f"{part}_images": images.images, f"{part}_labels": images.labels}
    np.savez(buffer := io.BytesIO(), **members)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def _pair(given: Any, what: str) -> tuple[Any, Any, Sequence[str] | None]:
    """Images, labels, and the names of the classes where a Dataset has them."""
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return given[0], given[1], None
    if isinstance(given, (tuple, list, Mapping)) or hasattr(given, "__array__"):
        raise UserError(f"the {what} data are {_KINDS}; arrays come as a pair (images, labels)")
    if hasattr(given, "__getitem__"):
        return _read_dataset(given, what)
    if hasattr(given, "dataset") and hasattr(given, "batch_size"):
        raise UserError(f"the {what} data are a DataLoader; give its Dataset, loader.dataset")
    if hasattr(given, "__iter__"):
        raise UserError(f"the {what} Dataset has no length; give one with __len__ and __getitem__, or arrays")
    raise UserError(f"the {what} data are of type {type(given).__name__}, {_KINDS}")


def _read_dataset(dataset: Any, what: str) -> tuple[Any, Any, Sequence[str] | None]:
    try:
        count = len(dataset)
    except (TypeError, NotImplementedError):
        raise UserError(f"the {what} Dataset has no length; give it a __len__, or give arrays") from None
    if not count:
        raise UserError(f"there are no {what} images: the Dataset is empty")
    images: list[np.ndarray] = []
    labels: list[Any] = []
    for place in range(count):
        item = dataset[place]
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise UserError(f"the {what} Dataset gives {type(item).__name__}; wanted are pairs (image, label)")
        image, label = _image_array(item[0], what), _numpy(item[1])
        if images and image.shape != images[0].shape:
            raise UserError(
                f"the {what} Dataset gives images of several sizes ({_shape(images[0])}, {_shape(image)}); resize them "
                "in its transform, or give the path of a folder of images"
            )
        if not images and image.nbytes * count > MOST_BYTES:
            size = image.nbytes * count / 2**30
            raise UserError(f"the {what} Dataset holds {size:.0f} GiB; give the path of the files")
        if label.ndim:
            raise UserError(f"the {what} Dataset gives labels of shape {_shape(label)}; wanted is one class an image")
        images.append(image)
        labels.append(label.item())
    names = getattr(dataset, "classes", None)
    numbers = all(isinstance(label, int) for label in labels)
    if isinstance(names, (list, tuple)) and numbers and 0 <= min(labels) <= max(labels) < len(names):
        return np.stack(images), labels, [str(names[label]) for label in sorted(set(labels))]
    return np.stack(images), labels, None


def _image_array(images: Any, what: str) -> np.ndarray:
    if isinstance(images, (list, tuple)):
        images = [_numpy(image) for image in images]
        shapes = sorted({image.shape for image in images})
        if len(shapes) > 1:
            raise UserError(
                f"the {what} images are of several sizes ({shapes[0]}, {shapes[1]}); resize them, or give the path of "
                "a folder of images"
            )
        images = np.stack(images) if images else np.empty(0)
    array = _numpy(images)
    if array.dtype.kind not in "buif":
        raise UserError(f"the {what} images are {array.dtype}; wanted are numbers")
    if array.size == 0:
        raise UserError(f"there are no {what} images: their shape is {_shape(array)}")
    return array


def _numpy(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):  # a tensor, recognised without importing torch
        values = values.detach().cpu().numpy()
    elif hasattr(values, "convert") and hasattr(values, "mode"):  # a PIL image, of a palette or with transparency
        values = values if values.mode in ("L", "RGB") else values.convert("RGB")
    return np.asarray(values)


def _levels(array: np.ndarray, what: str, white: float | None) -> tuple[np.ndarray, float | None, list[str]]:
    """Levels from 0 to 255 as uint8, whatever the numbers were."""
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        dark = array.max() <= 1
        return array, white, [f"{what} images are 8-bit and 0 or 1: nearly black, as 255 is white"] if dark else []
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255), 1.0, [f"{what} images: booleans taken as black and white"]
    if kind == "f" and not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise UserError(f"image {first} of the {what} images holds NaN or infinite values")
    low, high = float(array.min()), float(array.max())
    if white is None:
        white = 1.0 if high <= 1 else 255.0
    if low < 0:
        raise UserError(
            f"the {what} images reach from {low:g} to {high:g}, as after a normalisation; give them from 0 to 1 or "
            "from 0 to 255 (fsgl normalises them itself)"
        )
    if high > white:
        hint = "" if high <= 255 else "; of 16-bit images give images // 257" if high <= 65535 and kind != "f" else ""
        raise UserError(f"the {what} images reach to {high:g}, but white is {white:g}{hint}")
    if white == 1:
        levels = np.rint(array * np.float64(255)) if kind == "f" else array * 255
        said = f"{what} images taken as 0 (black) to 1 (white)"
    else:
        levels = np.rint(array) if kind == "f" else array
        said = f"{what} images, up to {high:g}, taken as levels of which 255 is white"
    return levels.astype(np.uint8), white, [said]


def _class_names(classes: np.ndarray, given: Sequence[str] | None) -> tuple[tuple[str, ...], list[str]]:
    own = [str(value).encode("utf-8", "replace").decode() for value in classes.tolist()]
    if given is None:
        if len(set(own)) < len(own):
            raise UserError("two of the labels are written alike")
        return tuple(own), []
    names = [str(name) for name in given]
    if len(names) != len(own) or len(set(names)) < len(names):
        raise UserError(f"class_names are {len(names)} ({len(set(names))} different ones), the classes {len(own)}")
    if names == own:
        return tuple(names), []
    return tuple(names), [f"classes named: {own[0]} is {names[0]}, ..., {own[-1]} is {names[-1]}"]


def _by(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width} x {height} pixels, {'grey' if channels == 1 else 'RGB'}"


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "()"
