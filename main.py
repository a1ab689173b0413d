"""The published command line of FSGL, flag for flag, over the recipes of the package ``fsgl``.

    python main.py --dataset cifar10 -a resnet34 --imbanlance_rate 0.02 ... --rho 0.05 --fcc 0.5

Names, spellings and defaults are the release's. ``--behaviour fsgl`` (the default) does what each flag says, and
``--behaviour release`` what the release does where that is something else (docs/departures.md).
run.sh has the published experiments; ``fsgl train`` is the command for everything else.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
import time
from argparse import ArgumentTypeError, Namespace
from argparse import RawDescriptionHelpFormatter as HelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from fsgl.commands.cli import Parser, guarded
    from fsgl.errors import UserError
except ModuleNotFoundError as error:
    sys.exit(f"main.py: {error}; install the package first: pip install -e .")

if TYPE_CHECKING:
    from fsgl.recipes.experiment import Experiment

# By the release's names (sic): ours, and the number of classes where no list decides it.
DATA_SETS = {
    "cifar10": ("cifar10", 10),
    "cifar100": ("cifar100", 100),
    "ImageNet-LT": ("imagenet-lt", None),
    "iNaturelist2018": ("inaturalist2018", None),
}
CIFAR_ARCHS = ("resnet34", "resnet18", "resnet50", "resnet32", "resnet32-slim", "resnet20-slim", "resnet8-slim")
LIST_ARCHS = ("resnext50_32x4d",)
LISTS = ("./data/data_txt/ImageNet_LT_train.txt", "./data/data_txt/ImageNet_LT_test.txt")
OUTPUT = "./output/"
FOLDERS = {"root_log", "root_model", "store_name"}
RUNNING = FOLDERS | {"gpu", "workers", "print_freq", "resume", "start_epoch", "max_steps"}  # decide no result

DESCRIPTION = """FSGL by its published command line.

  python main.py --dataset cifar100 --imbanlance_rate 0.02 --resample_weighting 0.0 --label_weighting 1.2 \\
      --contrast_weight 4 --fcc 1         a published experiment; ./run.sh lists them all by name
  python main.py --resume output/RUN      go on with a run, by its own settings"""


def number(text: str) -> float:
    """A finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def factor(text: str) -> float:
    """The imbalance factor of a rate: 1 / rate."""
    rate = number(text)
    if not 0.001 <= rate <= 1:
        raise ArgumentTypeError(f"smallest over largest class is from 0.001 to 1 (0.01 for IF 100), not {text}")
    # Counts are rounded down, so an inverse that is an ulp below the rate may cost a class an image.
    return 1 / rate if 1 / (1 / rate) >= rate else math.nextafter(1 / rate, 0)


def whole(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """A reader of whole numbers from low to high."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ArgumentTypeError(f"'{text}' is not a whole number from {low} to {high}")
        return int(text)

    return read


def build_parser() -> tuple[Parser, dict[str, Any], list[str]]:
    """The parser, which leaves None where a flag is not given; the defaults that then hold; and all spellings."""
    parser = Parser(prog="main.py", description=DESCRIPTION, formatter_class=HelpFormatter, allow_abbrev=False)
    defaults: dict[str, Any] = {}
    spellings: list[str] = []

    def flag(names: str, metavar: str | None, kind: Any, default: Any, help: str) -> None:
        read = {"choices": kind} if isinstance(kind, tuple) else {"type": kind}
        shown = "" if default is None else f" (default: {default})"
        spellings.extend(names.split())
        defaults[group.add_argument(*names.split(), metavar=metavar, help=help + shown, **read).dest] = default

    group = parser.add_argument_group("data")
    flag("--dataset", None, tuple(DATA_SETS), "cifar100", "data set")
    flag("--root", "FOLDER", str, "data/", "where the CIFAR archives or the images are")
    flag("--dir_train_txt", "FILE", str, None, f"list of training images (default for ImageNet-LT: {LISTS[0]})")
    flag("--dir_test_txt", "FILE", str, None, f"list of test images (default for ImageNet-LT: {LISTS[1]})")
    flag("--num_classes", "K", whole(1), None, "refused unless it is the data set's own number (default: that number)")
    flag("--imbanlance_rate --imbalance_rate --imb_factor", "MU", factor, None,
         "CIFAR: smallest over largest class, 0.001 to 1; the imbalance factor is 1 / MU (default: 0.01)")
    flag("--draw", None, ("release", "ldam"), None, "CIFAR: the release's images for --seed (default), or LDAM-DRW's")
    flag("--val", "SHARE", number, 0.0, "share of the training images for choosing an epoch; 0 trains on all")

    group = parser.add_argument_group("network and training")
    flag("-a --arch", "ARCH", CIFAR_ARCHS + LIST_ARCHS, None,
         f"CIFAR: one of {', '.join(CIFAR_ARCHS)} (default: resnet34); the others: {LIST_ARCHS[0]}")
    flag("--lr --learning-rate", "RATE", number, 0.01, "base learning rate")
    flag("--epochs", "N", whole(1), 200, "passes over the training images")
    flag("-b --batch_size", "N", whole(2), 64, "images of each of the two streams in a step")
    flag("--momentum", "M", number, 0.9, "of SGD")
    flag("--wd --weight_decay", "W", number, 5e-3, "weight decay")
    flag("--seed", "N", whole(0, 2**32 - 1), 3407, "of the release's draw, the weights and all drawn in training")

    group = parser.add_argument_group("method")
    flag("--beta", "B", number, 0.5, "mixtures take lambda ~ Beta(B, B)")
    flag("--resample_weighting", "Q", number, 0.2, "class power of the rebalanced stream: 0 uniform, 1 class-balanced")
    flag("--label_weighting", "P", number, 1.0, "class power of the weighted labels")
    flag("--contrast_weight", "C", number, 10.0, "weight of the consistency loss")
    flag("--rho", "R", number, 0.05, "radius of SAM; 0 or less is plain SGD")
    flag("--fcc", "G", number, 0.0, "strength of feature scaling (FSM); 0 is none")
    flag("--fcc_same", "G", number, 0.0, "ablation: every class scaled by 1 + G")
    flag("--fcc_half", "G", number, 0.0, "ablation: only the frequent half of the classes is scaled")
    flag("--behaviour", None, ("fsgl", "release"), "fsgl",
         "fsgl: every flag does what it says. release: as the authors' code does it: --beta is not used, --fcc_same "
         "and --fcc_half read --fcc's value, the best test epoch is the headline, ... (docs/departures.md)")

    group = parser.add_argument_group("how it runs (changes a result by rounding at most)")
    flag("--gpu", "N", whole(0, 63), None, "which GPU (default: the first, or else the CPU)")
    flag("-j --workers", "N", whole(0), None, "processes that decode image files (default: 4, or one for each CPU)")
    flag("-p --print_freq", "N", whole(1), 1000, "a line every N steps of an epoch, besides one a minute and an epoch")
    flag("--max-steps", "N", whole(1), None, "stop after N steps in all, for trying things")
    flag("--resume", "PATH", str, None,
         "go on with a run folder, or from a checkpoint in it; give its command's other flags again, or none of them")
    flag("--start-epoch", "N", whole(0), 0, "with --resume: refused unless it is the restored epoch, or 0")
    flag("--root_model", "FOLDER", str, None, f"the run folder is FOLDER/NAME (default: {OUTPUT})")
    flag("--root_log", "FOLDER", str, None, "the same: logs and weights are in one folder, so another one is refused")
    flag("--store_name", "NAME", str, None, f"(default, also for {OUTPUT}: data set, arch, rate, recipe and time)")
    return parser, defaults, spellings


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """The flags with their defaults; ``given`` names those on the command line."""
    parser, defaults, spellings = build_parser()
    options, rest = parser.parse_known_args(arguments)
    for word in rest:
        near = difflib.get_close_matches(word.split("=")[0], spellings, n=1)
        parser.error(f"unknown argument '{word}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    if options.start_epoch and not options.resume:
        parser.error("--start-epoch needs --resume: the epoch comes with the weights that belong to it")
    if options.dataset == "ImageNet-LT":
        defaults |= {"dir_train_txt": LISTS[0], "dir_test_txt": LISTS[1]}
    given = {name: value for name, value in vars(options).items() if value is not None}
    return Namespace(**{**defaults, **given}, given=frozenset(given))


def feature_scaling(options: Namespace) -> tuple[str, float, str]:
    """Recipe, strength and profile that the three --fcc flags stand for."""
    strengths = {"linear": options.fcc, "same": options.fcc_same, "half": options.fcc_half}
    used = [profile for profile, strength in strengths.items() if strength]
    if options.behaviour == "release":
        return "release", options.fcc, "*".join(used).replace("half", "half-release") or "linear"
    if len(used) > 1:
        raise UserError("give one of --fcc, --fcc_same and --fcc_half (--behaviour release multiplies them)")
    if not used:
        return "glmc-sam" if options.rho > 0 else "glmc", 0.0, "linear"
    return "fsgl" if used == ["linear"] else f"fsgl-{used[0]}", strengths[used[0]], used[0]


def check(options: Namespace) -> None:
    """Raises UserError for flags that the data set has no use for: none is passed over in silence."""
    name, given, (ours, classes) = options.dataset, options.given, DATA_SETS[options.dataset]
    of_lists, archs = {"dir_train_txt", "dir_test_txt"}, CIFAR_ARCHS if classes else LIST_ARCHS
    if options.arch not in (None, *archs):
        raise UserError(f"-a {options.arch} is not for {name}, whose images want {', '.join(archs)}")
    if classes and given & of_lists:
        raise UserError(f"{name} is not given by lists; leave --dir_train_txt and --dir_test_txt off")
    if not classes and given & {"imbanlance_rate", "draw"}:
        raise UserError(f"{name} has its own tail; leave --imbanlance_rate and --draw off")
    if name == "iNaturelist2018" and not given >= of_lists:
        raise UserError(f"{name} needs --dir_train_txt and --dir_test_txt; the defaults are ImageNet-LT's")
    if options.num_classes and not classes:
        from fsgl.data.readers.lists import load_lists

        classes = load_lists(ours, options.root, options.dir_train_txt, options.dir_test_txt).num_classes
    if options.num_classes not in (None, classes):
        raise UserError(f"--num_classes {options.num_classes}, but {name} has {classes} classes")


def experiment_of(options: Namespace) -> Experiment:
    """The experiment that the flags describe."""
    from fsgl.recipes import make_experiment

    def values(*names: str) -> dict[str, Any]:
        return {name: getattr(options, name) for name in names}

    recipe, gamma, profile = feature_scaling(options)
    name, classes = DATA_SETS[options.dataset]
    base: Any = make_experiment(recipe, name, options.root, options.dir_train_txt, options.dir_test_txt)
    data = replace(base.data, val=options.val)
    if classes:
        draw, factor = options.draw or "release", options.imbanlance_rate or 100.0
        data = replace(data, imbalance_factor=factor, draw=draw, draw_seed=options.seed if draw == "release" else None)
    heeded = ["resample_weighting", "label_weighting", "contrast_weight"] + ["beta"] * (options.behaviour == "fsgl")
    scaling = replace(base.method.feature_scaling, gamma=gamma, profile=profile)
    return replace(
        base,
        data=data,
        backbone=options.arch or base.backbone,
        method=replace(base.method, feature_scaling=scaling, **values(*heeded)),
        optim=replace(base.optim, weight_decay=options.wd, **values("epochs", "batch_size", "momentum")),
        schedule=replace(base.schedule, lr=options.lr),
        sam=replace(base.sam, rho=options.rho),
        seed=options.seed,
    )


def new_folder(options: Namespace, experiment: Experiment) -> Path:
    """The run folder: root_model/store_name, or a name made of data set, arch, rate, recipe and time."""
    from fsgl.runs.folder import unused_folder

    log, model = options.root_log or options.root_model, options.root_model or options.root_log
    if log and model and Path(log).resolve() != Path(model).resolve():
        raise UserError(f"a run is one folder, so --root_log {log} and --root_model {model} must be the same")
    parent = Path(model or OUTPUT)
    if options.store_name not in (None, OUTPUT):
        return parent / options.store_name
    factor = experiment.data.imbalance_factor
    pieces = [options.dataset, experiment.backbone, factor and f"{1 / factor:g}", experiment.recipe]
    return unused_folder(parent / "_".join([piece for piece in pieces if piece] + [time.strftime("%Y%m%d-%H%M%S")]))


def run_to_resume(options: Namespace) -> tuple[Experiment, Path, Any]:
    """The run that --resume names, its folder, and where to go on: a checkpoint, or True for the newest."""
    from fsgl.engine.checkpoint import list_checkpoints, load_checkpoint
    from fsgl.runs.saved import read_experiment

    path = Path(options.resume)
    folder = path.parent.parent if path.is_file() else path
    record = folder / "experiment.json"
    if not record.is_file():
        raise UserError(f"--resume {path}: neither a run folder nor a checkpoint in one")
    if options.given & FOLDERS:
        raise UserError("--resume names the run folder; leave --root_log, --root_model and --store_name off")
    experiment = read_experiment(record)
    if options.given - RUNNING and experiment_of(options).hash != experiment.hash:
        raise UserError(f"{folder} holds a run of other settings; give its own flags again, or none of them")
    if options.start_epoch:
        found = [path] if path.is_file() else list_checkpoints(folder / "checkpoints")
        epoch = load_checkpoint(found[0])["state"]["epoch"] if found else 0
        if options.start_epoch != epoch:
            raise UserError(f"--start-epoch {options.start_epoch}, but {path} goes on at {epoch}; leave it off")
    return experiment, folder, path.is_dir() or path


def announce(experiment: Experiment, folder: Path) -> None:
    """Which behaviour, which images and where."""
    data, release = experiment.data, experiment.recipe == "release"
    behaviour = "release (--beta is not used, --fcc_same and --fcc_half read --fcc's value)" if release else "fsgl"
    tail = f"IF {data.imbalance_factor:g}, draw {data.draw}" if data.imbalance_factor else "its own tail"
    where = f"{data.name} ({tail}), {experiment.backbone}, seed {experiment.seed} -> {folder}"
    print(f"behaviour {behaviour}: {experiment.recipe} on {where}")


def run(options: Namespace) -> int:
    """Train, or go on, and print the result. Returns the exit code."""
    check(options)
    from fsgl.commands.train import train_and_explain
    from fsgl.engine.runtime import Runtime
    from fsgl.report.summary import print_run
    from fsgl.runs.saved import read_history, read_record

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    device = "auto" if options.gpu is None else f"cuda:{options.gpu}"
    workers = min(4, cpus) if options.workers is None else options.workers
    runtime = Runtime(device, workers, options.max_steps, print_every=options.print_freq)
    placement = runtime.place()  # a GPU that is not there is refused before anything is read
    if options.resume is None:
        experiment, resume = experiment_of(options), False
        folder = placement.processes.agree(new_folder(options, experiment))
    else:
        experiment, folder, resume = run_to_resume(options)
    announce(experiment, folder)
    code = train_and_explain(experiment, folder, runtime, resume, placement)
    if code == 0 and placement.processes.leader:
        print_run(folder, read_record(folder), read_history(folder))
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 for a run that diverged; 2 for a user's mistake; 128 + signal for an interruption."""
    return guarded("main.py", lambda: run(parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
