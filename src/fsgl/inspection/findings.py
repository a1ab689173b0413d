"""All that is found out about a data set, as one dictionary that can be written as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fsgl.data.draw.imbalance import class_counts
from fsgl.data.images.alike import alike, same
from fsgl.data.images.sources import Images, Source
from fsgl.data.readers.small_images import SMALL_SIDE
from fsgl.inspection.label_errors import LEAST, TRUSTED_FROM, likely_errors
from fsgl.inspection.pretrained import Rows
from fsgl.inspection.recommend import recommend
from fsgl.inspection.scan import Seen, scan
from fsgl.inspection.tail import describe_tail

PIXELS = "16 x 16 pixels"
LISTED = 200  # findings of one kind that are listed; all are counted


@dataclass(frozen=True)
class Inspected:
    """What was looked at.  images: every part, in order.  places: (part, position) of every image, as in ``seen``."""

    source: Source
    images: dict[str, Images]
    places: list[tuple[str, int]]
    seen: list[Seen]

    def where(self, place: int) -> str:
        part, position = self.places[place]
        return self.images[part].location(position)

    def label(self, place: int) -> int:
        part, position = self.places[place]
        return int(self.images[part].labels[position])


def scan_source(source: Source, workers: int, progress: Callable[[int], None]) -> Inspected:
    """Open every image. progress: told of every so many done."""
    parts = {"train": source.train, "val": source.val, "test": source.test}
    images = {part: some for part, some in parts.items() if some is not None}
    places = [(part, position) for part, some in images.items() for position in range(len(some))]
    seen = [each for some in images.values() for each in scan(some, workers, progress)]
    return Inspected(source, images, places, seen)


def findings(inspected: Inspected, label_errors: bool = True, rows: Rows | str = "") -> dict[str, Any]:
    """The whole report. label_errors: look for them.  rows: features to find them by, or why there are only pixels."""
    source, seen = inspected.source, inspected.seen
    names, counts = source.class_names, class_counts(source.train.labels, source.num_classes)
    tail = describe_tail(counts)
    readable = [each for each in seen if not each.error]
    sides = np.array([min(each.width, each.height) for each in readable] or [0])
    bad = [{"image": inspected.where(i), "reason": each.error} for i, each in enumerate(seen) if each.error]
    return {
        "name": source.name,
        "found": source.found,
        "notes": list(source.notes),
        "parts": {part: len(some) for part, some in inspected.images.items()},
        "tail": tail,
        "counts": dict(zip(names, counts.tolist(), strict=True)),
        "sizes": {
            "shorter_side": dict(zip(("least", "median", "most"), _spread(sides), strict=True)),
            "common": [[*size, n] for size, n in Counter((e.width, e.height) for e in readable).most_common(8)],
            "different": len({(each.width, each.height) for each in readable}),
        },
        "modes": dict(Counter(each.mode for each in readable if each.mode).most_common()),
        "unreadable": _listed(bad),
        "missing": _missing(inspected),
        "duplicates": _duplicates(inspected),
        "label_errors": _label_errors(inspected, rows) if label_errors else None,
        "recommendation": recommend(
            tail, float(np.median(sides)), _kept_in_memory(source, readable), source.test is not None
        ),
    }


def _kept_in_memory(source: Source, readable: list[Seen]) -> bool:
    """As data/readers/small_images.py decides it when training begins, but for very many."""
    sizes = {(each.width, each.height) for each in readable}
    return source.train.array_size is not None or (len(sizes) == 1 and max(max(sizes)) <= SMALL_SIDE)


def _spread(values: np.ndarray) -> tuple[int, float, int]:
    return int(values.min()), float(np.median(values)), int(values.max())


def _listed(found: list[Any]) -> dict[str, Any]:
    return {"count": len(found), "listed": found[:LISTED]}


def _missing(inspected: Inspected) -> dict[str, list[str]]:
    """Classes without images, by part."""
    names = inspected.source.class_names
    counts = {part: class_counts(some.labels, len(names)) for part, some in inspected.images.items()}
    return {part: [names[k] for k in np.flatnonzero(of == 0)] for part, of in counts.items()}


def _duplicates(inspected: Inspected) -> dict[str, Any]:
    """Groups of images with the same pixels, and of those that look alike without being the same."""
    exact = same([each.pixels for each in inspected.seen])
    hashes = [each.pixels for each in inspected.seen]
    near = [group for group in alike([each.looks for each in inspected.seen]) if len({hashes[i] for i in group}) > 1]
    return {"exact": _groups(inspected, exact), "near": _groups(inspected, near)}


def _groups(inspected: Inspected, groups: list[list[int]]) -> dict[str, Any]:
    names = inspected.source.class_names
    described: list[dict[str, Any]] = [
        {
            "images": [inspected.where(place) for place in group[:10]],
            "places": group[:10],
            "count": len(group),
            "parts": sorted({inspected.places[place][0] for place in group}),
            "classes": sorted({names[inspected.label(place)] for place in group}),
        }
        for group in groups
    ]
    # Leaks first, then what is labelled in two ways.
    described.sort(key=lambda group: (len(group["parts"]) < 2, len(group["classes"]) < 2))
    return {
        **_listed(described),
        "across_parts": sum(len(group["parts"]) > 1 for group in described),
        "across_classes": sum(len(group["classes"]) > 1 for group in described),
    }


def _label_errors(inspected: Inspected, rows: Rows | str) -> dict[str, Any]:
    """Among the training images."""
    names = inspected.source.class_names
    train = [i for i, (part, _) in enumerate(inspected.places) if part == "train"]
    if isinstance(rows, Rows):
        usable, features, by, why = [train[i] for i in rows.positions], rows.features, rows.by, ""
    else:
        usable = [i for i in train if inspected.seen[i].small is not None]
        small = [np.ravel(inspected.seen[i].small) / 255.0 for i in usable]
        features, by, why = np.array(small), PIXELS, rows
    labels = np.array([inspected.label(i) for i in usable], dtype=np.int64)
    said: dict[str, Any] = {"per_class": {}, "model_accuracy": None, "judged": 0, "least": LEAST}
    said |= {"trusted": False, "trust_from": TRUSTED_FROM, "features": by, "why_pixels": why, "of": len(train)}
    if not len(labels):
        return {**_listed([]), **said}
    errors, accuracy, judged = likely_errors(features, labels)
    found = [
        {
            "image": inspected.where(usable[place]),
            "place": usable[place],
            "label": names[labels[place]],
            "likelier": names[k],
            "probability": round(share, 4),
        }
        for place, k, share in errors
    ]
    per_class = Counter(each["label"] for each in found)
    known = None if accuracy != accuracy else round(accuracy, 1)
    trusted = known is not None and known >= TRUSTED_FROM
    said |= {"per_class": dict(per_class), "model_accuracy": known, "judged": judged, "trusted": trusted}
    return {**_listed(found), **said}
