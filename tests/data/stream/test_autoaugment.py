"""Every operation against torchvision's functional one on single images, and the draws against the policy's chances."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.functional import InterpolationMode

from fsgl.data.load import DataSpec, load_data
from fsgl.data.stream.autoaugment import GEOMETRIC, GREY, OPERATIONS, AutoAugmentCutout, apply, cutout
from fsgl.data.stream.streams import StreamSpec
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override

NAMES = [*OPERATIONS]
NEAREST = InterpolationMode.NEAREST


def images(count: int, channels: int = 3, side: int = 32) -> Tensor:
    """Smooth enough to have neighbours alike, with flat channels and full ranges among them."""
    random = torch.Generator().manual_seed(count)
    coarse = torch.randint(256, (count, channels, 8, 8), generator=random).float()
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear") + torch.randn(side, side) * 3
    fine[0, 0] = 77
    return fine.clamp(0, 255).to(torch.uint8)


def affine(image: Tensor, shear: tuple[float, float]) -> Tensor:
    degrees = [math.degrees(math.atan(value)) for value in shear]
    return F.affine(image, 0.0, [0, 0], 1.0, degrees, NEAREST, [float(GREY)], center=[0, 0])


def translate(image: Tensor, x: float, y: float) -> Tensor:
    return F.affine(image, 0.0, [int(x), int(y)], 1.0, [0.0, 0.0], NEAREST, [float(GREY)])


BITS = [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]
THEIRS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "ShearX": lambda image, m: affine(image, (0.3 * m / 9, 0.0)),
    "ShearY": lambda image, m: affine(image, (0.0, 0.3 * m / 9)),
    "TranslateX": lambda image, m: translate(image, 150 / 331 * 32 * m / 9, 0),
    "TranslateY": lambda image, m: translate(image, 0, 150 / 331 * 32 * m / 9),
    "Rotate": lambda image, m: F.rotate(image, 30 * m / 9, NEAREST, fill=[float(GREY)]),
    "Brightness": lambda image, m: F.adjust_brightness(image, 1 + 0.9 * m / 9),
    "Color": lambda image, m: F.adjust_saturation(image, 1 + 0.9 * m / 9),
    "Contrast": lambda image, m: F.adjust_contrast(image, 1 + 0.9 * m / 9),
    "Sharpness": lambda image, m: F.adjust_sharpness(image, 1 + 0.9 * m / 9),
    "Posterize": lambda image, m: F.posterize(image, BITS[m]),
    "Solarize": lambda image, m: F.solarize(image, 255 - 255 * m / 9),
    "AutoContrast": lambda image, m: F.autocontrast(image),
    "Equalize": lambda image, m: F.equalize(image),
    "Invert": lambda image, m: F.invert(image),
}
ONE_WAY = ("Posterize", "Solarize", "AutoContrast", "Equalize", "Invert")


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", NAMES)
def test_operation_is_torchvisions_on_each_image(name: str, channels: int) -> None:
    given = images(10, channels)
    sizes = torch.arange(10) if name in ONE_WAY else torch.tensor([-9, -7, -4, -1, 0, 1, 3, 5, 8, 9])
    found = apply(given, torch.full((10,), NAMES.index(name) + 1), sizes)
    for image, ours, size in zip(given, found, sizes.tolist(), strict=True):
        theirs = THEIRS[name](image, size)
        differing = (ours.int() - theirs.int()).abs()
        if name in GEOMETRIC:  # where a place is halfway between two pixels either may be taken
            assert (differing > 0).float().mean() < 0.01
        else:
            assert differing.max() <= 1  # a blend may be rounded the other way
            assert (differing > 0).float().mean() < 0.01


def test_each_image_has_its_own_and_none_is_left_alone() -> None:
    given = images(15)
    found = apply(given, torch.arange(15), torch.full((15,), 5))
    assert torch.equal(found[0], given[0])
    for number in range(1, 15):
        alone = apply(given[number : number + 1], torch.tensor([number]), torch.tensor([5]))
        assert torch.equal(found[number], alone[0])


def test_the_whole_batch_at_once_gives_the_same() -> None:
    """As a GPU has it."""
    given, operations = images(45), torch.arange(45) % 15
    sizes = torch.arange(45) % 10
    assert torch.equal(apply(given, operations, sizes, everywhere=True), apply(given, operations, sizes))


def test_a_stream_augments_every_view_anew_and_the_same_again_after_a_resumption() -> None:
    experiment = override(make_experiment("paco", "digits"), "data.small_augmentation=autoaugment-cutout")
    stream = load_data(experiment.data).stream(StreamSpec(32, 2, None, seed=0), "cpu")
    batches = [batch.original for batch in stream.batches(1)]
    again = next(iter(stream.batches(1, 2))).original
    assert all(torch.equal(one, other) for one, other in zip(batches[2].views, again.views, strict=True))
    assert not torch.equal(*batches[0].views)
    data = load_data(make_experiment("paco", "digits").data)
    plain = next(iter(data.stream(StreamSpec(32, 2, None, seed=0), "cpu").batches(1))).original
    assert torch.equal(plain.labels, batches[0].labels)
    assert torch.equal(plain.positions, batches[0].positions)
    assert torch.equal(plain.labels, torch.from_numpy(data.train.labels)[plain.positions])
    black = (torch.tensor(0.0) - torch.tensor(data.mean)) / torch.tensor(data.std)
    assert ((batches[0].views[0] - black).abs() < 1e-5).float().mean() > 0.2
    with pytest.raises(UserError, match="small images in memory"):
        DataSpec("imagenet-lt", train_list="a", test_list="b", small_augmentation="autoaugment-cutout")


def test_cutout_is_a_square_of_half_the_side_cut_off_at_the_border() -> None:
    white = torch.full((3, 1, 32, 32), 255, dtype=torch.uint8)
    cut = cutout(white, torch.tensor([[2**15, 2**15], [0, 0], [2**16 - 1, 2**15]])) == 0
    assert [int(hole.sum()) for hole in cut] == [16 * 16, 8 * 8, 9 * 16]
    assert cut[0, 0, 8:24, 8:24].all()
    assert cut[1, 0, :8, :8].all()


def test_draws_have_the_policys_chances() -> None:
    """Frequencies of every operation against the 25 pairs of torchvision, within four standard errors."""
    count = 40000
    draws = AutoAugmentCutout(4, True).draw(count, torch.Generator().manual_seed(0))
    assert draws.shape == (count, 9)
    assert draws.dtype == np.int64
    pairs = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    for slot in (0, 1):
        operation, size = draws[:, 3 + 2 * slot], draws[:, 4 + 2 * slot]
        for number, name in enumerate(NAMES, start=1):
            chance = sum(pair[slot][1] for pair in pairs if pair[slot][0] == name) / 25
            error = 4 * math.sqrt(chance * (1 - chance) / count)
            assert abs((operation == number).mean() - chance) <= error
            sizes = {abs(int(each)) for each in size[operation == number]}
            assert sizes == {pair[slot][2] or 0 for pair in pairs if pair[slot][0] == name and pair[slot][1]}
            if chance and name in ("Rotate", "Color"):
                moved = size[(operation == number) & (size != 0)]
                assert 0.45 < (moved > 0).mean() < 0.55
