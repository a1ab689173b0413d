from __future__ import annotations

import sys

import pytest
import timm
import torch
import torch.nn.functional as F

from fsgl.errors import UserError
from fsgl.models.backbones import build_backbone, check_backbone
from fsgl.models.timm_backbones import ModelInput, TimmBackbone, knows, model_input, resized

# One of each family, small ones: convolutions, a transformer, a head before the classifier, windows, dense blocks.
FAMILIES = {
    "test_resnet": 96, "test_vit": 64, "mobilenetv3_small_050": 1024, "convnext_atto": 320, "efficientnet_lite0": 1280,
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_timm_model_is_a_backbone(name: str, channels: int) -> None:
    torch.manual_seed(0)
    net = build_backbone(f"timm:{name}", channels).eval()
    assert isinstance(net, TimmBackbone)
    assert (net.feature_dim, net.linear_init, net.training) == (FAMILIES[name], "default", False)
    images = torch.randn(2, channels, net.image_size, net.image_size)
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels).eval()
    with torch.no_grad():
        features = net(images)
        torch.testing.assert_close(features, theirs(images))
    assert features.shape == (2, FAMILIES[name])


def test_same_seed_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(4)
        states.append(build_backbone("timm:test_resnet").state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_images_of_another_size_are_resized_to_the_models() -> None:
    net = build_backbone("timm:test_resnet").eval()
    small, large = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 200, 200)
    with torch.no_grad():
        enlarged = F.interpolate(small, (160, 160), mode="bicubic", align_corners=False)
        torch.testing.assert_close(net(small), net.net(enlarged))
        reduced = F.interpolate(large, (160, 160), mode="bicubic", align_corners=False, antialias=True)
        torch.testing.assert_close(net(large), net.net(reduced))
    same = torch.rand(1, 3, 8, 8)
    assert resized(same, 8) is same
    torch.testing.assert_close(resized(torch.full((1, 3, 9, 5), 0.25), 7), torch.full((1, 3, 7, 7), 0.25))


def test_a_transformer_takes_another_size_where_it_is_told() -> None:
    net = build_backbone("timm:test_vit", 3, 96).eval()
    assert net.net.pos_embed.shape[1] == 1 + (96 // 16) ** 2
    assert net(torch.rand(1, 3, 32, 32)).shape == (1, 64)
    with pytest.raises(UserError, match=r"timm:test_vit cannot be a backbone for 97 x 97 images of 3 channels \(Input"):
        build_backbone("timm:test_vit", 3, 97)


def test_input_is_the_published_weights() -> None:
    assert model_input("timm:resnet18.a1_in1k") == ModelInput(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert model_input("timm:test_vit").mean == (0.5, 0.5, 0.5)
    assert model_input("timm:vit_small_patch14_dinov2").size == 518
    mean, std = ModelInput(8, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).statistics(1)
    assert mean == pytest.approx((0.2,))
    assert std == pytest.approx((0.5,))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnt18", "unknown backbone 'timm:resnt18'; did you mean 'timm:resnet18'"),
        ("timm:", "unknown backbone 'timm:'; "),
        ("timm:resnet18.a9", "unknown weights 'a9' of timm:resnet18; there are: timm:resnet18.a1_in1k, "),
        ("vit_tiny_patch16_224", "did you mean 'timm:vit_tiny_patch16_224'"),
        ("resnet35", "did you mean 'resnet"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        check_backbone(name)
    assert "\n" not in str(caught.value)


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'fsgl\[timm\]'"):
        check_backbone("timm:resnet18")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not knows("resnet18d")
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        check_backbone("resnet18d")
