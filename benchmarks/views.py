"""What a photograph's second view is worth (``data.view``), on folds of the training images; test images play no part.

    python -m benchmarks.views [--images FOLDER] [--clip-art] [--feature-cache FOLDER] [--record results]

The pictures are the stamps or, with --clip-art, the clip art of own_folders.py. Balanced Softmax at the defaults of
``fsgl auto``, trained on five folds of the training images, dealt three times; the figure is the mean over classes of
the images set aside.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from benchmarks.own_folders import CLIP_ART, fetch_clip_art, fetch_stamps
from benchmarks.photographs import options_of

from fsgl.automatic.asked import Asked, Plan, plan
from fsgl.automatic.heads import Pool, out_of_fold
from fsgl.data.draw.folds import validation_folds
from fsgl.data.load import BOTH, MIDDLE
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.environment import environment
from fsgl.engine.runtime import Runtime
from fsgl.evaluation.choice import macro_accuracies
from fsgl.models.assemble import RecognitionNet
from fsgl.models.backbone import Backbone, GivenFeatures
from fsgl.recipes.experiment import Experiment, override
from fsgl.report.records import write_record
from fsgl.runs.begin import featured
from fsgl.runs.network import build_network

RECIPE, FOLDS, DEALS = "balanced-softmax", 5, 3


def pools_of(images: Path, assignments: list[str], cache: Path | None) -> tuple[Plan, list[Pool], float]:
    """What ``fsgl auto`` would try, the features of the training images dealt into folds, and the features' seconds."""
    runtime = Runtime("cpu", trackers=(), feature_cache=None if cache is None else str(cache), show=False)
    planned = plan(Asked(str(images), 1, assignments=assignments, runtime=runtime))
    start = time.perf_counter()
    network = featured(build_network(planned.first, planned.data, torch.device("cpu")), runtime, runtime.place())
    seconds = time.perf_counter() - start
    train, data, model = network.data.train, planned.data, network.model
    assert isinstance(train, ImageFeatures)
    assert isinstance(model, RecognitionNet)
    assert isinstance(model.backbone, Backbone)
    assert data.groups is not None
    groups = data.groups[~data.unreadable(data.train)]
    pools = []
    for deal in range(DEALS):
        folds = validation_folds(train.labels, FOLDS, deal, data.num_classes, groups)
        pools.append(Pool(train, folds, data.class_names, GivenFeatures(model.backbone)))
    return planned, pools, seconds


def score(experiment: Experiment, pool: Pool) -> float:
    """Mean over classes, %, of the images that are judged."""
    right = out_of_fold(experiment, pool).argmax(axis=1)
    labels = pool.features.labels[pool.judged]
    return float(macro_accuracies((right == labels)[None], labels)[0])


def measure(images: Path, cache: Path | None) -> list[dict[str, Any]]:
    """A row for each view, printed as it comes."""
    rows = []
    for view in (MIDDLE, BOTH):
        planned, pools, seconds = pools_of(images, [f"data.view={view}"], cache)
        scores = [score(override(planned.bases[RECIPE], f"seed={deal}"), pool) for deal, pool in enumerate(pools)]
        count = len(pools[0].features.labels)
        rows.append({"view": view, "scores": scores, "seconds_of_features": seconds, "images": count})
        print(f"{view:<18} {np.mean(scores):.1f} % of {scores}, features {seconds:.0f} s", flush=True)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = options_of(__doc__)
    parser.add_argument("--clip-art", action="store_true", help="openclipart-png's pictures instead of the stamps")
    parser.add_argument("--feature-cache", type=Path, metavar="FOLDER", help="where features are kept (the cache)")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        images = options.images or (fetch_clip_art if options.clip_art else fetch_stamps)(Path(name))
        load = os.getloadavg()[0]
        content = {
            "images": CLIP_ART if options.clip_art else images.name, "recipe": RECIPE, "folds": FOLDS,
            "rows": measure(images, options.feature_cache), "load": [load, os.getloadavg()[0]],
        }  # fmt: skip
    if options.record:
        title = "clip-art" if options.clip_art else images.name
        command = "python -m benchmarks.views" + " --clip-art" * options.clip_art
        write_record(
            options.record, "views", f"views-{title}", command, environment(torch.device("cpu")), content
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
