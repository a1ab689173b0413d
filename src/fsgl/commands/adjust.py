"""``fsgl adjust``: a saved run corrected without training, beside what it was."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fsgl.commands.arguments import (
    FORM,
    add_device,
    add_feature_cache,
    add_run,
    add_threads,
    add_workers,
    folder,
    within,
)
from fsgl.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    import torch

    from fsgl.runs.saved import TrainedModel

DESCRIPTION = """\
Change a trained run's classifier or its probabilities without training again. Written as a new run folder, which
names the run that it came from.

tau-norm, max-norm, logit-adjustment    the classifier's rows or biases, for the tail's sake
temperature, group-temperature          honest probabilities; the second one a temperature for each of many,
                                        medium and few (by the class predicted)
aggregation                             of SADE's experts: their weights, learnt from the test images without labels
prior                                   for class frequencies other than in training: given, or estimated from
                                        unlabelled images of the place where it will be used

What is to be chosen is chosen by the validation images, never by the labels of test images; --value takes a value
instead."""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "adjust", help="change a run's classifier or probabilities, without training", description=DESCRIPTION,
        formatter_class=FORM, allow_abbrev=False,
    )  # fmt: skip
    add_run(command)
    command.add_argument("adjustment", metavar="ADJUSTMENT", help="one of those above")
    command.add_argument("--value", type=float, metavar="X", help="tau, the radius or the temperature (default: tuned)")
    command.add_argument("--prior", metavar="WHICH", help="uniform, training, or a CSV file of class and weight")
    command.add_argument(
        "--unlabelled", nargs="+", metavar="PATH", help="images, folders, patterns to estimate it from"
    )
    command.add_argument("--estimator", default="em", metavar="NAME", help="em (default) or bbse")
    command.add_argument("--out", type=folder, metavar="FOLDER", help="the new run folder (default: RUN+ADJUSTMENT)")
    add_device(command)
    add_workers(command)
    add_feature_cache(command)
    add_threads(command)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl adjust RUN ADJUSTMENT``: a new run folder."""
    from fsgl.deploy.predict import read_prior
    from fsgl.engine.runtime import Runtime
    from fsgl.evaluation.posthoc import FEWEST
    from fsgl.report.render import clean_name
    from fsgl.report.summary import print_table
    from fsgl.report.table import comparison_table
    from fsgl.runs.adjustment import ADJUSTMENTS, adjust
    from fsgl.runs.folder import unused_folder
    from fsgl.runs.saved import load_model, read_record

    if options.adjustment not in ADJUSTMENTS:
        raise unknown("adjustment", options.adjustment, ADJUSTMENTS)
    if options.adjustment != "prior" and (options.prior or options.unlabelled):
        raise UserError(f"--prior and --unlabelled belong to the adjustment 'prior', not to {options.adjustment}")
    if options.prior and options.unlabelled:
        raise UserError("give either --prior or --unlabelled, not both")
    workers, device = within("--workers", options.workers, 0), Runtime(options.device).torch_device()
    before = read_record(options.run)
    out = options.out or unused_folder(options.run.with_name(f"{options.run.resolve().name}+{options.adjustment}"))
    prior = unlabelled = None
    if options.prior or options.unlabelled:
        trained = load_model(options.run, device=device)
        prior = read_prior(trained, options.prior) if options.prior else None
        if options.unlabelled:
            unlabelled = _logits(options, trained, device, workers)
    after = adjust(
        options.run, out, options.adjustment, options.value, prior, unlabelled, options.estimator, device, workers,
        feature_cache=options.feature_cache,
    )  # fmt: skip
    done = after["adjustment"]
    told = ("name", "tuned_on", "assumed_prior", "prior", "as_all_images")
    figures = {key: value for key, value in done.items() if key not in told}
    said = ", ".join(f"{key} {_figure(value)}" for key, value in figures.items())
    print(f"{done['name']}{': ' + said if said else ''} ({done['tuned_on']})\n")
    if alike := done.get("as_all_images"):
        print(
            f"{', '.join(alike)}: the temperature of all validation images, as those predicted as one of the group are "
            f"fewer than {FEWEST}, or all right or all wrong\n"
        )
    names = {str(options.run): before["result"]["last"], str(out): after["result"]["last"]}
    for table in comparison_table(names, after["class_names"], after["class_counts"]):
        print_table(table)
    spared = [clean_name(after["class_names"][k]) for k in after["data"]["classes_without_validation"]]
    if done["tuned_on"] == "validation" and spared:
        some = ", ".join(spared[:10]) + (", ..." if len(spared) > 10 else "")
        print(f"{len(spared)} classes had no validation image and no say in this: {some}")
    print(f"run folder  {out}")
    return 0


def _logits(options: argparse.Namespace, trained: TrainedModel, device: torch.device, workers: int) -> np.ndarray:
    import numpy as np

    from fsgl.data.images.image_files import BadImage
    from fsgl.deploy.predict import find_images, predict_files, scaled_for

    files, notes = find_images(options.unlabelled)
    trained, more = scaled_for(trained, files)
    answers = [answer for _, answer in predict_files(trained, files, device, workers)]
    bad = [answer for answer in answers if isinstance(answer, BadImage)]
    if len(bad) == len(answers):
        raise UserError(f"--unlabelled {options.unlabelled[0]}: not one of the images can be read")
    notes += [*more, *([f"{len(bad):,} of {len(answers):,} images cannot be read, the first {bad[0]}"] if bad else [])]
    print("".join(f"note: {note}\n" for note in notes), end="")
    return np.stack([answer for answer in answers if not isinstance(answer, BadImage)])


def _figure(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_figure(each)}" for key, each in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)
