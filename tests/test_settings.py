from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsgl.errors import UserError
from fsgl.methods import METHODS
from fsgl.recipes import make_experiment
from fsgl.settings import Rule, check, setting, settings_of


@dataclass(frozen=True)
class Inner:
    kind: str = setting("a", "which", choices=("a", "bee"), joined="*")

    def __post_init__(self) -> None:
        check(self, "outer.inner")


@dataclass(frozen=True)
class Outer:
    size: int = setting(3, "how large", at_least=1, reason="none is too few")
    share: float | None = setting(None, "how much", above=0, below=1)
    inner: Inner = setting(Inner, "a group")

    def __post_init__(self) -> None:
        check(self, "outer")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 0}, r"outer.size must be 1 or more \(none is too few\), not 0"),
        ({"share": 0.0}, "outer.share must be above 0 and below 1, not 0.0"),
        ({"share": float("nan")}, "not nan"),
        ({"share": float("inf")}, "not inf"),
    ],
)
def test_a_forbidden_value_is_answered_by_name_and_bounds(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Outer(**wrong)  # type: ignore[arg-type]


def test_choices_may_be_joined() -> None:
    assert Inner("a*bee").kind == "a*bee"
    with pytest.raises(UserError, match=r"unknown outer\.inner\.kind 'be'; did you mean 'bee'"):
        Inner("a*be")


def test_a_setting_tells_its_name_value_default_and_whether_it_was_changed() -> None:
    size, share, kind = settings_of(Outer(size=5))
    assert (size.name, size.value, size.default, size.changed, size.allowed) == ("size", 5, 3, True, "1 or more")
    assert (share.changed, share.allowed) == (False, "above 0 and below 1, or none")
    assert (kind.name, kind.allowed, kind.rule.meaning) == ("inner.kind", "a, bee, or several joined by *", "which")


BOUND = st.none() | st.integers(-3, 3)


@given(at_least=BOUND, above=BOUND, at_most=BOUND, below=BOUND, value=st.integers(-4, 4) | st.floats(-4, 4))
def test_bounds_are_those_that_the_words_say(
    at_least: int | None, above: int | None, at_most: int | None, below: int | None, value: float
) -> None:
    rule = Rule("", at_least=at_least, above=above, at_most=at_most, below=below)
    refused = (
        (at_least is not None and value < at_least) or (above is not None and value <= above)
        or (at_most is not None and value > at_most) or (below is not None and value >= below)
    )  # fmt: skip
    if refused:
        with pytest.raises(UserError):
            rule.check(value, "x")
    else:
        rule.check(value, "x")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_setting_says_what_it_means(method: type) -> None:
    experiment = dataclasses.replace(make_experiment("fsgl", "cifar10"), method=method())
    for each in settings_of(experiment):
        assert each.rule.meaning or each.name == "recipe", each.name
