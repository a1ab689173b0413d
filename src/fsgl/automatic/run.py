"""``fsgl auto`` from beginning to end: features once, a search over heads, a choice, one training, one look at the test
images. All of it in a run folder that is like any other, with ``auto/`` for what was tried.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsgl.automatic.asked import Asked, Plan, plan
from fsgl.automatic.candidates import Candidate, space_of
from fsgl.automatic.clock import Clock
from fsgl.automatic.display import Display
from fsgl.automatic.finish import Outcome, finish
from fsgl.automatic.foretelling import Foretelling, least_of_trial, too_few_for_a_trial, ways
from fsgl.automatic.heads import Pool
from fsgl.automatic.ray_workers import RayWorkers, ray_workers
from fsgl.automatic.search import Study, Trial, recipes_for
from fsgl.automatic.whole import FineTuning
from fsgl.automatic.worker import logits_file
from fsgl.automatic.workers import Workers, workers
from fsgl.data.draw.folds import NEVER, validation_folds
from fsgl.data.load import BOTH
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.interrupts import Interrupts
from fsgl.errors import UserError
from fsgl.files import read_json, sole_user, write_json
from fsgl.models.assemble import RecognitionNet
from fsgl.models.backbone import Backbone, GivenFeatures
from fsgl.recipes.experiment import override
from fsgl.runs.begin import featured
from fsgl.runs.network import ModelWithData, build_network

MEASURED = 8  # images by which it is foretold what features cost
SECOND_VIEW = 0.05  # of the time left, that features of augmented images may take
PATIENCE = 150  # trials without a better one, after which more would only find luckier ones
LARGEST_SHARE = 0.05  # of the time left, that a proposed trial may take
TICK = 0.5  # seconds between looks at the clock
TRIED = "auto"  # folder within the run's: of trials


def auto(asked: Asked) -> Outcome:
    """Search, choose, train and score; what is there from an earlier session goes on.

    Returns what came of it, also where a signal ended the search early. Raises UserError; RunDiverged.
    """
    with _helpers(asked) as helpers:  # they import what they need while the images are read
        planned = plan(asked)
        folder = asked.folder or Path("runs") / f"auto-{planned.first.data.title}"
        with sole_user(folder):
            return _Auto(asked, planned, folder, helpers).run()


def _helpers(asked: Asked) -> AbstractContextManager[Workers | RayWorkers]:
    return workers(asked.processes) if asked.ray is None else ray_workers(asked.ray, asked.jobs)


class _Auto:
    def __init__(self, asked: Asked, planned: Plan, folder: Path, helpers: Workers | RayWorkers) -> None:
        self.asked, self.planned, self.data, self.helpers = asked, planned, planned.data, helpers
        self.folder, self.tried = folder, folder / TRIED
        self.clock = Clock(asked.minutes, self._spent(), asked.began)
        self.display = Display(asked.show, self.clock)
        self.placement = asked.runtime.place()
        self.an_image = 0.0
        """Seconds of an image on its way through the backbone, with its reading where features were computed."""
        self.again = 0.0
        """Seconds that a next session needs until it has images and features that are kept."""

    def run(self) -> Outcome:
        first = self.planned.first
        self.display.say(
            f"auto on {first.data.title}, {first.backbone}, {self.asked.minutes:g} minutes -> {self.folder}\n"
            + "\n".join(f"  {note}" for note in self.data.notes)
        )
        with self.clock.part("features"):
            network = self._features()
            pool = self._pool(network)
        trials = "one trial" if self.helpers.count == 1 else f"{self.helpers.count} trials"
        self.display.say(f"{len(pool.judged):,} of {len(pool.folds):,} images are judged, in {pool.count} "
                         f"fold{'s'[: pool.count > 1]}; {trials} at a time")  # fmt: skip
        bases = recipes_for(len(pool.features.views), self.planned.bases)
        spaces = {name: space_of(each, pool.backbone, self.data.num_classes) for name, each in bases.items()}
        study = Study(self.tried, bases, spaces, pool.features.labels[pool.judged])
        study.read()
        pool.write(self.tried)
        self.helpers.begin(study.folder)
        with Interrupts() as interrupts:
            whole = FineTuning(
                self.data, pool, self.tried / "fine-tuned", self.clock, self.display, self.asked.runtime,
                self.placement, interrupts,
            )  # fmt: skip
            self._search(study, whole, interrupts)
            self.helpers.close()
            self._remember()
            if not study.trials and interrupts.signalled:
                return Outcome(self.folder, None, interrupts.signal_number)
            if study.best is None and not study.trials:
                trial = max(self._least_of_trial(), self.clock.parts["search"])
                raise too_few_for_a_trial(self.clock, self.asked.minutes, self.again, trial, self.asked.data)
            outcome = finish(study, pool, self.data, self.folder, self.clock, self.display, self.asked.runtime, whole)
            self._remember()
            return replace(outcome, signal_number=interrupts.signal_number)

    def _features(self) -> ModelWithData:
        """The network with features of all images: as they are, and augmented ones where there is time for them."""
        views, before, self.again = 1, self.clock.spent, self.clock.session
        most = max(each.transfer.cached_views for each in self.planned.bases.values())
        network = self._featured(views)
        # Features that were kept took no time, and say nothing of what others will take.
        forward, images = self._forward(network), len(self.data.train)
        cost = max(self.clock.spent - before, images * forward)
        self.an_image = max(forward, cost / images / 2)  # most often shown twice, and read once
        while views < most and cost <= SECOND_VIEW * self.clock.left:
            views, before = views + 1, self.clock.spent
            network = self._featured(views)
            cost = self.clock.spent - before
        return network

    def _forward(self, network: ModelWithData) -> float:
        """Seconds of an image on its way through the backbone, measured on a few that are grey; reading it comes on
        top."""
        model, side = network.model, network.data.image_size
        assert isinstance(model, RecognitionNet)
        shown = torch.zeros(MEASURED, len(network.data.mean), side, side, device=self.placement.device)
        with torch.inference_mode():
            start = time.perf_counter()
            model.eval().features(shown).sum().item()
        return (time.perf_counter() - start) / MEASURED

    def _featured(self, views: int) -> ModelWithData:
        """Raises UserError where the first view is clearly too long for the minutes."""
        experiment = override(self.planned.first, f"transfer.cached_views={views}")
        network = build_network(experiment, self.data, self.placement.device)
        twice = not self.data.in_memory and self.data.spec.view == BOTH
        quicker = ways(self.asked.data, twice)
        told = Foretelling(self.clock, self._least_of_trial(), network.data.image_size, quicker)
        runtime = replace(self.asked.runtime, show=self.asked.show)
        found = featured(network, runtime, self.placement, told if views == 1 else None)
        if views == 1 and not told.called:  # then a next session needs as long for them
            self.again += self.clock.spent - told.began
        return found

    def _least_of_trial(self) -> float:
        folds = self.planned.folds if self.data.val is None else 1
        return least_of_trial(self.planned.first, len(self.data.train), self.data.num_classes, folds)

    def _pool(self, network: ModelWithData) -> Pool:
        data, kept = network.data, ~self.data.unreadable(self.data.train)
        assert isinstance(data.train, ImageFeatures)
        assert isinstance(network.model, RecognitionNet)
        assert isinstance(network.model.backbone, Backbone)
        features = data.train
        if data.val is not None:  # what somebody set aside is what is judged by
            assert isinstance(data.val, ImageFeatures)
            views = tuple(np.concatenate([view, data.val.views[0]]) for view in features.views)
            features = ImageFeatures(views, np.concatenate([features.labels, data.val.labels]))
            folds = np.where(np.arange(len(features)) < len(data.train), NEVER, 0)
        else:
            assert self.data.groups is not None
            assert self.data.stays is not None
            seed = self.planned.first.seed
            folds = validation_folds(
                features.labels, self.planned.folds, seed, data.num_classes, self.data.groups[kept],
                np.flatnonzero(self.data.stays[kept]).tolist(),
            )  # fmt: skip
        if not (folds >= 0).any():
            raise UserError(
                "no class has two images that belong neither together nor with test images: nothing to choose by"
            )
        return Pool(features, folds, data.class_names, GivenFeatures(network.model.backbone))

    def _search(self, study: Study, whole: FineTuning, interrupts: Interrupts) -> None:
        """Heads, then, where there is time for it, the best of them with everything trained, then heads with what is
        left."""
        if not whole.over(study):
            if not whole.begun:
                self._heads(study, whole, interrupts, whole.reserve(self.an_image))
            if study.best is not None and not interrupts.signalled and (whole.begun or whole.fits(self.an_image)):
                with self.clock.part("fine-tuning"):
                    whole.run(study)
                self._remember()
        self._expect(study, whole)
        self._heads(study, whole, interrupts)
        study.running.clear()

    def _heads(self, study: Study, whole: FineTuning, interrupts: Interrupts, keep: float = 0.0) -> None:
        """Until the time but ``keep`` is up, nothing better turns up any more, or a signal comes."""
        with self.clock.part("search"):
            while self.clock.to_try > 0 and not interrupts.signalled:
                while self.helpers.idle and self.clock.to_try > keep and study.since_best < PATIENCE:
                    left = self.clock.to_try - keep
                    found = study.next(left * LARGEST_SHARE, left)
                    if found is None:
                        break
                    number, candidate = found
                    self.helpers.give(number, candidate.experiment(study.bases).to_json())
                if not study.running:
                    break
                for answer in self.helpers.answers(min(TICK, max(0.0, self.clock.to_try))):
                    self._take(study, study.running[answer["number"]], answer)
                    self._expect(study, whole)
                self.display.tick(study)

    def _take(self, study: Study, candidate: Candidate, answer: Mapping[str, Any]) -> None:
        number, failed, right = answer["number"], answer["failed"], None
        if failed is None:
            right = np.load(logits_file(study.folder, number)).argmax(axis=1) == study.labels
        trial = Trial(number, candidate, answer["seconds"], self.clock.spent, right, failed=failed)
        study.ended(trial)
        self._remember()
        self.display.ended(trial, study)

    def _expect(self, study: Study, whole: FineTuning) -> None:
        """How long the last training will take, as things stand."""
        if study.best is None:
            return
        chosen = study.verdict(correct=False).trial
        of_heads = study.seconds_of(chosen.candidate.recipe) / max(1, self.planned.folds - 1)
        self.clock.last = of_heads if chosen.candidate.kind == "heads" else whole.remaining(chosen)

    def _remember(self) -> None:
        """What of the time is spent, for a session that goes on."""
        write_json(self.tried / "auto.json", {"of": _of(self.planned), "seconds": self.clock.spent})

    def _spent(self) -> float:
        """Seconds of earlier sessions. Raises UserError where the folder holds something else."""
        path = self.tried / "auto.json"
        if not path.exists():
            if (self.folder / "experiment.json").exists():
                raise UserError(f"{self.folder} holds a run that is not auto's; name another folder with --run")
            return 0.0
        found = read_json(path)
        differing = [name for name, value in _of(self.planned).items() if found["of"].get(name) != value]
        if differing:
            raise UserError(
                f"{self.folder} holds trials of other {differing[0]}; name another folder with --run, or remove it"
            )
        return float(found["seconds"])


def _of(planned: Plan) -> dict[str, Any]:
    """What a session must have in common with the one that it goes on from."""
    of: dict[str, Any] = {"images": planned.data.hash, "settings": planned.first.hash, "folds": planned.folds}
    stays = planned.data.stays
    if planned.data.val is None and stays is not None and stays.any():
        of["images that stay in training"] = int(stays.sum())
    return of
