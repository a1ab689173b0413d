"""The chosen heads with their backbone trained as well: fine-tuned, judged, and where they are better trained at last.

A thousand times what heads cost, so that one candidate is all: the recipe of the best heads with its method's own
settings, and everything else as ``--fine-tune`` has it (``candidates.WHOLE``). It is judged on the first fold of those
that heads were judged on, and on further ones while it is not behind the heads there and time is left. Its epochs are
as many as fit, for that fold and for the last training, by what is measured on its first steps. Heads were chosen by
all folds, this one among them, so that the comparison favours them a little.

Every training is a run in a folder of its own (``runs.train``): a stop leaves a checkpoint, from which another session
goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from fsgl.automatic.candidates import WHOLE, Candidate, whole_of
from fsgl.automatic.clock import Clock, Cost
from fsgl.automatic.display import Display
from fsgl.automatic.fold import fold_of
from fsgl.automatic.heads import Pool
from fsgl.automatic.search import Study, Trial
from fsgl.data.load import LoadedData
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.interrupts import Interrupts
from fsgl.engine.runtime import Placement, RunInterrupted, Runtime
from fsgl.errors import UserError, first_line
from fsgl.evaluation.choice import macro_accuracies
from fsgl.files import read_json, write_json
from fsgl.recipes.experiment import Experiment
from fsgl.runs.budget import measure, said
from fsgl.runs.network import build_network
from fsgl.runs.saved import read_history, read_predictions, read_record
from fsgl.runs.train import train

KIND = "fine-tuned"
FEWEST_EPOCHS, MOST_EPOCHS = 3, int(WHOLE[KIND]["optim.epochs"])
MARGIN = 0.85  # of the time left: what is measured on the first steps is not the same to the end
SHARE = 0.5  # of the time that is left for trying once there are features; the rest is for heads
A_STEP = 4.0  # forward passes that a step takes for each image, about, decoding included


@dataclass
class FineTuning:
    """data: all images.  folder: for what it does.  note: what is to be said of it at the end, if anything."""

    data: LoadedData
    pool: Pool
    folder: Path
    clock: Clock
    display: Display
    runtime: Runtime
    placement: Placement
    interrupts: Interrupts
    note: str | None = "Fine-tuning was not tried: the search was stopped before it."

    @property
    def begun(self) -> bool:
        """By an earlier session, perhaps to its end."""
        return self._plan.exists()

    @property
    def logits(self) -> Path:
        """File of the logits ``J x K`` of the images that are judged, NaN for those of other folds."""
        return self.folder / "logits.npy"

    def over(self, study: Study) -> bool:
        """Whether it is judged, or failed."""
        for trial in study.trials:
            if trial.candidate.kind != "heads":
                self.note = trial.failed and f"Fine-tuning failed: {trial.failed}"
                return True
        return False

    @property
    def there(self) -> bool:
        """Whether the run folder holds it already, trained to the end by an earlier session."""
        run = self.folder.parents[1]
        if not (run / "experiment.json").exists() or not _complete(run):
            return False
        return bool(read_record(run)["settings"]["transfer"]["train"] == WHOLE[KIND]["transfer.train"])

    def reserve(self, an_image: float) -> float:
        """Seconds that heads should leave. an_image: seconds of a forward pass."""
        left, least = self.clock.to_try, self._rough(FEWEST_EPOCHS, an_image)
        if least <= MARGIN * SHARE * left:
            return min(SHARE * left, self._rough(MOST_EPOCHS, an_image) / MARGIN)
        enough = self.clock.spent + self.clock.ending + least / (MARGIN * SHARE)
        self.note = (
            f"Fine-tuning was not tried: {FEWEST_EPOCHS} epochs on one fold and then on all images take about "
            f"{said(least)}, more than half of the {said(max(0.0, left))} that were left once there were features; "
            f"from about --minutes {int(enough // 60) + 1} on it is."
        )
        return 0.0

    def fits(self, an_image: float) -> bool:
        """Whether so many epochs as are needed at least could fit into what is left now."""
        return self._rough(FEWEST_EPOCHS, an_image) <= MARGIN * self.clock.to_try

    def run(self, study: Study) -> None:
        """Judge the candidate, or go on with it; into ``study`` where it is judged on a fold at least."""
        began = self.clock.spent
        try:
            candidate, cost, earlier = self._planned(study)
            found = self._judged(study, candidate, cost)
        except _NoTime as error:
            self.note = str(error)
            return
        except Exception as error:  # as of any candidate, no reason to end the search
            reason = f"{type(error).__name__}: {first_line(error)}"
            self.note = f"Fine-tuning failed: {reason}"
            recipe = study.verdict(correct=False, heads_alone=True).trial.candidate.recipe
            seconds = self.clock.spent - began
            study.ended(
                Trial(study.new_number, Candidate(recipe, {}, KIND), seconds, self.clock.spent, None, failed=reason)
            )
            return
        seconds = earlier + self.clock.spent - began
        self._write(candidate, cost, seconds)
        if found is None:
            self.note = (
                "Fine-tuning was begun and stopped before it was judged; the same command goes on, within --minutes."
            )
            return
        rows = np.isfinite(found).all(axis=1)
        np.save(self.logits, found)
        right = rows & (np.nan_to_num(found).argmax(axis=1) == study.labels)
        study.ended(Trial(study.new_number, candidate, seconds, self.clock.spent, right, judged=rows))
        for folder in self.folder.glob("fold-*"):
            shutil.rmtree(folder)
        self.note = None

    def remaining(self, trial: Trial) -> float:
        """Seconds that the last training of this candidate is expected to take, with what is done of it."""
        if self.there:
            return 0.0
        epochs = int(trial.candidate.settings["optim.epochs"])
        done = len(read_history(self._last)) if (self._last / "metrics.jsonl").exists() else 0
        return Cost(**read_json(self._plan)["cost"]).last(epochs) * (1 - min(done, epochs) / epochs)

    def last_fits(self, trial: Trial) -> bool:
        """Whether there is time for it now."""
        needed = self.remaining(trial)
        if self.interrupts.signalled:
            why = "the search was stopped"
        elif needed > self.clock.left:
            why = f"{said(max(0.0, self.clock.left))} were left"
        else:
            return True
        self.note = (
            f"Fine-tuning would have been chosen. Its training on all images takes about {said(needed)}, and {why}; "
            "until then this is the best of heads alone. The same command goes on, within --minutes."
        )
        return False

    def last(self, experiment: Experiment) -> Path | None:
        """Train on all images, until the time is up. Returns the run's folder; None where that stopped it, or a signal,
        or it failed."""
        if (self._last / "experiment.json").exists():
            before = Experiment.from_json(read_record(self._last)["settings"], str(self._last))
            if replace(before, tuning=experiment.tuning) == experiment:
                experiment = before  # found by fewer trials, otherwise the same
            else:
                shutil.rmtree(self._last)
        try:
            if self._train(experiment, self._last, self.data, None, lambda: self.clock.left <= 0):
                return self._last
        except Exception as error:
            self.note = f"Its training on all images failed, so that heads alone were taken: {first_line(error)}"
            return None
        self.note = (
            "Fine-tuning was chosen, and its training on all images was not over when "
            + ("a signal came" if self.interrupts.signalled else "the time was up")
            + "; until then this is the best of heads alone. The same command goes on, within --minutes."
        )
        return None

    @property
    def _plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def _last(self) -> Path:
        return self.folder / "last"

    def _rough(self, epochs: int, an_image: float) -> float:
        images = int((self.pool.folds != 0).sum()) + len(self.data.train)
        return epochs * A_STEP * an_image * images

    def _planned(self, study: Study) -> tuple[Candidate, Cost, float]:
        """The candidate, what it costs, and seconds that went into it. Raises _NoTime."""
        if self.begun:
            plan = read_json(self._plan)
            return Candidate(plan["recipe"], plan["settings"], KIND), Cost(**plan["cost"]), float(plan["seconds"])
        heads = _trainable(study)
        data, features = fold_of(self.data, self.pool, 0)
        few = whole_of(heads.candidate, KIND, FEWEST_EPOCHS)
        pace = measure(
            build_network(few.experiment(study.bases), data, self.placement.device), self.runtime, self.placement
        )
        cost = Cost(
            pace.epoch, pace.scoring, heads.seconds / max(1, self.pool.count - 1),
            len(self.data.train) / len(features), (len(self.data.test) + len(self.data.val or ())) / len(data.test),
        )  # fmt: skip
        left = MARGIN * self.clock.to_try
        fitting = [n for n in range(FEWEST_EPOCHS, MOST_EPOCHS + 1) if cost.fold(n) + cost.last(n) <= left]
        if not fitting:
            least = cost.fold(FEWEST_EPOCHS) + cost.last(FEWEST_EPOCHS)
            raise _NoTime(
                f"Fine-tuning was not tried: by its first steps {FEWEST_EPOCHS} epochs of {heads.candidate.recipe} on "
                f"one fold and then on all images take {said(least)}; {said(max(0.0, self.clock.to_try))} were left."
            )
        candidate = whole_of(heads.candidate, KIND, fitting[-1])
        self._write(candidate, cost, 0.0)
        return candidate, cost, 0.0

    def _write(self, candidate: Candidate, cost: Cost, seconds: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._plan, {"recipe": candidate.recipe, "settings": dict(candidate.settings),
                                "cost": asdict(cost), "seconds": seconds})  # fmt: skip

    def _judged(self, study: Study, candidate: Candidate, cost: Cost) -> np.ndarray | None:
        """Logits ``J x K``, NaN where it was not judged; None where it was stopped before a fold was."""
        found = np.full((len(self.pool.judged), self.data.num_classes), np.nan, dtype=np.float32)
        epochs, experiment = int(candidate.settings["optim.epochs"]), candidate.experiment(study.bases)
        experiment = replace(experiment, evaluation=replace(experiment.evaluation, every=epochs))
        for number in range(self.pool.count):
            data, features = fold_of(self.data, self.pool, number)
            about = f"{candidate}, fold {number + 1}: about {said(cost.fold(epochs))}"
            self.display.say(f"{'':7}         {about}")
            folder = self.folder / f"fold-{number}"
            if not self._train(experiment, folder, data, features, lambda: self.clock.to_try <= 0, study):
                return found if number else None
            found[self.pool.folds[self.pool.judged] == number] = read_predictions(folder)["logits"]
            whole, heads = self._beside(study, found)
            self.display.say(f"{'':7}  {whole:5.1f}  {candidate}; heads alone there: {heads:.1f}")
            if whole <= heads or cost.fold(epochs) + cost.last(epochs) > MARGIN * self.clock.to_try:
                break
        return found

    def _beside(self, study: Study, logits: np.ndarray) -> tuple[float, float]:
        """What it and the choice among heads are right on where it was judged so far, mean over classes in percent."""
        rows, heads = np.isfinite(logits).all(axis=1), study.verdict(correct=False, heads_alone=True).trial
        assert heads.right is not None
        right = logits[rows].argmax(axis=1) == study.labels[rows]
        whole, known = macro_accuracies([right, heads.right[rows]], study.labels[rows])
        return float(whole), float(known)

    def _train(
        self, experiment: Experiment, folder: Path, data: LoadedData, features: ImageFeatures | None,
        late: Callable[[], bool], study: Study | None = None,
    ) -> bool:  # fmt: skip
        """Whether it came to its end, now or in an earlier session."""
        begun = (folder / "experiment.json").exists()
        if begun and _complete(folder):
            return True

        def stops() -> bool:
            if study is not None:
                self.display.tick(study)
            return self.interrupts.signalled or late()

        runtime = replace(self.runtime, trackers=(), show=False)
        try:
            train(
                experiment, folder, runtime, resume=begun, data=data, placement=self.placement, features=features,
                should_stop=stops,
            )  # fmt: skip
        except RunInterrupted as error:
            if not stops():  # a signal, which the training noted in place of ours
                self.interrupts.signal_number = error.signal_number
            return _complete(folder)
        return True


class _NoTime(Exception):
    """Fine-tuning does not fit; the text says so."""


def _trainable(study: Study) -> Trial:
    """The choice among heads; where that cannot be fine-tuned, as what trains in two stages cannot, the best that can.
    Raises UserError where none can."""
    chosen = study.verdict(correct=False, heads_alone=True).trial
    others = [trial for trial in study.trials if trial.right is not None and trial.candidate.kind == "heads"]
    said_no: UserError | None = None
    for trial in [chosen, *sorted(others, key=lambda trial: -(trial.accuracy or 0.0))]:
        try:
            whole_of(trial.candidate, KIND, FEWEST_EPOCHS).experiment(study.bases)
        except UserError as error:
            said_no = said_no or error
        else:
            return trial
    assert said_no is not None
    raise said_no


def _complete(folder: Path) -> bool:
    return bool(read_record(folder)["status"] == "complete")
