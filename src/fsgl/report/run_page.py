"""A run as one page that people would rather look at than read, and the same as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup

from fsgl.data.load import LoadedData
from fsgl.errors import UserError
from fsgl.evaluation.classes import class_order
from fsgl.evaluation.metrics import GROUPS, shot_groups
from fsgl.evaluation.reliability import beyond_accuracy, reliability_curve, risk_coverage
from fsgl.evaluation.statistics import wilson
from fsgl.files import write_atomically
from fsgl.recipes.experiment import Experiment
from fsgl.report import figures, web
from fsgl.report.drawing import Draw, as_svg, draw, write_files
from fsgl.report.examination import ExaminedRun, examine, worst_mistakes
from fsgl.report.render import Table
from fsgl.report.sets import sets_table
from fsgl.report.table import EMPTY, per_class_table, protocol_table, render_protocol
from fsgl.report.tested import UNTESTED, is_untested, of_classes
from fsgl.report.transfers import describe_transfer
from fsgl.runs.saved import read_history, read_predictions, read_record, require_result


@dataclass(frozen=True)
class Written:
    """A report on the disk.  page: report.html.  left_out: what is not in it and why, a sentence each."""

    page: Path
    left_out: tuple[str, ...]


def write_report(
    run: Path,
    out: Path | None = None,
    images: bool = True,
    device: torch.device | str = "cpu",
    workers: int = 0,
    data: LoadedData | None = None,
    feature_cache: Path | None = None,
) -> Written:
    """Write report.html, figures/ and tables/ of a run into ``out``, by default its own folder.

    images: False leaves out what needs the test images, features and pictures; so it is where they cannot be had.
    data: the run's images, where they are in memory.  feature_cache: as of ``as_it_was_scored``. Raises UserError
    where there is nothing to report yet, or ``out`` is no folder.
    """
    record = read_record(run)
    require_result(run, record)
    history, saved = read_history(run), read_predictions(run)
    out = out or run
    if out.is_file() or out.suffix in (".html", ".htm"):
        raise UserError(f"--out {out}: name a folder; the page in it is called report.html")
    report = _Report(record, history, saved)
    try:
        report.sets = sets_table(run, saved, report.limits)
    except UserError as error:
        report.left_out.append(f"Sets of classes: {error}")
    if images:
        try:
            report.examined = examine(run, device, workers, data, feature_cache)
        except UserError as error:
            report.left_out.append(f"Features and pictures: {error}")
    else:
        report.left_out.append("Features and pictures: --no-images was given")
    report.build()
    report.write(out)
    return Written(out / "report.html", tuple(report.left_out))


class _Report:
    """What becomes the page, gathered section by section."""

    def __init__(self, record: dict[str, Any], history: list[dict[str, Any]], saved: dict[str, np.ndarray]) -> None:
        self.record, self.history = record, history
        self.examined: ExaminedRun | None = None
        self.sets: Table | None = None
        self.left_out: list[str] = []
        """Reasons, a sentence each."""
        self.logits, self.labels, self.counts = saved["logits"], saved["labels"], saved["class_counts"]
        self.names: list[str] = record["class_names"]
        boundaries = record["settings"]["evaluation"]
        self.limits = {"many": boundaries["many"], "few": boundaries["few"]}
        self.groups = shot_groups(self.counts, **self.limits)
        self.sections: list[Markup] = []
        self.drawn: dict[str, Any] = {}
        self.tables: dict[str, Table] = {}
        self.every_class: Table

    def build(self) -> None:
        self._head()
        self._table("protocol", render_protocol(protocol_table(self.history, self._headline()), "Which epoch"))
        self._accuracy()
        self._figure("curves", "Training", figures.training_curves(self.history), "Loss and accuracy by epoch.",
                     "Each term of the loss, and accuracy after each scored epoch.")  # fmt: skip
        drawing = figures.confusion(self.logits.argmax(axis=1), self.labels, self.counts, self.names)
        self._figure("confusion", "Confusion", drawing,
                     "Which classes are taken for which: rows are true classes, columns predicted ones.",
                     "Most frequent classes first: what lies left of the diagonal is the tail taken for the head.",
                     (6.5, 5.6))  # fmt: skip
        self._reliability()
        if self.sets is not None:
            self._table("sets", self.sets)
        if self.examined is not None:
            self._features(self.examined)
            self._mistakes(self.examined)
        self._table("classes", per_class_table(self.record["result"]["last"], self.names, self.counts.tolist()))
        if self.left_out:
            self.sections.append(web.section("Left out", self.left_out, "warn"))

    def write(self, out: Path) -> None:
        for name, drawing in self.drawn.items():
            (out / "figures").mkdir(parents=True, exist_ok=True)
            write_files(drawing, out / "figures", name)
        for name, table in self.tables.items():
            (out / "tables").mkdir(parents=True, exist_ok=True)
            complete = self.every_class if name == "classes" else table  # a program wants every class, people do not
            for suffix, text in {"md": table.markdown(), "csv": complete.csv(), "tex": table.latex()}.items():
                write_atomically(out / "tables" / f"{name}.{suffix}", text.encode("utf-8", "replace"))
        write_atomically(out / "report.html", web.page(self._title(), self.sections).encode())

    def _headline(self) -> str:
        return str(self.record["settings"]["evaluation"]["headline"])

    def _title(self) -> str:
        settings = self.record["settings"]
        adjusted = (self.record.get("adjustment") or {}).get("name")
        recipe = "+".join(filter(None, [settings["recipe"], adjusted]))
        data = Experiment.from_json(settings, "experiment.json").data.title  # the folder's name, of one's own images
        return f"{recipe} on {data}, seed {settings['seed']}"

    def _head(self) -> None:
        settings, last, cost = self.record["settings"], self.record["result"]["last"], self.record["cost"]
        beyond = beyond_accuracy(self.logits, self.labels, self.counts, **self.limits)
        cards: dict[str, Any] = {
            f"accuracy, mean over {of_classes(last['groups']) or 'classes'}": _percent(last["balanced"]),
            **{
                _of_group(last["groups"], group): _percent(last[group], is_untested(last["groups"], group))
                for group in GROUPS
            },
            "worst class": _percent(beyond["worst_class"]),
            "calibration error": _percent(last["ece"]),
            "surest 80 %": _percent(beyond["selective"]["80"]),
            "under a backward tail (10)": _percent(beyond["priors"]["backward-10"]),
        }
        about = (
            f"{settings['backbone']}, {cost['parameters'] / 1e6:.2f} M parameters, "
            f"{cost['multiply_adds_per_image'] / 1e6:.3g} M multiply-adds, {cost['passes_per_step']} passes a step; "
            f"{settings['optim']['epochs']} epochs; {describe_transfer(self.record)}; "
            f"{len(self.labels):,} test images, {int(self.counts.sum()):,} training images of {len(self.counts)} "
            f"classes ({int(self.counts.max()):,} to {int(self.counts.min()):,} each)."
        )
        self.sections.append(web.heading(self._title(), about, cards))
        # How somebody's own images were read and split, with what is kept together and what leaks.
        if lines := self.record["data"].get("found"):
            self.sections.append(web.notes(lines, "the images"))

    def _accuracy(self) -> None:
        classes = len(self.counts)
        right = np.bincount(self.labels[self.logits.argmax(1) == self.labels], minlength=classes)
        total = np.bincount(self.labels, minlength=classes)
        accuracy = 100 * right / np.where(total > 0, total, np.nan)
        bounds = wilson(right, total)
        drawing = figures.class_accuracy(accuracy, bounds, self.counts, self.groups, self.names)
        caption = "With 95 % intervals over test images (Wilson); training images in brackets."
        if classes > figures.MOST_CLASSES:
            caption = "A dot for each class; a line for the mean of each twentieth of them, with its 95 % interval (t)."
        self.every_class = _every_class(self.names, self.counts, self.groups, total, accuracy, bounds)
        self._figure("classes", "Accuracy by class", drawing,
                     "Test accuracy of each class, from the most to the least frequent in training.",
                     caption)  # fmt: skip

    def _reliability(self) -> None:
        curves = {"all": reliability_curve(self.logits, self.labels)}
        for group, members in self.groups.items():
            rows = members[self.labels]
            if rows.any():
                curves[group] = reliability_curve(self.logits[rows], self.labels[rows])
        self._figure("reliability", "Reliability", figures.reliability(curves),
                     "Accuracy against confidence, of all test images and of each group.",
                     "On the line the network is as sure as it is right; below, it is too sure. Larger dots: more "
                     "images.", (8.0, 2.6))  # fmt: skip

        self._figure("risk", "Abstention", figures.risk_coverage(risk_coverage(self.logits, self.labels)),
                     "Share of mistakes among the test images that the network is surest of.",
                     "What is left of the mistakes where the network may decline to answer.", (8.0, 2.6))  # fmt: skip

    def _features(self, examined: ExaminedRun) -> None:
        features, labels = examined.some()
        self._figure("features", "Feature map", figures.feature_map(features, labels, self.counts, self.names),
                     "Two principal components of the features of test images; head and tail classes in colour.",
                     f"The three most and the three least frequent classes; {len(labels):,} test images.",
                     (8.0, 4.4))  # fmt: skip
        scaled = "" if examined.scales_K is None else " The FSM scales them in training, and not at test."
        self._figure("norms", "Feature norms",
                     figures.feature_norms(examined.norms_K, examined.scales_K, self.counts, self.names),
                     "Mean length of the features by class, from the most to the least frequent.",
                     f"Test images.{scaled}")  # fmt: skip

    def _mistakes(self, examined: ExaminedRun) -> None:
        rare = self.groups["few"]
        what = "few-shot classes"
        if not rare.any():
            rare = np.argsort(class_order(self.counts)) >= len(self.counts) * 2 / 3
            what = "the least frequent third of the classes"
        try:
            found = worst_mistakes(examined, self.logits, self.labels, rare)
        except UserError as error:
            self.left_out.append(f"Pictures of mistakes: {error}")
            return
        said = (
            f"Test images of {what} that the network is wrong about, the surest first. Below each where it looked "
            "(Grad-CAM, in red), and the nearest training images by its features."
        )
        self.sections.append(web.mistakes("The tail's worst mistakes", said, found, self.names))

    def _figure(
        self, name: str, title: str, drawing: Draw, alt: str, caption: str,
        size: tuple[float, float] = (8.0, 3.4),
    ) -> None:  # fmt: skip
        self.drawn[name] = draw(drawing, size)
        svg = as_svg(self.drawn[name], alt, name)
        self.sections.append(web.figure(svg, caption, title))

    def _table(self, name: str, table: Table) -> None:
        self.tables[name] = table
        self.sections.append(web.table(table))


def _percent(value: float | None, untested: bool = False) -> str:
    return (UNTESTED if untested else EMPTY) if value is None else f"{value:.1f} %"


def _of_group(groups: dict[str, Any], group: str) -> str:
    """The name of a group's figure, with how many of its classes it rests on where these are not all."""
    some = "" if is_untested(groups, group) else of_classes(groups, group)
    return f"{group}-shot: {some}" if some else f"{group}-shot classes"


def _every_class(
    names: list[str], counts_K: np.ndarray, groups: dict[str, np.ndarray], total_K: np.ndarray, accuracy_K: np.ndarray,
    bounds_K2: np.ndarray,
) -> Table:  # fmt: skip
    """Each class in a row, names in full; the accuracies of a class without test images are empty."""
    of = {int(k): group for group, members in groups.items() for k in np.flatnonzero(members)}
    rows = []
    for k in class_order(counts_K):
        cells = ("" if np.isnan(value) else f"{value:.2f}" for value in (accuracy_K[k], *bounds_K2[k]))
        rows.append((names[k], str(counts_K[k]), of[k], str(total_K[k]), *cells))
    headings = ("class", "train images", "group", "test images", "accuracy", "low", "high")
    return Table("", headings, tuple(rows))
