from __future__ import annotations

import pickle
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fsgl.errors import UserError
from fsgl.models.backbones import build_backbone
from fsgl.models.weights import digest, load_weights, read_tensors

RESNET = "timm:test_resnet"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files as timm publishes them, classifier and all, of random weights."""
    folder, paths = tmp_path_factory.mktemp("published"), {}
    torch.manual_seed(1)
    for name in ("test_resnet", "test_vit"):
        paths[f"timm:{name}"] = folder / f"{name}.safetensors"
        model = timm.create_model(name, pretrained=False)
        for module in model.modules():  # statistics that a fresh BatchNorm would not have
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
        save_file(model.state_dict(), paths[f"timm:{name}"])
    return paths


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit"])
def test_loaded_weights_are_the_files(name: str, published: dict[str, Path]) -> None:
    net = build_backbone(name)
    origin = load_weights(net, name, str(published[name]))
    tensors = load_file(published[name])
    state = net.net.state_dict()
    assert set(tensors) - set(state) == {part for part in tensors if part.startswith(("fc.", "head."))}
    assert all(torch.equal(value, tensors[part]) for part, value in state.items())
    assert (origin.kind, origin.source, origin.sha256) == ("file", published[name].name, digest(net))


def test_features_are_those_of_the_model_that_was_saved(published: dict[str, Path]) -> None:
    theirs = timm.create_model("test_vit", pretrained=False, num_classes=0).eval()
    tensors = load_file(published["timm:test_vit"])
    theirs.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("head.")})
    net = build_backbone("timm:test_vit").eval()
    load_weights(net, "timm:test_vit", str(published["timm:test_vit"]))
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(net(images), theirs(images), rtol=0, atol=0)


def test_for_grey_images_the_first_convolution_adds_up_the_colours(published: dict[str, Path]) -> None:
    grey, colour = build_backbone(RESNET, 1).eval(), build_backbone(RESNET, 3).eval()
    for net in (grey, colour):
        load_weights(net, RESNET, str(published[RESNET]))
    images = torch.rand(2, 1, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_a_transformer_for_another_size_takes_the_file_with_its_positions_resampled(published: dict[str, Path]) -> None:
    net = build_backbone("timm:test_vit", 3, 96)
    load_weights(net, "timm:test_vit", str(published["timm:test_vit"]))
    tensors = load_file(published["timm:test_vit"])
    assert net.net.pos_embed.shape != tensors["pos_embed"].shape
    assert torch.equal(net.net.blocks[0].attn.qkv.weight, tensors["blocks.0.attn.qkv.weight"])
    torch.testing.assert_close(net.net.pos_embed[:, 1:].mean(), tensors["pos_embed"][:, 1:].mean(), rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", ["resnet8-slim", RESNET])
def test_the_backbone_of_a_run_of_ours_is_taken_without_its_heads(name: str, tmp_path: Path) -> None:
    trained, net = build_backbone(name), build_backbone(name)
    tensors = {f"backbone.{key}": value for key, value in trained.state_dict().items()}
    save_file({**tensors, "fc.weight": torch.zeros(3, 2)}, tmp_path / "model.safetensors")
    assert digest(net) != digest(trained)
    origin = load_weights(net, name, str(tmp_path / "model.safetensors"))
    assert origin.sha256 == digest(net) == digest(trained)


def test_bare_weights_fit_a_backbone_of_ours(tmp_path: Path) -> None:
    trained, net = build_backbone("resnet8-slim"), build_backbone("resnet8-slim")
    save_file(trained.state_dict(), tmp_path / "bare.safetensors")
    load_weights(net, "resnet8-slim", str(tmp_path / "bare.safetensors"))
    assert digest(net) == digest(trained)


def refused(name: str, weights: str) -> str:
    net = build_backbone(name)
    before = digest(net)
    with pytest.raises(UserError) as error:
        load_weights(net, name, weights)
    assert digest(net) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_of_another_model_is_refused_and_changes_nothing(published: dict[str, Path], tmp_path: Path) -> None:
    path = published["timm:test_vit"]
    said = refused(RESNET, str(path))
    assert said.startswith(f"{path} does not fit timm:test_resnet: ")
    assert "tensors are missing (" in said
    assert "tensors are unknown (" in said
    assert "does not fit resnet8-slim: " in refused("resnet8-slim", str(path))
    tensors = load_file(published[RESNET])
    wrong = {**tensors, "conv1.0.weight": torch.zeros(1, 3, 3, 3)}
    save_file(wrong, tmp_path / "shape.safetensors")
    assert "1 tensor is of another shape (conv1.0.weight); conv1.0.weight is 1x3x3x3 in the file and " in refused(
        RESNET, str(tmp_path / "shape.safetensors")
    )
    tensors.pop("bn1.running_var")
    save_file(tensors, tmp_path / "less.safetensors")
    assert "1 tensor is missing (bn1.running_var)" in refused(RESNET, str(tmp_path / "less.safetensors"))
    save_file({}, tmp_path / "empty.safetensors")
    assert "tensors are missing" in refused(RESNET, str(tmp_path / "empty.safetensors"))


def test_what_is_no_safetensors_file_is_refused_unexecuted(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"cos\nmkdir\n(V%s\ntR." % str(tmp_path / "executed").encode())
    assert "damaged or holds more than tensors, which could execute code" in refused(RESNET, str(tmp_path / "x.pth"))
    (tmp_path / "y.safetensors").write_bytes(pickle.dumps({"a": 1}))
    assert "y.safetensors: not a safetensors file (" in refused(RESNET, str(tmp_path / "y.safetensors"))
    (tmp_path / "z.safetensors").write_bytes(b"")
    assert "not a safetensors file" in refused(RESNET, str(tmp_path / "z.safetensors"))
    assert "a folder; give the safetensors file in it" in refused(RESNET, str(tmp_path))
    assert not (tmp_path / "executed").exists()
    with pytest.raises(UserError, match=r"nowhere\.safetensors: no such file; --pretrained takes"):
        read_tensors(tmp_path / "nowhere.safetensors")


def test_without_the_hub_one_line_names_the_model_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    said = refused("timm:resnet18", "hub")
    assert said.startswith("no weights for timm:resnet18.a1_in1k: the hub cannot be reached")
    assert said.endswith("give the file: --pretrained FILE")
    assert capsys.readouterr().out == "fetching the weights of timm:resnet18.a1_in1k from the hub\n"
    assert "--pretrained without a file needs a backbone of timm" in refused("resnet8-slim", "hub")


def test_weights_of_the_hub_are_fetched_once_and_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, published: dict[str, Path]
) -> None:
    """The hub is played by a folder in its cache's layout: SNAPSHOT/model.safetensors."""
    asked = []

    def hub(repository: str, name: str, local_files_only: bool = False) -> str:
        asked.append((repository, name, local_files_only))
        snapshot = tmp_path / ("a" * 40)
        if local_files_only and not snapshot.exists():
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        snapshot.mkdir(exist_ok=True)
        (snapshot / name).write_bytes(published[RESNET].read_bytes())
        return str(snapshot / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    for times in (2, 3):  # then it lies there already
        net = build_backbone(RESNET)
        origin = load_weights(net, RESNET, "hub")
        assert asked[-1][:2] == ("timm/test_resnet.r160_in1k", "model.safetensors")
        assert len(asked) == times
        assert (origin.kind, origin.source) == ("hub", "timm/test_resnet.r160_in1k@aaaaaaaaaaaa")
        assert origin.licence == timm.get_pretrained_cfg("test_resnet").license is not None
        assert torch.equal(net.net.conv1[0].weight, load_file(published[RESNET])["conv1.0.weight"])
