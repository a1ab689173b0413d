"""The options of the commands around training; cli.py has those of training itself. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

FORM = argparse.RawDescriptionHelpFormatter

COMPARE = """Recipes by seeds on the same images, each cell a run folder, and what can be said of their differences.

RECIPE is one of 'fsgl recipes'; RECIPE+sam is that with SAM; RECIPE+ADJUSTMENT is its run adjusted afterwards, tuned on
validation images (fsgl adjust): cross-entropy+tau-norm. Settings (name=value) and options hold for all of them.

What is complete is not trained again and what was begun goes on, so the same command, run again, finishes the grid; a
cell that fails is marked and the rest go on. Written into --runs: comparison.html, .md and .json."""

REPORT = """Accuracy by class, curves, confusion, reliability, features and their norms, and the tail's worst mistakes.

Written into the run folder: report.html, one self-contained page; figures/ as PNG and SVG; tables/ as Markdown, CSV
and LaTeX."""

INSPECT = """Every image opened once: the tail and its groups, sizes, unreadable files, the same image twice (and across
parts), missing classes, labels that may be wrong, and what to train. Nothing is written unless asked for."""

PREPARE = """Decode every image once, shrink it, and store all of them for access in any order.

Training takes OUT as it takes PATH: fsgl train fsgl --data OUT. Stop it whenever you like; the same command goes on."""

PREDICT = """The most probable classes of images. The training images are not needed.

Probabilities are calibrated where the run had validation images (a temperature was fitted to them). --prior says how
often each class is to be expected where the images come from; without it, as the network takes it: a rebalanced
classifier (FSGL, GLMC) all classes alike, cross-entropy as often as in training."""

ADJUST = """Mend a trained run without training: a new run folder that names its parent.

tau-norm, max-norm, logit-adjustment    the classifier's rows or biases, for the tail's sake
temperature, group-temperature          honest probabilities; the second one a temperature for each of many,
                                        medium and few (by the class predicted)
prior                                   for class frequencies other than in training: given, or estimated from
                                        unlabelled images of the place where it will be used

What is to be chosen is chosen by the validation images, never by the test images; --value takes a value instead."""

EXPORT = """The backbone and the classifier that predicts, and nothing of training, as one file with class names,
training counts and what must be done to an image in its metadata. The file is compared with the network before it is
kept."""

SERVE = """A page on this machine: drop, paste or choose images, and see the most probable classes, how many training
images each had, and the nearest training images. POST /predict with the image as the body answers in JSON. Nothing is
written to disk."""


def folder(text: str) -> Path:
    """A path that was given; an empty one is a mistake."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def add_experiment(what: Any) -> None:
    """The options that are settings of an experiment, and where its images are."""
    what.add_argument(
        "--data", metavar="NAME|PATH", help="cifar100, imagenet-lt, ... or your images: a folder, table, list or .npz"
    )
    what.add_argument("--root", metavar="FOLDER", help="where its archives or images are (default: data)")
    what.add_argument("--train-list", metavar="FILE", help="ImageNet-LT and its like, lists: list of training images")
    what.add_argument("--val-list", metavar="FILE", help="... of validation images, where there are some")
    what.add_argument("--test-list", metavar="FILE", help="... and of test images")
    what.add_argument("--imbalance-factor", metavar="IF", help="largest over smallest class, 1 to 1000")
    what.add_argument("--draw", metavar="NAME", help="which images make the tail: ldam (default) or release")
    what.add_argument("--val", metavar="SHARE", help="share of training images for choosing an epoch; 0 for none")
    what.add_argument("--bad-images", metavar="WHAT", help="unreadable files: skip (default) and list, or error")
    what.add_argument("--backbone", metavar="NAME", help="resnet34, resnet20-slim, timm:NAME, ...")
    what.add_argument("--epochs", metavar="N", help="passes over the training images")
    what.add_argument("--batch-size", metavar="N", help="images of one stream in a step")
    what.add_argument("--lr", metavar="RATE", help="base learning rate")


def add_transfer(train: Any) -> None:
    """The options of pretrained backbones."""
    transfer = train.add_argument_group("pretrained backbones (docs/pretrained.md)")
    transfer.add_argument("--pretrained", nargs="?", const="hub", metavar="FILE", help="weights: the hub's, or FILE's")
    transfer.add_argument("--freeze", action="store_const", const="heads", help="train the heads, not the backbone")
    transfer.add_argument("--backbone-lr", metavar="SHARE", help="the backbone's learning rate, as a share of --lr")
    transfer.add_argument("--image-size", metavar="PIXELS", help="side of what it is shown (default: the model's own)")
    transfer.add_argument("--cached-views", metavar="N", help="with --freeze: train on kept features of N views")
    transfer.add_argument("--feature-cache", metavar="FOLDER", type=folder, help="where (default: the user's cache)")


def add_compare(commands: Any) -> None:
    """``fsgl compare``."""
    compare = commands.add_parser(
        "compare", help="train recipes by seeds, and tell which differ", description=COMPARE, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    compare.add_argument("recipes", nargs="+", metavar="RECIPE", help="the others are held against the first")
    what = compare.add_argument_group("what is trained")
    add_experiment(what)
    what.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N - 1 (5)")
    add_transfer(compare)
    how = compare.add_argument_group("how it runs")
    how.add_argument("--runs", type=folder, metavar="FOLDER", help="of the run folders (default: runs/compare-DATA)")
    how.add_argument("--against", metavar="RECIPE", help="what the others are held against (the first)")
    how.add_argument("--device", default="auto", help="auto (default): all GPUs, or the CPU; cpu, cuda, cuda:1, ...")
    how.add_argument("--jobs", type=int, metavar="N", help="runs at a time (one a GPU; on CPUs one a core)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads of each run (cores / jobs)")
    how.add_argument("--workers", type=int, default=2, metavar="N", help="decoding processes of each run (2)")
    how.add_argument("--precision", default="auto", metavar="NAME", help="float32, tf32, bf16 or auto (default)")
    how.add_argument("--ray", metavar="ADDRESS", help="on a Ray cluster that shares the disk: its address, or local")
    how.add_argument("--record", type=folder, metavar="FOLDER", help="write a record of each run, as in results/")


def add_report(commands: Any) -> None:
    """``fsgl report``."""
    report = commands.add_parser(
        "report", help="a trained run as a page with pictures", description=REPORT, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    report.add_argument("run", type=folder, metavar="RUN", help="a run folder")
    report.add_argument("--out", type=folder, metavar="FOLDER", help="where to write (default: the run folder)")
    report.add_argument("--no-images", action="store_true", help="from the saved files alone, without the test images")
    report.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")
    report.add_argument("--workers", type=int, default=2, metavar="N", help="processes that decode image files (2)")
    report.add_argument("--threads", type=int, metavar="N", help="CPU threads of this process")


def add_inspect(commands: Any) -> None:
    """``fsgl inspect``."""
    inspect = commands.add_parser(
        "inspect", help="look a set of images over before training", description=INSPECT, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    inspect.add_argument("path", type=folder, metavar="PATH", help="as for train --data, or a data set's name")
    inspect.add_argument("--root", metavar="FOLDER", help="where the paths of a table or list start, or archives are")
    inspect.add_argument("--html", type=folder, metavar="FILE", help="write one self-contained page, with pictures")
    inspect.add_argument("--json", metavar="FILE", help="write all findings as JSON; - prints that and nothing else")
    inspect.add_argument("--no-label-errors", action="store_true", help="do not look for labels that may be wrong")
    inspect.add_argument("--workers", type=int, default=2, metavar="N", help="processes (2)")


def add_prepare(commands: Any) -> None:
    """``fsgl prepare``."""
    prepare = commands.add_parser(
        "prepare", help="decode and shrink a set of images once, for fast training", description=PREPARE,
        formatter_class=FORM, allow_abbrev=False,
    )  # fmt: skip
    prepare.add_argument("path", type=folder, metavar="PATH", help="the images, as for --data; with --verify OUT")
    prepare.add_argument("out", nargs="?", type=folder, metavar="OUT", help="a new folder")
    prepare.add_argument("--root", metavar="FOLDER", help="where the paths of a table or list start")
    prepare.add_argument("--short-side", type=int, default=256, metavar="N", help="pixels of the shorter side (256)")
    prepare.add_argument(
        "--encoding", default="raw", help="raw (default): pixels, the fastest; jpeg: a sixth of the space, quality 95"
    )
    prepare.add_argument("--workers", type=int, default=2, metavar="N", help="processes (2)")
    prepare.add_argument("--bad-images", default="skip", metavar="WHAT", help="skip (default) and list, or error")
    prepare.add_argument("--verify", action="store_true", help="check every byte of a prepared set")


def add_predict(commands: Any) -> None:
    """``fsgl predict``."""
    predict = commands.add_parser(
        "predict", help="ask a trained network about images", description=PREDICT, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    predict.add_argument("run", type=folder, metavar="RUN", help="a run folder")
    predict.add_argument("paths", nargs="+", metavar="PATH", help="images, folders of them, or patterns like '*.jpg'")
    predict.add_argument("--format", default="table", help="table (default), csv or json")
    predict.add_argument("--output", type=folder, metavar="FILE", help="write there instead (a table as csv)")
    predict.add_argument("--top-k", type=int, default=1, metavar="K", help="so many classes for each image (1)")
    predict.add_argument("--prior", metavar="WHAT", help="class frequencies: uniform, training, or a CSV file")
    predict.add_argument("--weights", default="last", choices=("last", "best-val"), help="which epoch's (last)")
    predict.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")
    predict.add_argument("--workers", type=int, default=2, metavar="N", help="decoding threads (2)")
    predict.add_argument("--threads", type=int, metavar="N", help="CPU threads of this process")


def add_adjust(commands: Any) -> None:
    """``fsgl adjust``."""
    adjust = commands.add_parser(
        "adjust", help="mend a trained run without training", description=ADJUST, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    adjust.add_argument("run", type=folder, metavar="RUN", help="a run folder")
    adjust.add_argument("adjustment", metavar="ADJUSTMENT", help="one of those above")
    adjust.add_argument("--value", type=float, metavar="X", help="tau, the radius or the temperature (default: tuned)")
    adjust.add_argument("--prior", metavar="WHICH", help="uniform, training, or a CSV file of class and weight")
    adjust.add_argument("--unlabelled", nargs="+", metavar="PATH", help="images, folders, patterns to estimate it from")
    adjust.add_argument("--estimator", default="em", metavar="NAME", help="em (default) or bbse")
    adjust.add_argument("--out", type=folder, metavar="FOLDER", help="the new run folder (default: RUN+ADJUSTMENT)")
    adjust.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")
    adjust.add_argument("--workers", type=int, default=2, metavar="N", help="processes that decode image files (2)")
    adjust.add_argument("--threads", type=int, metavar="N", help="CPU threads of this process")


def add_export(commands: Any) -> None:
    """``fsgl export``."""
    export = commands.add_parser(
        "export", help="a trained network as one file, without fsgl", description=EXPORT, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    export.add_argument("run", type=folder, metavar="RUN", help="a run folder")
    export.add_argument("--format", default="onnx", help="onnx (default), torch (a torch.export program), safetensors")
    export.add_argument("--output", type=folder, metavar="FILE", help="default: model-exported.* in the run folder")
    export.add_argument("--preprocess", action="store_true", help="the graph takes 8-bit pixels and normalises them")
    export.add_argument("--images", nargs="+", metavar="PATH", help="to compare on, instead of the run's test images")
    export.add_argument("--licence", default="unstated", metavar="TEXT", help="of the weights, for the metadata")
    export.add_argument("--weights", default="last", choices=("last", "best-val"), help="which epoch's (last)")


def add_serve(commands: Any) -> None:
    """``fsgl serve``."""
    serve = commands.add_parser(
        "serve", help="a local page that answers for images", description=SERVE, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    serve.add_argument("run", type=folder, metavar="RUN", help="a run folder")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
    serve.add_argument("--port", type=int, default=8000, metavar="N", help="port (8000)")
    serve.add_argument("--no-nearest", action="store_true", help="do not look for the nearest training images")
    serve.add_argument("--weights", default="last", choices=("last", "best-val"), help="which epoch's (last)")
