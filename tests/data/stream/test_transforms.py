from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms.v2.functional as reference
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import Normalize, ToTensor, v2

from fsgl.data.stream import transforms
from fsgl.data.stream.transforms import CropFlip, normalise
from fsgl.randomness import generator

SIDE = 8
IMAGES = np.random.default_rng(0).integers(1, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


def reference_cut(image: np.ndarray, padding: int, top: int, left: int, flipped: int) -> np.ndarray:
    height, width = image.shape[:2]
    tensor = reference.pad(torch.from_numpy(image).permute(2, 0, 1), [padding])
    tensor = reference.crop(tensor, top, left, height, width)
    return (reference.horizontal_flip(tensor) if flipped else tensor).permute(1, 2, 0).numpy()


def all_cuts(image: np.ndarray, padding: int = 4) -> dict[bytes, int]:
    """Every crop and flip that torchvision's RandomCrop(padding) and RandomHorizontalFlip can give, numbered."""
    places = [(top, left, flip) for top in range(2 * padding + 1) for left in range(2 * padding + 1) for flip in (0, 1)]
    return {reference_cut(image, padding, *place).tobytes(): number for number, place in enumerate(places)}


@given(st.integers(0, 5), st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9))
def test_cutting_is_torchvisions_functional_crop(padding: int, seed: int, height: int, width: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (4, height, width, 1), dtype=np.uint8)
    transform, positions = CropFlip(padding), np.array([3, 0, 0])
    draws = transform.draw(3, generator(seed))
    crops = transform.cut(transform.windows(images), positions, draws)
    for crop, position, draw in zip(crops, positions, draws.tolist(), strict=True):
        np.testing.assert_array_equal(crop, reference_cut(images[position], padding, *draw))


def test_crops_and_flips_are_uniform_over_all_that_torchvision_can_give() -> None:
    transform, cuts = CropFlip(padding=4, flip=True), all_cuts(IMAGES[1])
    assert len(cuts) == 81 * 2
    count = 162 * 40
    crops = transform.cut(transform.windows(IMAGES), np.full(count, 1), transform.draw(count, generator(1)))
    ours = np.bincount([cuts[crop.tobytes()] for crop in crops], minlength=162)
    assert scipy.stats.chisquare(ours).pvalue > 0.01

    theirs = v2.Compose([v2.RandomCrop(SIDE, padding=4), v2.RandomHorizontalFlip()])
    image = torch.from_numpy(IMAGES[1]).permute(2, 0, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [cuts[theirs(image).permute(1, 2, 0).numpy().tobytes()] for _ in range(1000)]
    table = np.stack([ours, np.bincount(drawn, minlength=162)])
    assert scipy.stats.chi2_contingency(table).pvalue > 0.01


def test_each_image_has_its_own_crop_and_flip() -> None:
    draws = CropFlip().draw(4000, generator(2))
    pairs = draws.reshape(2000, 6)
    for column in range(3):  # an image's draw says nothing of its neighbour's, nor of its own other numbers
        for other in (3, 4, 5, (column + 1) % 3):
            table = np.zeros((9, 9))
            np.add.at(table, (pairs[:, column], pairs[:, other]), 1)
            table = table[table.any(axis=1)][:, table.any(axis=0)]
            assert scipy.stats.chi2_contingency(table).pvalue > 0.001


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_draws_stay_inside_and_without_flip_none_is_flipped(padding: int) -> None:
    draws = CropFlip(padding, flip=False).draw(500, generator(3))
    assert draws.shape == (500, 3)
    assert draws[:, :2].min() == 0
    assert draws[:, :2].max() == 2 * padding
    assert not draws[:, 2].any()
    assert CropFlip(padding, flip=True).draw(500, generator(3))[:, 2].any()


def test_no_padding_and_no_flip_is_the_identity() -> None:
    transform, positions = CropFlip(padding=0, flip=False), np.array([2, 0, 1, 0])
    crops = transform.cut(transform.windows(IMAGES), positions, transform.draw(4, generator(0)))
    np.testing.assert_array_equal(crops, IMAGES[positions])


def test_padding_is_zero_on_every_side() -> None:
    padded = CropFlip(padding=2).pad(IMAGES)
    assert padded.shape == (3, SIDE + 4, SIDE + 4, 3)
    assert padded.dtype == np.uint8
    assert padded.sum() == IMAGES.sum()
    np.testing.assert_array_equal(padded[:, 2:-2, 2:-2], IMAGES)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_is_torchvisions_to_tensor_and_normalize(channels: int) -> None:
    images = np.arange(256, dtype=np.uint8).repeat(channels * 3).reshape(3, 16, 16, channels).copy()
    mean, std = (0.4914, 0.4822, 0.4465)[:channels], (0.2471, 0.2435, 0.2616)[:channels]
    theirs = v2.Compose([ToTensor(), Normalize(mean, std)])
    found = normalise(images, mean, std)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.stack([theirs(image) for image in images]), rtol=0, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_normalise_in_float64_by_loops() -> None:
    mean, std = (0.5, 0.25, 0.125), (0.2, 0.3, 0.7)
    found = normalise(IMAGES, mean, std, dtype=torch.float64)
    for i, c, h, w in np.ndindex(3, 3, SIDE, SIDE):
        expected = (int(IMAGES[i, h, w, c]) / 255 - mean[c]) / std[c]
        assert found[i, c, h, w].item() == pytest.approx(expected, rel=1e-13, abs=1e-13)


def test_normalise_leaves_the_images_alone() -> None:
    before = IMAGES.copy()
    normalise(IMAGES, (0.5,) * 3, (0.5,) * 3)
    np.testing.assert_array_equal(IMAGES, before)


@given(st.integers(0, 3), st.booleans(), st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_gathering_is_cutting(padding: int, flip: bool, seed: int, height: int, width: int, small: bool) -> None:
    """What a GPU does is what a CPU does, bit for bit, whether or not there is memory for mirror images."""
    images = np.random.default_rng(seed).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    transform, positions = CropFlip(padding, flip), np.array([4, 0, 0, 2])
    padded, draws = transform.pad(images), transform.draw(4, generator(seed))
    gathered = transform.gather(torch.from_numpy(padded), torch.from_numpy(positions), torch.from_numpy(draws))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "MIRRORED_BYTES", 0 if small else 2**20)
        windows = transform.windows(images)
    assert windows.shape[1] == (2 if flip and not small else 1)
    np.testing.assert_array_equal(gathered.numpy(), transform.cut(windows, positions, draws))


def test_normalise_takes_tensors_and_what_an_evaluation_leaves_serves_training() -> None:
    with torch.inference_mode():
        first = normalise(IMAGES, (0.4,) * 3, (0.3,) * 3)
    second = normalise(torch.from_numpy(IMAGES), (0.4,) * 3, (0.3,) * 3)
    assert torch.equal(first, second)
    weight = torch.ones(3, 1, 1, requires_grad=True)
    (second * weight).sum().backward()
    assert not second.is_inference()
