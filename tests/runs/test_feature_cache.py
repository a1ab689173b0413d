"""Cached features: those of the images, kept whole, found again only for what they were made of."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from fsgl.data.load import load_data
from fsgl.data.stream.features import ImageFeatures
from fsgl.data.stream.streams import StepPositions, StreamSpec
from fsgl.engine.step import Update, training_step
from fsgl.errors import UserError
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.randomness import generator
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.feature_cache import BATCH, default_folder, with_cached_features
from fsgl.runs.network import ModelWithData, build_network

CPU = torch.device("cpu")
FROZEN = ("transfer.train=heads", "transfer.cached_views=3", "data.imbalance_factor=50")


def network(*changes: str, recipe: str = "fsgl") -> ModelWithData:
    experiment = override(override(make_experiment(recipe, "digits"), *FROZEN), *changes)
    return build_network(experiment, load_data(experiment.data), CPU)


def cached(net: ModelWithData, folder: Path) -> ModelWithData:
    return with_cached_features(net, folder, CPU, quiet=True)


def of(net: ModelWithData) -> ImageFeatures:
    assert isinstance(net.data.train, ImageFeatures)
    return net.data.train


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*")}


def test_cached_features_are_those_of_the_images(tmp_path: Path) -> None:
    net = network()
    backbone = net.model.get_submodule("backbone").eval()
    found = cached(net, tmp_path)
    with torch.no_grad():
        plain = torch.cat([backbone(batch) for batch in net.data.evaluation_batches(net.data.train, CPU)])
        np.testing.assert_allclose(of(found).views[0], plain.numpy(), rtol=1e-4, atol=1e-5)
        for view in (1, 2):  # what an epoch of training on images shows first
            spec = StreamSpec(BATCH, 1, None, 0)
            steps = StepPositions(net.data.train.labels, 10, spec).epoch(view)
            for (_, positions, _), batch in zip(steps, net.data.stream(spec, CPU).batches(view), strict=True):
                features = backbone(batch.original.views[0]).numpy()
                np.testing.assert_allclose(of(found).views[view][positions], features, rtol=1e-4, atol=1e-5)
    assert not np.allclose(of(found).views[0], of(found).views[1])
    assert net.data.val is not None
    assert isinstance(found.data.val, ImageFeatures)
    assert (len(found.data.val), len(found.data.test)) == (len(net.data.val), 500)
    assert len(found.data.test.views) == 1
    np.testing.assert_allclose(found.logits(found.data.test, CPU), net.logits(net.data.test, CPU), rtol=1e-4, atol=1e-5)


def test_a_linear_head_trained_on_cached_features_is_the_one_trained_on_the_images(tmp_path: Path) -> None:
    """Cross-entropy on the images as they are, once through the cache and once by hand through the network."""
    net = network("transfer.cached_views=1", "optim.batch_size=50", recipe="cross-entropy")
    by_hand = build_network(net.experiment, net.data, CPU).model
    found = cached(net, tmp_path)
    spec = StreamSpec(50, 1, None, 0)
    trained = [(net.model, found.data.stream(spec, CPU))]
    method = net.experiment.method
    for model, stream in trained:
        sgd = torch.optim.SGD(model.fc.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        update = Update(model, method, sgd, make_ascent(model, SamSpec(0.0)))
        for epoch in range(3):
            model.train()
            for batch in stream.batches(epoch):
                training_step(update, method, batch, 10, 0.0, generator(0))
    images = torch.cat(list(net.data.evaluation_batches(net.data.train, CPU)))
    labels = torch.from_numpy(net.data.train.labels)
    sgd = torch.optim.SGD(by_hand.fc.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    by_hand.eval()
    for epoch in range(3):
        for _, positions, _ in StepPositions(net.data.train.labels, 10, spec).epoch(epoch):
            sgd.zero_grad()
            F.cross_entropy(by_hand.fc(by_hand.backbone(images[positions])), labels[positions]).backward()
            sgd.step()
    fresh = build_network(net.experiment, net.data, CPU).model
    assert not torch.allclose(net.model.fc.weight, fresh.fc.weight, atol=1e-2)
    torch.testing.assert_close(net.model.fc.weight, by_hand.fc.weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(net.model.fc.bias, by_hand.fc.bias, rtol=0, atol=1e-6)


def test_what_is_there_is_not_computed_again_and_more_views_take_those_that_are(tmp_path: Path) -> None:
    first = of(cached(network(), tmp_path))
    before = files(tmp_path)
    assert len(before) == 2 * 5  # three views, validation, test; an array and its hash each
    again = of(cached(network(), tmp_path))
    assert files(tmp_path) == before
    for one, other in zip(first.views, again.views, strict=True):
        np.testing.assert_array_equal(one, other)
    cached(network("transfer.cached_views=4"), tmp_path)
    after = files(tmp_path)
    assert len(after) == 2 * 6
    assert after | before == after


@pytest.mark.parametrize(
    ("change", "new"),
    [("seed=1", 5), ("data.val_seed=1", 5), ("backbone=resnet20-slim", 5), ("data.imbalance_factor=20", 5),
     ("optim.epochs=7", 0), ("method.beta=1", 0), ("sam.rho=1", 0)],
)  # fmt: skip
def test_other_weights_or_images_have_features_of_their_own(change: str, new: int, tmp_path: Path) -> None:
    cached(network(), tmp_path)
    before = files(tmp_path)
    cached(network(change), tmp_path)
    assert len(files(tmp_path)) == len(before) + 2 * new


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap", "no hash", "hash of junk"])
def test_a_damaged_file_is_computed_anew(damage: str, tmp_path: Path) -> None:
    whole = np.array(of(cached(network(), tmp_path)).views[0])
    arrays = sorted(tmp_path.glob("*.npy"))
    for path in arrays:
        content, sidecar = bytearray(path.read_bytes()), path.with_suffix(".json")
        if damage == "flip":
            content[-1] ^= 1
        elif damage == "cut":
            content = content[:-4]
        elif damage == "empty":
            content = bytearray()
        elif damage == "no hash":
            sidecar.unlink()
        elif damage == "hash of junk":
            sidecar.write_text("[]")
        path.write_bytes(content)
    if damage == "swap":
        shutil.copy(arrays[0], arrays[1])
    np.testing.assert_array_equal(of(cached(network(), tmp_path)).views[0], whole)
    assert {json.loads(path.read_text())["of"]["backbone"] for path in tmp_path.glob("*.json")} == {"resnet8-slim"}


def test_an_interrupted_computation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("fsgl.runs.feature_cache._sha256", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached(network(), tmp_path)
    assert files(tmp_path) == {}


def test_a_folder_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="features cannot be written") as error:
        cached(network(), tmp_path / "file")
    assert "\n" not in str(error.value)


def files_experiment(folder: Path) -> Experiment:
    random, lines = np.random.default_rng(0), []
    (folder / "images").mkdir()
    for number in range(6):
        image = Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8))
        image.save(folder / "images" / f"{number}.png")
        lines.append(f"{number}.png {number % 2}")
    (folder / "list.txt").write_text("\n".join(lines))
    lists = (str(folder / "list.txt"),) * 2
    return override(
        make_experiment("fsgl", "imagenet-lt", str(folder / "images"), *lists),
        "data.val=0", "backbone=resnet8-slim", "transfer.train=heads", "transfer.cached_views=2",
        "transfer.image_size=32",
    )  # fmt: skip


def test_an_image_file_that_changed_is_seen_again(tmp_path: Path) -> None:
    experiment = files_experiment(tmp_path)

    def features() -> ImageFeatures:
        return of(cached(build_network(experiment, load_data(experiment.data), CPU), tmp_path / "kept"))

    before = features()
    assert before.views[0].shape == (6, 64)
    Image.new("RGB", (50, 40), (9, 99, 199)).save(tmp_path / "images" / "3.png")
    after = features()
    same = [np.array_equal(one, other) for one, other in zip(before.views[0], after.views[0], strict=True)]
    assert same == [True, True, True, False, True, True]


def test_unreadable_images_are_left_out_and_listed_again_where_the_features_are_kept(tmp_path: Path) -> None:
    experiment = files_experiment(tmp_path)
    whole = of(cached(build_network(experiment, load_data(experiment.data), CPU), tmp_path / "whole"))
    (tmp_path / "images" / "3.png").write_bytes(b"no image")
    for _ in ("computed", "kept"):
        net = cached(build_network(experiment, load_data(experiment.data), CPU), tmp_path / "kept")
        assert [Path(path).name for path in net.data.bad.reasons] == ["3.png"]
        for part in (net.data.train, net.data.test):
            assert part.labels.tolist() == [0, 1, 0, 0, 1]
        assert np.array_equal(of(net).views[0], np.delete(whole.views[0], 3, axis=0))
        assert len(of(net).views[1]) == 5


def test_what_mixes_pixels_is_not_trained_on_features() -> None:
    with pytest.raises(UserError, match="cutmix mixes pixels"):
        override(make_experiment("cutmix", "digits"), "transfer.train=heads", "transfer.cached_views=1")
    assert make_experiment("cutmix", "own", "photos").transfer.cached_views == 0
    assert make_experiment("fsgl", "own", "photos").transfer.cached_views == 2


def test_only_a_frozen_backbone_is_cached(tmp_path: Path) -> None:
    experiment = override(make_experiment("fsgl", "digits"))
    net = build_network(experiment, load_data(experiment.data), CPU)
    with pytest.raises(ValueError, match="frozen backbone only"):
        with_cached_features(net, tmp_path, CPU)


def test_progress_and_place_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsgl.runs.feature_cache.TELL_EVERY", 0.0)
    with_cached_features(network(), tmp_path, CPU)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("features of train view 0: 64 of ")
    assert "features of test: 500 of 500 images, " in "\n".join(lines)
    assert lines[-1].startswith(f"features are kept in {tmp_path} (")
    with_cached_features(network(), tmp_path, CPU)
    assert capsys.readouterr().out == ""


def test_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/fsgl/features")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "fsgl" / "features"


def test_data_of_the_cached_network_say_what_they_are_of(tmp_path: Path) -> None:
    net = network()
    assert cached(net, tmp_path).data.describe() == net.data.describe()
    assert dataclasses.replace(cached(net, tmp_path), data=net.data) == net
