"""The options that are settings of an experiment, or say where its images are: of training, and of comparing."""

from __future__ import annotations

import argparse
from typing import Any

from fsgl.commands.arguments import folder
from fsgl.errors import UserError


def add_experiment(what: Any) -> None:
    """The options that are settings of an experiment, and where its images are."""
    what.add_argument(
        "--data", metavar="NAME|PATH", help="cifar100, imagenet-lt, ... or your images: a folder, table, list or .npz"
    )
    what.add_argument("--root", metavar="FOLDER", help="folder of the data set's archives or images (default: data)")
    what.add_argument("--train-list", metavar="FILE", help="list of training images (ImageNet-LT, lists, ...)")
    what.add_argument("--val-list", metavar="FILE", help="list of validation images, if there are any")
    what.add_argument("--test-list", metavar="FILE", help="list of test images")
    what.add_argument("--imbalance-factor", metavar="IF", help="largest over smallest class, 1 to 1000")
    what.add_argument("--draw", metavar="NAME", help="which images make the tail: ldam (default) or release")
    what.add_argument("--val", metavar="SHARE", help="share of training images for choosing an epoch; 0 for none")
    what.add_argument("--bad-images", metavar="WHAT", help="unreadable files: skip (default) and list, or error")
    what.add_argument(
        "--white-level", metavar="VALUE", help="of images of more than 8 bits: what is white (default: by the files)"
    )
    what.add_argument("--backbone", metavar="NAME", help="resnet34, resnet20-slim, timm:NAME, ...")
    what.add_argument("--epochs", metavar="N", help="passes over the training images")
    what.add_argument("--batch-size", metavar="N", help="images of one stream in a step")
    what.add_argument("--lr", metavar="RATE", help="base learning rate")


def add_transfer(train: Any) -> None:
    """The options of pretrained backbones."""
    transfer = train.add_argument_group("pretrained backbones (docs/pretrained.md)")
    transfer.add_argument("--pretrained", nargs="?", const="hub", metavar="FILE", help="the hub's, package or FILE")
    transfer.add_argument("--scratch", action="store_true", help="random weights for photographs of your own, too")
    transfer.add_argument("--freeze", action="store_const", const="heads", help="train the heads, not the backbone")
    transfer.add_argument(
        "--fine-tune", action="store_true", help="the heads first, then all of it (docs/pretrained.md)"
    )
    transfer.add_argument("--backbone-lr", metavar="SHARE", help="the backbone's learning rate, as a share of --lr")
    transfer.add_argument("--image-size", metavar="PIXELS", help="side of what it is shown (default: the model's own)")
    transfer.add_argument("--cached-views", metavar="N", help="with --freeze: train on kept features of N views")
    transfer.add_argument("--feature-cache", metavar="FOLDER", type=folder, help="where features are kept (a cache)")


def assignments_of(options: argparse.Namespace) -> list[str]:
    """The options that are settings, as name=value."""
    from fsgl.recipes.on_data import SHORT_NAMES

    if options.pretrained == "":  # a shell variable that is not set; "none" is scratch
        raise UserError("--pretrained is given an empty name; give a safetensors file, or nothing for the hub's")
    given = {name: getattr(options, short, None) for short, name in SHORT_NAMES.items()}
    return [f"{name}={value}" for name, value in given.items() if value is not None]


def given_images(options: argparse.Namespace) -> dict[str, Any]:
    """Where the images are, as far as the command line says so."""
    given = {name: getattr(options, name) for name in ("root", "train_list", "val_list", "test_list")}
    return {name: value for name, value in given.items() if value is not None}
