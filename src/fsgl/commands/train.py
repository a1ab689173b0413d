"""``fsgl train``: a recipe, a replay or a resumption, and what the person at the keyboard is told of it."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsgl.commands.arguments import FORM, above_0, add_workers, folder, within
from fsgl.commands.experiment_options import add_experiment, add_transfer, assignments_of, given_images
from fsgl.commands.reading import add_reading
from fsgl.engine.interrupts import leave
from fsgl.errors import PeerLost, UserError, first_line

if TYPE_CHECKING:
    from fsgl.data.images.sources import Source
    from fsgl.data.load import LoadedData
    from fsgl.engine.runtime import Placement, Runtime
    from fsgl.recipes.experiment import Experiment

DESCRIPTION = """\
Train a recipe and say how well it does on many-, medium- and few-shot classes.

Any setting of the recipe can be changed by its name: sam.rho=0.1 method.feature_scaling.gamma=0.5
'fsgl train RECIPE --settings' lists them with their values."""

USAGE = """fsgl train RECIPE [options] [name=value ...]
       fsgl train --from FILE [options] [name=value ...]
       fsgl train --run FOLDER --resume [CHECKPOINT] [--max-steps N]"""


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "train", help="train a recipe", description=DESCRIPTION, formatter_class=FORM, usage=USAGE, allow_abbrev=False
    )
    command.add_argument("recipe", nargs="?", metavar="RECIPE", help="one of 'fsgl recipes'; or use --from or --resume")
    what = command.add_argument_group("what is trained")
    add_experiment(what)
    what.add_argument("--seed", metavar="N", help="seed of the weights and of everything drawn in training (0)")
    what.add_argument("--from", dest="replay", metavar="FILE", type=Path, help="repeat a run from its experiment.json")
    what.add_argument("--settings", action="store_true", help="print the settings and stop")
    add_reading(command)
    add_transfer(command)
    how = command.add_argument_group("how it runs (changes a result by rounding at most)")
    # Two names, as torchrun takes --run, wherever it stands, for an abbreviation of an option of its own.
    how.add_argument(
        "--run", "--run-folder", metavar="FOLDER", type=folder, help="the run folder (default: a new one under runs/)"
    )
    how.add_argument(
        "--resume", nargs="?", const=True, default=False, metavar="CHECKPOINT", help="go on in the --run folder"
    )
    how.add_argument(
        "--time-budget", type=above_0, metavar="MINUTES", help="train as many of the epochs as fit, by the first steps"
    )
    how.add_argument("--max-steps", type=int, metavar="N", help="stop after N steps, for trying things")
    how.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    how.add_argument("--devices", type=int, metavar="N", help="processes on this machine, one a GPU (1, or torchrun's)")
    how.add_argument("--num-nodes", type=int, metavar="N", help="machines; see docs/several-machines.md (1)")
    how.add_argument("--precision", default="auto", metavar="NAME", help="float32, tf32, bf16 or auto (default)")
    how.add_argument("--compile", action="store_true", help="torch.compile the network: pays on GPUs only")
    how.add_argument("--cuda-graphs", action="store_true", help="replay each step as one CUDA graph")
    how.add_argument("--checkpoint-seconds", type=float, default=60.0, metavar="S", help="seconds between saves (60)")
    add_workers(how)
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads of this process (default: all cores)")
    how.add_argument(
        "--track", action="append", metavar="NAME", help="tensorboard (default), wandb or none; repeatable"
    )


def runtime(options: argparse.Namespace) -> Runtime:
    """Where and how to execute, as the options say. Raises UserError for numbers out of range."""
    from fsgl.engine.runtime import Runtime

    if options.max_steps is not None and options.max_steps < 1:
        raise UserError(f"--max-steps must be 1 or more, not {options.max_steps}")
    trackers = tuple(dict.fromkeys(options.track or ("tensorboard",)))
    if "none" in trackers and len(trackers) > 1:
        raise UserError("--track none stands alone")
    if not options.checkpoint_seconds >= 0:
        raise UserError(f"--checkpoint-seconds must be 0 or more, not {options.checkpoint_seconds}")
    return Runtime(
        options.device,
        within("--workers", options.workers, 0),
        options.max_steps,
        () if trackers == ("none",) else trackers,
        options.checkpoint_seconds,
        precision=options.precision,
        compile=options.compile,
        cuda_graphs=options.cuda_graphs,
        devices=None if options.devices is None else within("--devices", options.devices, 1),
        nodes=None if options.num_nodes is None else within("--num-nodes", options.num_nodes, 1),
        feature_cache=options.feature_cache,
    )


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl train``. settings: name=value."""
    assignments = assignments_of(options)
    if options.recipe == "digits":
        return train_digits(options, assignments + settings)
    return train_one(options, assignments + settings)


def train_one(options: argparse.Namespace, assignments: list[str]) -> int:
    """``fsgl train RECIPE``, ``--from FILE`` or ``--run FOLDER --resume``."""
    deadline = None if options.time_budget is None else time.monotonic() + 60 * options.time_budget
    if deadline is not None and (options.resume or (options.devices or 1) > 1 or (options.num_nodes or 1) > 1):
        raise UserError("--time-budget is for a training that begins, of one process; leave it or the others off")
    from fsgl.data.known import OWN
    from fsgl.report.summary import print_run
    from fsgl.runs.begin import load_together
    from fsgl.runs.duration import cpu_note
    from fsgl.runs.folder import new_folder
    from fsgl.runs.saved import read_history, read_record

    experiment, source = _experiment(options, assignments)
    if options.settings:
        print_settings(experiment)
        return 0
    how = runtime(options)
    placement = how.place()
    folder = placement.processes.agree(options.run or new_folder(experiment))
    resume: Path | bool = options.resume if isinstance(options.resume, bool) else Path(options.resume)
    print(f"{experiment.recipe} on {experiment.data.title}, {experiment.backbone}, seed {experiment.seed} -> {folder}")
    if placement.processes.leader and (note := cpu_note(experiment, placement.device)):
        print(note)
    data = None
    if experiment.data.name in OWN:
        data = load_together(experiment, placement.processes, source)
        if placement.processes.leader:
            print("found " + "\n  ".join(data.notes))
    code = train_and_explain(experiment, folder, how, resume, placement, data, deadline)
    if code == 0 and placement.processes.leader:
        print_run(folder, read_record(folder), read_history(folder))
    return code


def train_digits(options: argparse.Namespace, assignments: list[str]) -> int:
    """The demonstration: both methods, one after the other, then side by side."""
    from fsgl.recipes import digits
    from fsgl.recipes.experiment import override
    from fsgl.report.summary import print_comparison
    from fsgl.runs.folder import unused_folder
    from fsgl.runs.saved import read_history, read_record

    if options.replay or options.data or options.resume or options.time_budget or given_images(options):
        raise UserError(
            "the recipe 'digits' takes no --data, --root, lists, --from, --time-budget or --resume; use 'fsgl' "
            "with --data digits, or --run FOLDER --resume without a recipe for one of its two runs"
        )
    experiments = [override(experiment, *assignments) for experiment in digits()]
    if options.settings:
        for experiment in experiments:
            print_settings(experiment)
        return 0
    how = runtime(options)
    placement = how.place()
    parent = placement.processes.agree(options.run or unused_folder(Path("runs") / "digits"))
    for experiment in experiments:
        print(f"{experiment.recipe} on {experiment.data.name}, {experiment.backbone}, seed {experiment.seed}")
        code = train_and_explain(experiment, parent / experiment.recipe, how, False, placement)
        if placement.processes.any(code != 0)[0]:  # in the leader: the others end with 0 where all end together
            return code
    if not placement.processes.leader:
        return 0
    folders = [parent / experiment.recipe for experiment in experiments]
    records, histories = [read_record(folder) for folder in folders], [read_history(folder) for folder in folders]
    print_comparison(parent, folders, records, histories)
    return 0


def train_and_explain(
    experiment: Experiment,
    folder: Path,
    how: Runtime,
    resume: Path | bool,
    placement: Placement | None = None,
    data: LoadedData | None = None,
    deadline: float | None = None,
) -> int:
    """Train; an interruption or a divergence becomes a line and an exit code.

    Of several processes the leader answers for all: where they end together the others return 0, as a process that
    fails makes whoever started it kill the rest.
    """
    import torch

    from fsgl.engine.runtime import RunDiverged, RunInterrupted
    from fsgl.runs.train import train

    placement = placement or how.place()
    leader = placement.processes.leader
    try:
        train(experiment, folder, how, resume, data=data, placement=placement, deadline=deadline)
    except RunInterrupted as stop:
        if not leader:
            return 0
        print(f"\nfsgl: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except RunDiverged as error:
        if not leader:
            return 0
        print(f"fsgl: {error}", file=sys.stderr)
        return 1
    except PeerLost as error:
        if leader:
            print(f"fsgl: another process of this run died ({error}); {_how_to_go_on(folder)}", file=sys.stderr)
        return 1
    except torch.OutOfMemoryError as error:
        print(f"fsgl: {first_line(error)} A smaller optim.batch_size needs less.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nfsgl: left at once; {_how_to_go_on(folder)}", file=sys.stderr)
        leave(130)
        return 130
    except BrokenPipeError:
        print(f"fsgl: the reader of the output is gone; {_how_to_go_on(folder)}", file=sys.stderr)
        raise
    return 0


def _how_to_go_on(folder: Path) -> str:
    if not (folder / "experiment.json").exists():
        return "nothing was begun"
    from fsgl.runs.folder import how_to_go_on

    return f"to go on from the last save: {how_to_go_on(folder)}"


def print_settings(experiment: Experiment) -> None:
    """Every setting as the assignment that would set it, with what it may be and what it means."""
    from fsgl.recipes.experiment import setting_names
    from fsgl.settings import settings_of

    named = set(setting_names(experiment))
    settings = [each for each in settings_of(experiment) if each.name in named]
    assignments = [f"{each.name}={each.value}" for each in settings]
    wide, allowed = max(map(len, assignments)), min(40, max(len(each.allowed) for each in settings))
    print(f"# {experiment.recipe} on {experiment.data.name}; * marks what is not at its default")
    for assignment, each in zip(assignments, settings, strict=True):
        mark = "*" if each.changed else " "
        default = f" (default {each.default})" if each.changed else ""
        print(f"{assignment:<{wide}}  # {mark} {each.allowed:<{allowed}}  {each.rule.meaning}{default}".rstrip())


def _experiment(options: argparse.Namespace, assignments: list[str]) -> tuple[Experiment, Source | None]:
    """What to train, and the images where they had to be read to find that out."""
    from fsgl.recipes.experiment import override
    from fsgl.recipes.on_data import experiment_on
    from fsgl.runs.saved import experiment_of, read_experiment, read_record

    if options.resume:
        if options.run is None:
            raise UserError("--resume needs --run FOLDER, the run to go on with")
        given = assignments or options.data or options.replay or options.scratch or options.fine_tune
        if given or given_images(options):
            raise UserError("--resume takes all settings from the run folder; leave them off (--max-steps is allowed)")
        experiment = experiment_of(options.run, read_record(options.run))
        if isinstance(options.resume, str) and not Path(options.resume).is_file():
            where = options.run / "checkpoints"
            raise UserError(f"--resume {options.resume}: no such checkpoint; leave it off for the newest in {where}")
        if options.recipe not in (None, experiment.recipe):
            raise UserError(f"{options.run} holds a run of '{experiment.recipe}', not of '{options.recipe}'")
        return experiment, None
    if options.replay:
        if options.fine_tune:
            raise UserError("--from takes all settings from its file; leave --fine-tune off")
        if options.recipe or options.data:
            raise UserError("--from takes the recipe and the data from its file; leave RECIPE and --data off")
        experiment = read_experiment(options.replay)
        experiment = replace(experiment, data=replace(experiment.data, **given_images(options)))
        return override(experiment, *assignments), None
    if not options.recipe:
        raise UserError("name a recipe (fsgl recipes lists them), or a record with --from, or a run with --resume")
    data = "cifar100" if options.data is None else options.data  # an empty name is a mistake, no default
    begins = {"scratch": options.scratch, "fine_tune": options.fine_tune}
    return experiment_on(options.recipe, data, given_images(options), assignments, **begins)
