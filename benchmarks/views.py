"""What a photograph's second view is worth (``data.view``), on folds of the training images; test images play no part.

    python -m benchmarks.views [--images FOLDER] [--clip-art] [--feature-cache FOLDER] [--record results]

The pictures are the stamps of photographs.py or, with --clip-art, the leaves of Debian's openclipart-png that are named
below (1,068 drawings in 30 folders, 110 to 3 a class). Balanced Softmax at the defaults of ``fsgl auto``, trained on
five folds of the training images, dealt three times; the figure is the mean over classes of the images set aside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from benchmarks.photographs import fetch, options_of

from fsgl.automatic.asked import Asked, plan
from fsgl.automatic.heads import Pool, out_of_fold
from fsgl.data.draw.folds import validation_folds
from fsgl.data.load import BOTH, MIDDLE
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.environment import environment
from fsgl.engine.runtime import Runtime
from fsgl.evaluation.choice import macro_accuracies
from fsgl.models.assemble import RecognitionNet
from fsgl.models.backbone import Backbone, GivenFeatures
from fsgl.recipes.experiment import override
from fsgl.report.records import write_record
from fsgl.runs.begin import featured
from fsgl.runs.network import build_network

RECIPE, FOLDS, DEALS = "balanced-softmax", 5, 3
CLIP_ART = "openclipart-png"
LEAVES = (
    "mammals", "fruit", "music", "sports", "desserts", "clothing", "vehicles", "hardware", "beverages", "birds", "bugs",
    "homes", "weapons", "boating", "toys", "flowers", "meats_and_eggs", "weather", "bodypart", "breads_and_carbs",
    "religion", "clocks", "fish", "trees", "books", "telephone", "dinosaurs", "vegetables", "furniture", "dairy",
)  # fmt: skip


def fetch_clip_art(folder: Path) -> Path:
    """The package's PNGs below these leaves, a folder each. Raises CalledProcessError without Debian's archive."""
    subprocess.run(["apt-get", "download", CLIP_ART], cwd=folder, check=True, capture_output=True)
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(folder / "unpacked")], check=True)
    for leaf in (folder / "unpacked/usr/share/openclipart/png").rglob("*"):
        if leaf.is_dir() and leaf.name in LEAVES:
            for path in sorted(leaf.rglob("*.png")):
                if path.is_file() and not path.is_symlink():
                    target = folder / "openclipart" / leaf.name / path.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
    return folder / "openclipart"


def measure(images: Path, cache: Path | None) -> list[dict[str, Any]]:
    """A row for each view, printed as it comes."""
    rows = []
    for view in (MIDDLE, BOTH):
        runtime = Runtime("cpu", trackers=(), feature_cache=None if cache is None else str(cache), show=False)
        planned = plan(Asked(str(images), 1, assignments=[f"data.view={view}"], runtime=runtime))
        start = time.perf_counter()
        network = featured(build_network(planned.first, planned.data, torch.device("cpu")), runtime, runtime.place())
        seconds = time.perf_counter() - start
        train, data, model = network.data.train, planned.data, network.model
        assert isinstance(train, ImageFeatures)
        assert isinstance(model, RecognitionNet)
        assert isinstance(model.backbone, Backbone)
        assert data.groups is not None
        kept = ~data.unreadable(data.train)
        scores = []
        for deal in range(DEALS):
            folds = validation_folds(train.labels, FOLDS, deal, data.num_classes, data.groups[kept])
            pool = Pool(train, folds, data.class_names, GivenFeatures(model.backbone))
            right = out_of_fold(override(planned.bases[RECIPE], f"seed={deal}"), pool).argmax(axis=1)
            labels = train.labels[pool.judged]
            scores.append(float(macro_accuracies((right == labels)[None], labels)[0]))
        rows.append({"view": view, "scores": scores, "seconds_of_features": seconds, "images": len(train)})
        print(f"{view:<18} {np.mean(scores):.1f} % of {scores}, features {seconds:.0f} s", flush=True)
    return rows


def main(arguments: list[str]) -> int:
    """Measure, and record."""
    parser = options_of(__doc__)
    parser.add_argument("--clip-art", action="store_true", help="openclipart-png's pictures instead of the stamps")
    parser.add_argument("--feature-cache", type=Path, metavar="FOLDER", help="where features are kept (the cache)")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        images = options.images or (fetch_clip_art if options.clip_art else fetch)(Path(name))
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
