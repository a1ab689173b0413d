"""A run in Python's hands: its figures, and everything that the command line can do with it."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsgl.api.given import is_path, logits_and_classes_at, logits_of, prior_weights
from fsgl.data.load import LoadedData
from fsgl.data.readers.arrays import class_indices, labelled_images
from fsgl.deploy.export import SUFFIXES, export
from fsgl.deploy.sample import sample_files
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError, unknown
from fsgl.evaluation.metrics import evaluate_predictions
from fsgl.evaluation.posthoc import probabilities
from fsgl.report import web
from fsgl.report.render import Table
from fsgl.report.run_page import write_report
from fsgl.report.table import per_class_table, protocol_table, render_protocol
from fsgl.report.tested import of_classes
from fsgl.runs.adjustment import adjust
from fsgl.runs.feature_cache import as_it_was_scored
from fsgl.runs.folder import unused_folder
from fsgl.runs.prediction_sets import exported_sets, prediction_sets
from fsgl.runs.saved import TrainedModel, experiment_of, load_model, load_network, read_history, read_record
from fsgl.runs.train import train


class Run:
    """A trained network with all that is known of it, kept in a folder; ``fsgl.train`` and ``fsgl.load`` make one.

    folder: the run folder, of docs/run-folder.md.  data: its images, where they are in memory; else they are read
    when something needs them.  device: "auto", "cpu", "cuda", ...
    Raises UserError where the folder holds no run.
    """

    def __init__(self, folder: Path | str, data: LoadedData | None = None, device: str = "auto") -> None:
        self.folder = Path(folder)
        self.record: dict[str, Any] = read_record(self.folder)
        self._data, self._device = data, device

    @property
    def status(self) -> str:
        """ "complete", or how far it came."""
        return str(self.record["status"])

    @property
    def metrics(self) -> dict[str, Any]:
        """The test figures of the last epoch, in percent, as ``fsgl.evaluate_predictions`` names them.

        Raises UserError for a run that has none yet.
        """
        result = self.record.get("result") or {}
        if not result.get("last"):
            raise UserError(f"{self.folder}: the run's status is '{self.status}'; it has no figures yet")
        found: dict[str, Any] = result["last"]
        return found

    @property
    def history(self) -> list[dict[str, Any]]:
        """A row for each epoch: loss, learning rate, seconds, figures of the validation and test images."""
        return read_history(self.folder)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.record["class_names"])

    @property
    def classes(self) -> np.ndarray:
        """``K`` labels as they were given, in the order of ``predict_proba``'s columns; names where nobody gave any."""
        given = self.record["data"].get("given")
        return np.array(self.class_names if given is None else given["classes"])

    @cached_property
    def trained(self) -> TrainedModel:
        """The network with what it needs to be used elsewhere."""
        return load_model(self.folder, device=self._torch_device())

    @cached_property
    def data(self) -> LoadedData:
        """Its training, validation and test images. Raises UserError where these cannot be had."""
        return load_network(self.folder, data=self._data).data

    def predict(self, images: Any, prior: Any = None) -> np.ndarray:
        """The most probable class of each image, as the labels were given.

        images: as for training, without labels; or files: a path, a folder, a pattern, a list of them. Images of
        another size are resized as at test.  prior: as of ``predict_proba``.
        """
        if prior is None:
            return np.asarray(self.classes[self._logits(images).argmax(axis=1)])
        return np.asarray(self.classes[self.predict_proba(images, prior).argmax(axis=1)])

    def predict_proba(self, images: Any, prior: Any = None) -> np.ndarray:
        """Probabilities ``N x K``, calibrated where the run had validation images.

        prior: how frequent the classes are where the images come from: "uniform", "training", a dict of class and
        weight, ``K`` weights; None as the network takes it (its method says which that is).
        """
        weights = None if prior is None else prior_weights(self.trained, prior)
        return probabilities(self._logits(images), self.trained.temperature, weights, self.trained.assumed_prior)

    def predict_sets(
        self, images: Any, coverage: float = 0.9, by_class: float = 0.0, score: str = "prevalence"
    ) -> list[np.ndarray]:
        """For each image the classes, as the labels were given, of a set that holds the true one in a share
        ``coverage`` of cases, the most probable first (docs/predict.md).

        images: as of ``predict``.  by_class: 0 holds that over all images, 1 for each class, and between.  score:
        "prevalence" or "softmax". Raises UserError where the run had too few validation images.
        """
        sets = prediction_sets(self.folder, coverage, by_class, score)
        logits = self._logits(images)
        shares = probabilities(logits, self.trained.temperature)
        order = np.argsort(-shares, axis=1, kind="stable")
        members = np.take_along_axis(sets.members(logits), order, axis=1)
        return [self.classes[places[held]] for places, held in zip(order, members, strict=True)]

    def evaluate(
        self, data: Any = None, weights: str = "last", *, feature_cache: Path | str | None = None
    ) -> dict[str, Any]:
        """All figures (``fsgl.evaluate_predictions``) on other labelled images, or on the run's own test images.

        data: (images, labels) or a torch Dataset, with labels as in training; a path as for training, of which the test
        part counts where it has one, else all images; None is the run's test images.
        weights: "last", or "best-val" for the epoch that was best on validation images.
        feature_cache: folder of a frozen network's features; None is where the run kept those of its own images.
        """
        device = self._torch_device()
        if data is None:
            network = load_network(self.folder, weights, device, self._data)
            network = as_it_was_scored(network, self.record, _folder(feature_cache), device, parts=("test",))
            return network.measure(network.data.test, network.logits(network.data.test, device))
        trained = self.trained if weights == "last" else load_model(self.folder, weights, device)
        if is_path(data):
            logits, places = logits_and_classes_at(trained, Path(data), device)
        else:
            images, labels = labelled_images(data, "new", self._white())
            logits = logits_of(trained, images, device, white=self._white())
            places = class_indices(labels, self.classes, "new")
        boundaries = trained.experiment.evaluation
        return evaluate_predictions(logits, places, trained.class_counts, many=boundaries.many, few=boundaries.few)

    def report(
        self, out: Path | str | None = None, images: bool = True, *, feature_cache: Path | str | None = None
    ) -> Path:
        """Write the page, figures and tables of ``fsgl report``, by default into the run folder. Returns report.html.

        images: False leaves out what needs the test images.  feature_cache: as of ``evaluate``.
        """
        device, kept = self._torch_device(), _folder(feature_cache)
        return write_report(self.folder, _folder(out), images, device, data=self._data, feature_cache=kept).page

    def adjust(
        self, name: str, value: float | None = None, *, prior: Any = None, unlabelled: Any = None,
        estimator: str = "em", out: Path | str | None = None, feature_cache: Path | str | None = None,
    ) -> Run:  # fmt: skip
        """The run corrected without training, as a new run: tau-norm, max-norm, logit-adjustment, temperature,
        group-temperature, aggregation or prior (docs/adjust.md).

        value: None tunes it on the validation images.  prior, unlabelled, estimator: of "prior": class weights as of
        ``predict_proba``, or images as of ``predict`` to estimate them from.  out: the new folder, by default beside
        this one.  feature_cache: as of ``evaluate``.
        """
        device = self._torch_device()
        folder = Path(out) if out else unused_folder(self.folder.with_name(f"{self.folder.resolve().name}+{name}"))
        weights = None if prior is None else prior_weights(self.trained, prior)
        logits = None if unlabelled is None else self._logits(unlabelled)
        adjust(
            self.folder, folder, name, value, weights, logits, estimator, device, data=self._data,
            feature_cache=_folder(feature_cache),
        )  # fmt: skip
        return Run(folder, self._data, self._device)

    def export(
        self, path: Path | str, *, preprocess: bool | None = None, licence: str = "unstated", weights: str = "last"
    ) -> Path:
        """The network as one file for elsewhere, by the suffix: .onnx, .pt2 (a torch.export program), .safetensors.

        Beside an ONNX file stands fsgl_reader.py, which asks it about image files (docs/export.md).  preprocess: the
        graph takes 8-bit pixels, of ONNX of any size; None is so for ONNX.  licence: of the weights, for the metadata.
        The file is compared with the network before it is kept. Raises UserError where it would answer otherwise.
        """
        path = Path(path)
        form = next((form for form, suffix in SUFFIXES.items() if suffix == path.suffix), None)
        if form is None:
            raise unknown("format", path.suffix, SUFFIXES.values())
        trained = load_model(self.folder, weights)
        with tempfile.TemporaryDirectory() as folder:
            files, what, _ = sample_files(trained, Path(folder), self._data)
            sets = exported_sets(self.folder) if weights == "last" else None
            parity = export(trained, form, path, files, preprocess, licence, sets)
        if not parity.ok:
            raise UserError(
                f"{path} is not written, as it would answer otherwise than the network: {parity.changed} of "
                f"{parity.images} {what} get another class, a logit differs by {parity.difference:.2g}"
            )
        return path

    def resume(self, **runtime: Any) -> Run:
        """Go on after an interruption, to the same end. runtime: fields of ``fsgl.Runtime``, such as device."""
        how = Runtime(**{"device": self._device, "trackers": (), **runtime})
        train(experiment_of(self.folder, self.record), self.folder, how, resume=True, data=self._data)
        return Run(self.folder, self._data, self._device)

    def tables(self) -> tuple[Table, ...]:
        """The figures of the last and the best epochs, and those of each class."""
        headline = self.record["settings"]["evaluation"]["headline"]
        protocol = render_protocol(protocol_table(self.history, headline), self._title())
        return protocol, per_class_table(self.metrics, self.class_names, self.record["class_counts"], max_classes=20)

    def __repr__(self) -> str:
        result = (self.record.get("result") or {}).get("last")
        over = "" if not result else of_classes(result["groups"]) or "classes"
        figures = "" if not result else f", accuracy {result['balanced']:.1f} % (mean over {over})"
        return f"<fsgl.Run {self.folder}: {self._title()}, {self.status}{figures}>"

    def _repr_html_(self) -> str:
        if not (self.record.get("result") or {}).get("last"):
            return web.section("", [repr(self)])
        return web.fragment([*map(web.table, self.tables()), web.section("", [str(self.folder)])])

    def _title(self) -> str:
        settings = self.record["settings"]
        adjusted = (self.record.get("adjustment") or {}).get("name")
        return "+".join(filter(None, [settings["recipe"], adjusted])) + f", {settings['backbone']}"

    def _torch_device(self) -> torch.device:
        return Runtime(self._device).torch_device()

    def _white(self) -> float | None:
        given = self.record["data"].get("given") or {}
        white: float | None = given.get("white")
        return white

    def _logits(self, images: Any) -> np.ndarray:
        return logits_of(self.trained, images, self._torch_device(), white=self._white())


def _folder(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)
