from __future__ import annotations

import re

from benchmarks.pages.settings import PAGE, settings_page

from fsgl.recipes import RECIPES, make_experiment
from fsgl.recipes.experiment import setting_names


def test_the_page_is_what_the_code_says_and_names_every_setting() -> None:
    page = settings_page()
    assert PAGE.read_text(encoding="utf-8") == page, "make docs writes it anew"
    named = set(re.findall(r"^\\| `([^`]+)`", page, flags=re.MULTILINE))
    for recipe in RECIPES:
        assert set(setting_names(make_experiment(recipe, "cifar10"))) <= named
