from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from fsgl.data.stream.views import ORDERS, Draw, ViewSpec, blurred, cut, finish_on_device, gaussian_taps, view_of

WHOLE = Draw(0, 0, 60, 80, 1.0, 1.0, 1.0, 0, 0, 0.0, 0)


def photograph(width: int = 80, height: int = 60, seed: int = 0) -> Image.Image:
    """Smooth shapes with some noise, and neither black nor white."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(60, 190, (5, 7, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((pixels + random.integers(-8, 9, pixels.shape)).clip(0, 255).astype(np.uint8))


def classically(image: Image.Image, draw: Draw, size: int) -> np.ndarray:
    """The same draw by torchvision, an operation at a time on PIL images."""
    made = TF.resized_crop(image, draw.top, draw.left, draw.height, draw.width, [size, size])
    operations = {
        "brightness": lambda x: TF.adjust_brightness(x, draw.brightness),
        "contrast": lambda x: TF.adjust_contrast(x, draw.contrast),
        "saturation": lambda x: TF.adjust_saturation(x, draw.saturation),
    }
    for name in ORDERS[draw.order]:
        made = operations[name](made)
    if draw.grey:
        made = TF.rgb_to_grayscale(made, 3)
    if draw.sigma:
        made = TF.gaussian_blur(made, [23, 23], [draw.sigma] * 2)
    return np.asarray(TF.horizontal_flip(made) if draw.flip else made)


def draws(count: int, seed: int = 0, spec: ViewSpec | None = None) -> list[Draw]:
    random = np.random.default_rng(seed)
    return [(spec or ViewSpec()).draw(80, 60, random) for _ in range(count)]


# Pillow cuts fractions off after each of the three blends, half a level each time; we round once.
def test_a_view_is_torchvisions_to_its_roundings_where_nothing_is_clipped() -> None:
    """docs/decoding.md states these bounds, in levels of 255."""
    gentle = ViewSpec(size=32, jitter=0.15)
    image = photograph()
    differences = np.stack(
        [view_of(np.asarray(image), d, 32).astype(int) - classically(image, d, 32) for d in draws(300, spec=gentle)]
    )
    assert np.abs(differences).max() <= 5
    assert 1.3 < differences.mean() < 1.7
    assert np.abs(differences - 1.5).mean() < 0.75


def test_with_the_fields_jitter_clipping_once_changes_few_pixels() -> None:
    image = photograph()
    differences = np.stack(
        [np.abs(view_of(np.asarray(image), d, 32).astype(int) - classically(image, d, 32)) for d in draws(400, seed=1)]
    )
    assert np.quantile(differences, 0.99) <= 3
    assert np.quantile(differences, 0.999) <= 8
    assert differences.mean() < 1.7


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("grey", [0, 1])
def test_every_order_of_the_colours(order: int, grey: int) -> None:
    draw = WHOLE._replace(brightness=1.1, contrast=0.8, saturation=1.3, order=order, grey=grey)
    image = photograph(seed=3)
    assert np.abs(view_of(np.asarray(image), draw, 60).astype(int) - classically(image, draw, 60)).max() <= 4
    other = WHOLE._replace(brightness=1.1, contrast=0.8, saturation=1.3, order=(order + 1) % 6, grey=1 - grey)
    assert np.abs(view_of(np.asarray(image), other, 60).astype(int) - classically(image, draw, 60)).max() > 4


def test_nothing_drawn_is_the_image_itself() -> None:
    image = photograph(60, 60)
    np.testing.assert_array_equal(view_of(np.asarray(image), WHOLE._replace(width=60), 60), np.asarray(image))
    flipped = view_of(np.asarray(image), WHOLE._replace(width=60, flip=1), 60)
    np.testing.assert_array_equal(flipped, np.asarray(image)[:, ::-1])


def test_finishing_a_batch_is_finishing_each() -> None:
    image, drawn = photograph(), draws(200, seed=2)
    single = np.stack([view_of(np.asarray(image), draw, 32) for draw in drawn])
    crops = torch.from_numpy(np.stack([cut(np.asarray(image), draw, 32) for draw in drawn]))
    batch = finish_on_device(crops, torch.tensor(drawn, dtype=torch.float32))
    assert batch.shape == (200, 32, 32, 3)
    assert np.abs(batch.numpy() - single).max() < 2.5  # a rounding at each of colours and both directions of a blur
    assert np.abs(batch.numpy() - single).mean() < 0.5


# ---------------------------------------------------------------- distributions


def parameters(count: int, width: int, height: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    spec = ViewSpec()
    return {
        name: np.array(column)
        for name, column in zip(
            Draw._fields, zip(*(spec.draw(width, height, random) for _ in range(count)), strict=True), strict=True
        )
    }


@pytest.mark.parametrize(("width", "height"), [(500, 375), (40, 300), (7, 5)])
def test_crops_are_distributed_as_torchvisions(width: int, height: int) -> None:
    ours = parameters(3000, width, height)
    theirs = v2.RandomResizedCrop(224)
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    found = [theirs.make_params([image]) for _ in range(3000)]
    for name in ("top", "left", "height", "width"):
        assert ks_2samp(ours[name], [each[name] for each in found]).pvalue > 1e-4, name
    area = ours["height"] * ours["width"]
    assert ks_2samp(area, [each["height"] * each["width"] for each in found]).pvalue > 1e-4
    assert (ours["top"] + ours["height"]).max() <= height
    assert (ours["left"] + ours["width"]).max() <= width


def test_colours_blur_and_flip_are_distributed_as_torchvisions() -> None:
    ours = parameters(4000, 100, 80)
    torch.manual_seed(0)
    jitter, blur = v2.ColorJitter(0.4, 0.4, 0.4), v2.GaussianBlur(23, (0.1, 2.0))
    theirs = [jitter.make_params([]) for _ in range(4000)]
    for name in ("brightness", "contrast", "saturation"):
        factors = [float(each[f"{name}_factor"]) for each in theirs]
        assert ks_2samp(ours[name], factors).pvalue > 1e-4, name
    sigmas = [float(blur.make_params([])["sigma"][0]) for _ in range(4000)]
    assert ks_2samp(ours["sigma"][ours["sigma"] > 0], sigmas).pvalue > 1e-4
    np.testing.assert_allclose(np.bincount(ours["order"], minlength=6) / 4000, 1 / 6, atol=0.03)
    for name, share in {"grey": 0.2, "flip": 0.5}.items():
        assert abs(ours[name].mean() - share) < 0.035
    assert abs((ours["sigma"] > 0).mean() - 0.5) < 0.035


def test_a_strip_is_cropped_in_its_middle() -> None:
    draw = ViewSpec().draw(3000, 10, np.random.default_rng(0))
    assert (draw.height, draw.width, draw.top) == (10, 13, 0)
    assert draw.left == (3000 - 13) // 2


def test_enough_pixels_for_the_smallest_crop() -> None:
    spec, random = ViewSpec(64), np.random.default_rng(0)
    side = spec.enough
    crops = [spec.draw(side, side, random) for _ in range(3000)]
    assert min(min(crop.height, crop.width) for crop in crops) >= 63
    assert min(min(crop.height, crop.width) for crop in crops) < 80


# ---------------------------------------------------------------- blur


@given(st.floats(0.05, 2.0))
def test_taps_add_up_and_fall(sigma: float) -> None:
    taps = gaussian_taps(sigma)
    assert taps[0] + 2 * taps[1:].sum() == 256
    assert (taps > 0).all()
    assert (np.diff(taps[1:]) <= 0).all()
    assert len(taps) == 1 or taps[0] >= taps[1] - len(taps)  # the middle takes what rounding leaves
    assert len(taps) <= 1 + max(1, math.ceil(3 * sigma))


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.7, 1.2, 2.0])
def test_blur_is_a_gaussian_to_a_rounding(sigma: float) -> None:
    pixels = np.asarray(photograph(70, 50))
    exact = TF.gaussian_blur(torch.from_numpy(pixels.copy()).permute(2, 0, 1).double(), [23, 23], [sigma, sigma])
    assert np.abs(blurred(pixels, sigma) - exact.permute(1, 2, 0).numpy()).max() < 1.6


def test_a_flat_image_stays_flat_and_a_small_one_is_left_alone() -> None:
    flat = np.full((20, 30, 3), 255, dtype=np.uint8)
    np.testing.assert_array_equal(blurred(flat, 1.7), flat)
    small = np.random.default_rng(0).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    np.testing.assert_array_equal(blurred(small, 2.0), small)
