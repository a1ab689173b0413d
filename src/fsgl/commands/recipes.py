"""``fsgl recipes``: what can be trained, on which data."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """The options."""
    commands.add_parser("recipes", help="list recipes, data sets and backbones", allow_abbrev=False)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl recipes``."""
    from fsgl.data.known import DATA_SETS
    from fsgl.models.backbones import BACKBONES
    from fsgl.recipes import RECIPES

    print("recipes (fsgl train RECIPE --data NAME)")
    print(f"  {'digits':<24}FSGL beside cross-entropy on the embedded digits: the demonstration")
    for name, recipe in RECIPES.items():
        print(f"  {name:<24}{(recipe.__doc__ or '').strip().splitlines()[0]}")
    print(f"  {'RECIPE+sam':<24}Any of these with sharpness-aware minimisation, where it has none.")
    print("\ndata sets (--data NAME)")
    for name, kind in DATA_SETS.items():
        print(f"  {name:<24}{kind.note}")
    print("\nbackbones (--backbone NAME)")
    for name, info in BACKBONES.items():
        print(f"  {name:<24}{info.note}")
    print(f"  {'timm:NAME':<24}any model of timm (pip install 'fsgl[timm]'), with --pretrained its published weights")
    return 0
