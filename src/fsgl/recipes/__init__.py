"""Named experiments: a recipe gives the structure and the published values, the command line changes values."""

from __future__ import annotations

from fsgl.recipes.digits import digits
from fsgl.recipes.long_tail import RECIPES, SAM, make_experiment

__all__ = ["RECIPES", "SAM", "digits", "make_experiment"]
