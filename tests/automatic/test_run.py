"""Of which images features are taken and which are judged, before any trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fsgl.automatic.run import SECOND_VIEW, _Auto, _of
from fsgl.data.load import DataSpec, load_data
from fsgl.data.stream.features import ImageFeatures
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.network import build_network


@pytest.mark.parametrize(("an_image", "views"), [(0.001, 2), (0.2, 1)])
def test_what_was_kept_says_nothing_of_what_others_cost(an_image: float, views: int) -> None:
    auto = object.__new__(_Auto)
    base = SimpleNamespace(transfer=SimpleNamespace(cached_views=2))
    auto.planned = SimpleNamespace(bases={"fsgl": base})  # type: ignore[assignment]
    auto.clock = SimpleNamespace(spent=10.0, session=10.0, left=100.0)  # type: ignore[assignment]
    auto.data = SimpleNamespace(train=range(100))  # type: ignore[assignment]
    begun: list[int] = []
    auto._featured = lambda views: begun.append(views)  # type: ignore
    auto._forward = lambda network: an_image  # type: ignore[assignment,method-assign]
    auto._features()
    assert begun == list(range(1, views + 1))
    assert auto.an_image == an_image
    assert (100 * an_image <= SECOND_VIEW * 100) == (views == 2)


@pytest.mark.parametrize("copied", [4, 20])
def test_training_images_that_are_test_images_as_well_are_never_judged(tmp_path: Path, copied: int) -> None:
    """One image cannot be read, so that places in the folder and among the features differ."""
    random = np.random.default_rng(0)
    for i in range(20):
        name = f"{'ab'[i % 2]}/{i}.png"
        for part in ("train", "test") if i < copied else ("train",):
            (tmp_path / part / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / "train" / name)
        if i < copied:
            (tmp_path / "test" / name).write_bytes((tmp_path / "train" / name).read_bytes())
    data = load_data(DataSpec("own", str(tmp_path), copies="together", val=0.0), folds=True)
    paths = [data.train.location(place) for place in range(20)]  # type: ignore[union-attr]
    broken = next(place for place, path in enumerate(paths) if Path(path).stem == "1")
    data.bad.reasons[paths[broken]] = "broken"
    experiment = override(make_experiment("balanced-softmax", "digits"), "backbone=resnet8-slim", "data.val=0")
    network = build_network(experiment, data, torch.device("cpu"))
    kept = np.delete(np.arange(20), broken)
    features = ImageFeatures((np.zeros((19, 1), dtype=np.float32),), data.train.labels[kept])
    auto = object.__new__(_Auto)
    auto.data, auto.planned = data, SimpleNamespace(data=data, folds=3, first=experiment)  # type: ignore[assignment]
    network = replace(network, data=replace(network.data, train=features))
    assert _of(auto.planned)["images that stay in training"] == copied
    if copied == 20:
        with pytest.raises(UserError, match="nothing to choose by"):
            auto._pool(network)
        return
    pool = auto._pool(network)
    judged = {int(Path(paths[kept[place]]).stem) for place in pool.judged}
    assert judged == set(range(copied, 20))
