from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from fsgl.data.images.bad_images import BadImages
from fsgl.data.images.sources import ImageFiles
from fsgl.data.stream.classic import train_transform
from fsgl.data.stream.decoding import DecodingStream, decoded_batches
from fsgl.data.stream.streams import ArrayStream, Stream, StreamSpec
from fsgl.data.stream.transforms import CropFlip
from fsgl.data.stream.views import ViewSpec
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
SMALL = ViewSpec(16)
PLAIN = ViewSpec(SIDE, scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=0.0, grey=0.0, blur=0.0, flip=0.0)  # the image itself


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
    decoding = DecodingStream(files, CLASSES, SPEC, MEAN, STD, views=PLAIN)
    assert arrays.steps_per_epoch == decoding.steps_per_epoch
    first, second = weights_after_two_steps(arrays), weights_after_two_steps(decoding)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_both_streams_pick_the_same_images_and_lay_them_out_alike(files: ImageFiles) -> None:
    arrays = ArrayStream(IMAGES, LABELS, CLASSES, SPEC, CropFlip(padding=0, flip=False), MEAN, STD)
    decoding = DecodingStream(files, CLASSES, SPEC, MEAN, STD, views=PLAIN)
    for one, other in zip(flatten(list(arrays.batches(3, 1))), flatten(list(decoding.batches(3, 1))), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert one.stride() == other.stride()


def test_workers_resuming_and_global_generators_change_nothing(files: ImageFiles) -> None:
    here = list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, views=SMALL).batches(1))
    assert len(here) == 3
    assert not torch.equal(here[0].original.views[0], here[0].original.views[1])
    torch.manual_seed(99)
    random.seed(99)
    before = torch.get_rng_state()
    resumed = list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, views=SMALL).batches(1, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(resumed, here[1:])
    assert_same(list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, workers=2, views=SMALL).batches(1)), here)
    other_epoch = list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, views=SMALL).batches(2))
    assert not torch.equal(other_epoch[0].original.views[0], here[0].original.views[0])


def test_an_image_drawn_twice_in_a_batch_is_augmented_twice(tmp_path: Path) -> None:
    Image.fromarray(IMAGES[0]).save(tmp_path / "only.png")
    single = ImageFiles(tmp_path, ("only.png",) * 4, np.zeros(4, dtype=np.int64))
    (batch,) = DecodingStream(single, 1, StreamSpec(4, 2, 0.0, 0), MEAN, STD, views=SMALL).batches(0)
    assert batch.rebalanced is not None
    views = [image for sample in (batch.original, batch.rebalanced) for view in sample.views for image in view]
    assert len({view.numpy().tobytes() for view in views}) == len(views) == 16


def test_every_step_of_every_epoch_has_its_own_views(tmp_path: Path) -> None:
    Image.fromarray(IMAGES[0]).save(tmp_path / "only.png")
    copies = ImageFiles(tmp_path, ("only.png",) * 4, np.zeros(4, dtype=np.int64))
    stream = DecodingStream(copies, 1, StreamSpec(2, 1, None, 0), MEAN, STD, views=SMALL)
    views = [view for epoch in range(2) for batch in stream.batches(epoch) for view in batch.original.views[0]]
    assert len({view.numpy().tobytes() for view in views}) == len(views) == 8


def test_one_stream_only(files: ImageFiles) -> None:
    spec = StreamSpec(4, 1, None, 5)
    batches = list(DecodingStream(files, CLASSES, spec, MEAN, STD, views=PLAIN).batches(0))
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


@pytest.mark.parametrize(("width", "height"), [(300, 240), (256, 400), (100, 90), (31, 1000), (1, 1)])
def test_evaluation_views_are_the_fields(tmp_path: Path, width: int, height: int) -> None:
    """Resize 256, centre crop 224, ToTensor, Normalize: PIL's own, as torchvision composes them."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    theirs = Compose([Resize(256), CenterCrop(224), ToTensor(), Normalize(MEAN, STD)])
    (views,) = decoded_batches(ImageFiles(tmp_path, ("a.png",), LABELS[:1]), MEAN, STD)
    torch.testing.assert_close(views[0], theirs(Image.fromarray(pixels)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_batches_are_all_files_in_order(
    files: ImageFiles, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._utils.cpu_count", lambda: 1)  # nor does torch warn there of two workers
    batches = list(decoded_batches(files, MEAN, STD, workers=workers, size=16, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    transform = Compose([Resize(18), CenterCrop(16), ToTensor(), Normalize(MEAN, STD)])
    expected = torch.stack([transform(Image.fromarray(pixels)) for pixels in IMAGES])
    torch.testing.assert_close(torch.cat(batches), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def with_bad(tmp_path: Path) -> ImageFiles:
    """Two classes of three images; one of each cannot be read."""
    for i, pixels in enumerate(IMAGES[:6]):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"nothing")
    (tmp_path / "5.png").write_bytes(b"")
    return ImageFiles(tmp_path, tuple(f"{i}.png" for i in range(6)), np.array([0, 0, 0, 1, 1, 1]))


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_may_end_the_run(with_bad: ImageFiles, workers: int) -> None:
    stream = DecodingStream(with_bad, 2, StreamSpec(6, 2, 0.0, 0), MEAN, STD, workers=workers, views=SMALL)
    with pytest.raises(UserError, match=r"(1\.png: not an image|5\.png: empty).*--bad-images skip") as caught:
        list(stream.batches(0))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"1\.png"):
        list(decoded_batches(with_bad, MEAN, STD, workers=workers, size=16))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("augmentation", ["fast", "classic"])
def test_another_image_of_the_class_takes_a_bad_ones_place(
    with_bad: ImageFiles, workers: int, augmentation: str
) -> None:
    bad = BadImages("skip")
    spec = StreamSpec(6, 1, None, 0)
    whole = ViewSpec(SIDE, scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=0.0, grey=0.0, blur=0.0, flip=0.0)
    stream = DecodingStream(
        with_bad, 2, spec, MEAN, STD, workers=workers, views=whole, augmentation=augmentation, bad=bad
    )
    (batch,) = stream.batches(0)
    assert bad.reasons.keys() == {with_bad.location(1), with_bad.location(5)}
    assert bad.reasons[with_bad.location(5)] == "empty"
    if augmentation == "fast":
        pixels = (batch.original.views[0].permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)) * 255
        shown = [int(np.abs(IMAGES[:6] - image.numpy()).sum(axis=(1, 2, 3)).argmin()) for image in pixels]
        assert sorted(shown) == [0, 2, 2, 3, 3, 4]  # the next of its class, and after the last the first
        assert [shown_one >= 3 for shown_one in shown] == (batch.original.labels == 1).tolist()


def test_a_class_without_a_readable_image_ends_the_run(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"nothing")
    files = ImageFiles(tmp_path, ("0.png", "1.png", "2.png"), np.zeros(3, dtype=np.int64))
    stream = DecodingStream(files, 1, StreamSpec(3, 2, 0.0, 0), MEAN, STD, views=SMALL, bad=BadImages("skip"))
    with pytest.raises(UserError, match="so is every other image of its class"):
        list(stream.batches(0))


def test_a_bad_image_is_black_in_evaluation_and_noted(with_bad: ImageFiles) -> None:
    bad = BadImages("skip")
    (views,) = decoded_batches(with_bad, (0.0,) * 3, (1.0,) * 3, size=16, bad=bad)
    assert [not view.any() for view in views] == [False, True, False, False, False, True]
    assert sorted(bad.reasons) == [with_bad.location(1), with_bad.location(5)]


def test_workers_start_once(files: ImageFiles) -> None:
    others = {process.pid for process in multiprocessing.active_children()}  # of other tests, and may end meanwhile
    stream = DecodingStream(files, CLASSES, SPEC, MEAN, STD, workers=1, views=SMALL)
    list(stream.batches(0))
    before = {process.pid for process in multiprocessing.active_children()} - others
    assert len(before) == 1
    first = next(stream.batches(1))  # left in the middle
    assert_same([first], [next(DecodingStream(files, CLASSES, SPEC, MEAN, STD, views=SMALL).batches(1))])
    assert_same(list(stream.batches(2)), list(DecodingStream(files, CLASSES, SPEC, MEAN, STD, views=SMALL).batches(2)))
    assert before <= {process.pid for process in multiprocessing.active_children()}


def test_a_killed_worker_is_one_line(files: ImageFiles) -> None:
    stream = DecodingStream(files, CLASSES, SPEC, MEAN, STD, workers=1, views=SMALL)
    known = set(multiprocessing.active_children())
    batches = stream.batches(0)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - known
    worker.kill()
    worker.join()
    with pytest.raises(UserError, match="a decoding process died"):
        all(list(stream.batches(epoch)) for epoch in range(1, 50))


def test_on_the_device_and_in_workers_the_views_are_the_same(tmp_path: Path) -> None:
    smooth = Image.fromarray(IMAGES[0]).resize((60, 50), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.png")
    files = ImageFiles(tmp_path, ("a.png",) * 30, np.zeros(30, dtype=np.int64))
    spec = StreamSpec(30, 2, None, 0)
    pair = [
        DecodingStream(files, 1, spec, (0.0,) * 3, (1 / 255,) * 3, views=ViewSpec(32), on_device=on_device)
        for on_device in (False, True)
    ]
    for fused, batched in zip(*(stream.batches(0) for stream in pair), strict=True):
        for one, other in zip(fused.original.views, batched.original.views, strict=True):
            assert one.stride() == other.stride()
            assert (one - other).abs().max() < 2.5  # of 255: two roundings
            assert (one - other).abs().mean() < 0.5


def test_workers_end_quietly_with_the_interpreter(files: ImageFiles) -> None:
    program = f"""
import numpy as np
from pathlib import Path
from fsgl.data.stream.decoding import DecodingStream
from fsgl.data.images.sources import ImageFiles
from fsgl.data.stream.streams import StreamSpec
from fsgl.data.stream.views import ViewSpec
files = ImageFiles(Path({str(files.root)!r}), {files.paths!r}, np.array({LABELS.tolist()!r}))
stream = DecodingStream(files, 3, StreamSpec(4, 1, None, 0), (0.5,) * 3, (0.5,) * 3, workers=1, views=ViewSpec(16))
batches = stream.batches(0)
next(batches)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=400)
    assert (done.returncode, done.stderr) == (0, "")
