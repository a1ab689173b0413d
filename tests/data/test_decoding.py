from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from fsgl.data.decoding import (
    DecodingStream,
    evaluation_transform,
    file_batches,
    open_image,
    train_transform,
)
from fsgl.data.sources import ImageFiles
from fsgl.data.streams import ArrayStream, Stream, StreamSpec
from fsgl.data.transforms import CropFlip
from fsgl.engine.step import Update, training_step
from fsgl.errors import UserError
from fsgl.losses.class_weights import power_class_weights
from fsgl.methods import Glmc
from fsgl.models.assemble import FourHeadNet
from fsgl.models.feature_scaling import FeatureScaling
from fsgl.models.heads import FourHeads
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.types import Batch

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
COUNT, SIDE, CLASSES = 11, 12, 3
LABELS = np.array([0] * 6 + [1] * 3 + [2] * 2)
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
SPEC = StreamSpec(batch_size=4, views=2, q=0.5, seed=5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ImageFiles:
    root = tmp_path_factory.mktemp("images")
    paths = tuple(f"class {label}/{i}.png" for i, label in enumerate(LABELS.tolist()))
    for path, pixels in zip(paths, IMAGES, strict=True):
        (root / path).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / path)
    return ImageFiles(root, paths, LABELS)


def flatten(batches: list[Batch]) -> list[torch.Tensor]:
    samples = [sample for batch in batches for sample in (batch.original, batch.rebalanced) if sample is not None]
    return [tensor for sample in samples for tensor in (*sample.views, sample.labels)]


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(flatten(first), flatten(second), strict=True):
        assert torch.equal(one, other)


def plain(image: Any) -> torch.Tensor:
    return Compose([ToTensor(), Normalize(MEAN, STD)])(image)


def weights_after_two_steps(stream: Stream) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    counts = np.bincount(LABELS).tolist()
    weights = power_class_weights(counts, 1.2).float()
    net = FourHeadNet(backbone, FeatureScaling(counts, 0.5), FourHeads(4, CLASSES, 3), weights)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    update = Update(net, Glmc(), optimizer, make_ascent(net, SamSpec(0.05)))
    for step, batch in zip(range(2), stream.batches(0), strict=False):
        draws = torch.Generator().manual_seed(step)
        training_step(update, Glmc(), batch, CLASSES, 0.3, draws)
    return net.state_dict()


def test_two_steps_train_alike_through_both_streams(files: ImageFiles) -> None:
    arrays = ArrayStream(IMAGES, LABELS, CLASSES, SPEC, CropFlip(padding=0, flip=False), MEAN, STD)
    decoding = DecodingStream(files, CLASSES, SPEC, MEAN, STD, transform=plain)
    assert arrays.steps_per_epoch == decoding.steps_per_epoch
    first, second = weights_after_two_steps(arrays), weights_after_two_steps(decoding)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_both_streams_pick_the_same_images_and_lay_them_out_alike(files: ImageFiles) -> None:
    arrays = ArrayStream(IMAGES, LABELS, CLASSES, SPEC, CropFlip(padding=0, flip=False), MEAN, STD)
    decoding = DecodingStream(files, CLASSES, SPEC, MEAN, STD, transform=plain)
    for one, other in zip(flatten(list(arrays.batches(3, 1))), flatten(list(decoding.batches(3, 1))), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert one.stride() == other.stride()


def test_workers_resuming_and_global_generators_change_nothing(files: ImageFiles) -> None:
    here = list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, size=16).batches(1))
    assert len(here) == 3
    assert not torch.equal(here[0].original.views[0], here[0].original.views[1])
    torch.manual_seed(99)
    random.seed(99)
    before = torch.get_rng_state()
    resumed = list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, size=16).batches(1, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(resumed, here[1:])
    assert_same(list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, workers=2, size=16).batches(1)), here)
    other_epoch = list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, size=16).batches(2))
    assert not torch.equal(other_epoch[0].original.views[0], here[0].original.views[0])


def test_an_image_drawn_twice_in_a_batch_is_augmented_twice(tmp_path: Path) -> None:
    Image.fromarray(IMAGES[0]).save(tmp_path / "only.png")
    single = ImageFiles(tmp_path, ("only.png",) * 4, np.zeros(4, dtype=np.int64))
    (batch,) = DecodingStream(single, 1, StreamSpec(4, 2, 0.0, 0), MEAN, STD, size=16).batches(0)
    assert batch.rebalanced is not None
    views = [image for sample in (batch.original, batch.rebalanced) for view in sample.views for image in view]
    assert len({view.numpy().tobytes() for view in views}) == len(views) == 16


def test_every_step_of_every_epoch_has_its_own_views(tmp_path: Path) -> None:
    Image.fromarray(IMAGES[0]).save(tmp_path / "only.png")
    copies = ImageFiles(tmp_path, ("only.png",) * 4, np.zeros(4, dtype=np.int64))
    stream = DecodingStream(copies, 1, StreamSpec(2, 1, None, 0), MEAN, STD, size=16)
    views = [view for epoch in range(2) for batch in stream.batches(epoch) for view in batch.original.views[0]]
    assert len({view.numpy().tobytes() for view in views}) == len(views) == 8


def test_one_stream_only(files: ImageFiles) -> None:
    spec = StreamSpec(4, 1, None, 5)
    batches = list(DecodingStream(files, CLASSES, spec, MEAN, STD, transform=plain).batches(0))
    assert [len(batch.original.labels) for batch in batches] == [4, 4, 3]
    assert all(batch.rebalanced is None and len(batch.original.views) == 1 for batch in batches)


def test_training_transform_gives_augmented_normalised_views() -> None:
    image = Image.new("RGB", (60, 40), (128, 64, 32))
    torch.manual_seed(0)
    views = torch.stack([train_transform(MEAN, STD, 32)(image) for _ in range(60)])
    assert views.shape == (60, 3, 32, 32)
    assert views.dtype == torch.float32
    grey = (views * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]).std(dim=1).amax(dim=(1, 2))
    assert 3 <= int((grey < 1e-3).sum()) <= 25  # one in five loses its colour


@pytest.mark.parametrize(("width", "height"), [(300, 240), (256, 400), (100, 90)])
def test_evaluation_transform_is_the_fields(width: int, height: int) -> None:
    """Resize 256, centre crop 224, ToTensor, Normalize: PIL's own, as torchvision composes them."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    theirs = Compose([Resize(256), CenterCrop(224), ToTensor(), Normalize(MEAN, STD)])
    torch.testing.assert_close(evaluation_transform(MEAN, STD)(image), theirs(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_batches_are_all_files_in_order(files: ImageFiles, workers: int) -> None:
    batches = list(file_batches(files, MEAN, STD, workers=workers, size=16, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    transform = evaluation_transform(MEAN, STD, 16)
    expected = torch.stack([transform(Image.fromarray(pixels)) for pixels in IMAGES])
    assert torch.equal(torch.cat(batches), expected)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "CMYK", "I;16", "1", "LA"):
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (3, 2)).save(tmp_path / f"x.{suffix}")
        image = open_image(tmp_path, f"x.{suffix}")
        assert (image.mode, image.size) == ("RGB", (3, 2))


# ---------------------------------------------------------------- files that are none


def broken_chunk(content: bytes) -> bytes:
    second = content.find(b"IDAT", content.find(b"IDAT") + 4)
    assert second > 0
    return content[:second] + b"\0\1\2\3" + content[second + 4 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"not an image",
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:3000] + bytes(200) + content[3200:],
    "broken chunk": broken_chunk,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_image_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "folder" / "bad.png"
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (150, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(UserError, match=r"folder/bad\.png: not a readable image") as caught:
        open_image(tmp_path, "folder/bad.png")
    assert "\n" not in str(caught.value)


def test_missing_image_folder_and_endless_link_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png: no such image"):
        open_image(tmp_path, "gone.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png: not a readable image"):
        open_image(tmp_path, "folder.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(UserError, match=r"loop\.png"):
        open_image(tmp_path, "loop.png")


@pytest.mark.parametrize("way", ["file", "folder", "dots"])
def test_nothing_outside_the_root_is_read(tmp_path: Path, way: str) -> None:
    root, outside = tmp_path / "images", tmp_path / "images-of-others"
    root.mkdir()
    outside.mkdir()
    Image.fromarray(IMAGES[0]).save(outside / "secret.png")
    if way == "file":
        (root / "x.png").symlink_to(outside / "secret.png")
    elif way == "folder":
        (root / "there").symlink_to(outside)
    relative = {"file": "x.png", "folder": "there/secret.png", "dots": "../images-of-others/secret.png"}[way]
    with pytest.raises(UserError, match="outside the root"):
        open_image(root, relative)


def test_links_within_the_root_and_a_root_that_is_a_link_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    Image.fromarray(IMAGES[0]).save(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "b.png").symlink_to("a.png")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "root", "b.png")), IMAGES[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_stream_reports_a_bad_image_as_the_users_mistake(tmp_path: Path, workers: int) -> None:
    Image.fromarray(IMAGES[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    files = ImageFiles(tmp_path, ("good.png", "good.png", "bad.png"), np.zeros(3, dtype=np.int64))
    stream = DecodingStream(files, 1, StreamSpec(3, 2, 0.0, 0), MEAN, STD, workers=workers, size=16)
    with pytest.raises(UserError, match=r"bad\.png: not a readable image"):
        list(stream.batches(0))
    with pytest.raises(UserError, match=r"bad\.png"):
        list(file_batches(files, MEAN, STD, workers=workers, size=16))
    assert "Traceback" not in str(sys.exc_info())
