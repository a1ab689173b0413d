"""Paired differences from a reference, and in words: which metric gains or loses, or how many more seeds would tell.

The headline is the mean over classes. Where the classes' test images differ in number top-1 is another metric: it has a
difference, a family of p-values and a part of the sentence of its own. What is said and what is coloured goes by the
corrected p-value, and by nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsgl.comparison.entries import HEADLINE, Entry, Run, accuracy, top1, top1_differs
from fsgl.evaluation.power import MOST_SEEDS, level_of_look, seeds_at_next_look, seeds_needed
from fsgl.evaluation.statistics import ALPHA, Difference, holm, paired_bootstrap, paired_difference

RESAMPLES = 2000  # of the test images; 50 beyond each end of a 95 % interval


@dataclass(frozen=True)
class Judged:
    """A difference at equal seeds and what is held of it.

    p_adjusted: for the number of rows and of looks.  sign: 1 for a gain, -1 for a loss, 0 for not distinguishable.
    needed: seeds with which a true difference of this size would probably be found; None where it was, where nothing
    follows from these seeds, and for more than ``MOST_SEEDS`` or than are planned.  looked: whether looks are counted,
    so that it is of the next look.  planned: seeds, if that was said.
    """

    difference: Difference
    p_adjusted: float | None
    sign: int
    needed: int | None
    looked: bool = False
    planned: int | None = None


@dataclass(frozen=True)
class Comparison:
    """An entry against the reference.

    headline: of the mean over classes.  top1: None where it is the same metric.  over_images: of the headline, over
    resampled test images; None without per-image results.
    """

    entry: Entry
    headline: Judged
    top1: Judged | None
    over_images: Difference | None
    words: str


def compare_with(
    entries: Sequence[Entry], reference: Entry, looks: Mapping[str, Sequence[int]] | None = None,
    planned: int | None = None,
) -> list[Comparison]:  # fmt: skip
    """Every other entry against the reference, at the seeds that both have; p-values adjusted for their number (Holm).

    looks: seeds of each look at an entry's label, this one the last (comparison/looks.py), by which it is tested; at
    5 % otherwise.  planned: seeds, if that was said before the first. Raises ValueError where the reference has no run.
    """
    if not reference.runs:
        raise ValueError(f"{reference.label} has no result to compare with")
    others = [entry for entry in entries if entry is not reference and reference.paired(entry, accuracy)[0]]
    looked = [list((looks or {}).get(entry.label, ())) for entry in others]
    headlines = _judged([paired_difference(*reference.paired(entry, accuracy)) for entry in others], looked, planned)
    seconds: Sequence[Judged | None] = [None] * len(others)
    if top1_differs([reference, *others]):
        seconds = _judged([paired_difference(*reference.paired(entry, top1)) for entry in others], looked, planned)
    return [
        Comparison(entry, headline, second, _over_images(reference, entry),
                   in_words(reference.label, entry.label, headline, second))
        for entry, headline, second in zip(others, headlines, seconds, strict=True)
    ]  # fmt: skip


def _judged(
    differences: Sequence[Difference], looked: Sequence[Sequence[int]], planned: int | None
) -> list[Judged]:
    """looked: seeds of each look at each; none where that is not known."""
    levels = [level_of_look(looks, planned) if looks else ALPHA for looks in looked]
    p_values = [
        None if difference.p_value is None else min(1.0, difference.p_value * ALPHA / level)
        for difference, level in zip(differences, levels, strict=True)
    ]
    tested = sum(p is not None for p in p_values)
    found = []
    for difference, p, looks in zip(differences, holm(p_values), looked, strict=True):
        mean, needed = difference.interval.mean, None
        sign = 0 if p is None or p >= ALPHA else 1 if mean > 0 else -1
        if not sign and p is not None and difference.effect_size:
            deviation = mean / difference.effect_size
            # With more seeds it is looked at once more, at that look's level.
            needed = (
                seeds_at_next_look(mean, deviation, looks, planned, 1 / tested) if looks
                else seeds_needed(mean, deviation, ALPHA / tested)
            )  # fmt: skip
        found.append(Judged(difference, p, sign, needed, bool(looks), planned if looks else None))
    return found


def in_words(reference: str, label: str, headline: Judged, second: Judged | None) -> str:
    """A sentence. second: of top-1, where that is another metric."""
    n = headline.difference.interval.n
    if headline.p_adjusted is None and n == 1:
        return f"{reference} and {label}: one seed each says nothing of chance"
    if headline.p_adjusted is None:
        return f"{reference} and {label}: the same difference in all {n} seeds, which leaves nothing to test"
    where = "" if second is None else f" in the {HEADLINE}"
    mean = headline.difference.interval.mean
    if headline.sign and second is None:
        better, worse = (label, reference) if headline.sign > 0 else (reference, label)
        return f"{better} is better than {worse} by {abs(mean):.1f} points ({n} seeds)"
    if headline.sign:
        said = f"{label} {_moves(headline)} points{where}"
        if second is not None:
            said += f" and {_moves(second)} in top-1" if second.sign else ", top-1 not distinguishable"
        return f"{said}, against {reference} ({n} seeds)"
    said = f"{reference} and {label} are not distinguishable{where} with {n} seeds"
    were = f"were the {mean:+.1f} seen the true difference"
    if headline.needed is not None:
        at = " at the next look" if headline.looked else ""
        said += f": about {max(1, headline.needed - n)} more would tell{at}, {were}"
    elif headline.planned is not None and n >= headline.planned:
        said += ", and no more were planned"
    elif headline.difference.effect_size:
        most = f"{MOST_SEEDS:,}" if headline.planned is None else f"the {headline.planned} that are planned"
        said += f", nor would {most} tell, {were}"
    return said + (f"; {label} {_moves(second)} points in top-1" if second is not None and second.sign else "")


def _moves(judged: Judged) -> str:
    return f"{'gains' if judged.sign > 0 else 'loses'} {abs(judged.difference.interval.mean):.1f}"


def _over_images(reference: Entry, entry: Entry) -> Difference | None:
    """Of the headline. Records from before they had the images class by class serve where top-1 is the headline."""
    pairs: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    classes: list[int] | None = None
    for run in reference.runs:
        other = next((each for each in entry.runs if each["settings"]["seed"] == run["settings"]["seed"]), None)
        if other is None or not run.get("right") or not other.get("right") or run["n"] != other["n"]:
            continue
        if run.get("class_images") != other.get("class_images"):
            continue  # in another order
        classes = run.get("class_images")
        pairs.append((_right(run), _right(other)))
    if not pairs or (classes is None and top1_differs([reference, entry])):
        return None
    a, b = zip(*pairs, strict=True)
    of_image = None if classes is None else np.repeat(np.arange(len(classes)), classes)
    return paired_bootstrap(np.stack(a), np.stack(b), of_image, RESAMPLES)


def _right(run: Run) -> NDArray[np.bool_]:
    packed = np.frombuffer(base64.b64decode(run["right"]), dtype=np.uint8)
    return np.unpackbits(packed, count=run["n"]).astype(bool)
