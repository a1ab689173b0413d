"""Settings that explain themselves: what a field means and which values it may have, said once, beside it.

    @dataclass(frozen=True)
    class OptimSpec:
        epochs: int = setting(200, "passes over the training images", at_least=1)

        def __post_init__(self) -> None:
            check(self, "optim")

From that come the checks, ``fsgl train RECIPE --settings`` and docs/settings.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fsgl.errors import UserError, unknown

_RULE = "rule"


@dataclass(frozen=True)
class Rule:
    """What a setting means, and which of its type's values it may have.

    choices: the words that it may be; joined: by which sign several of them may be joined.
    at_least, above, at_most, below: bounds of a number, which must be finite in any case.
    noun: what a wrong choice is called, where that is not the setting's name.  reason: for the bounds, if it helps.
    formerly: its name in earlier run folders, which is read and accepted still, and stands in an experiment's hash.
    """

    meaning: str
    choices: tuple[str, ...] = ()
    joined: str = ""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    noun: str = ""
    reason: str = ""
    formerly: str = ""

    @property
    def bounds(self) -> str:
        """In words, to follow "must be": "1 or more", "at least 0 and below 1"; "" for none."""
        low, high = self.at_least, self.at_most
        if low is not None and high is not None:
            return f"from {low} to {high}"
        if self.below is None and high is None:
            if low is not None:
                return f"{low} or more"
            return "" if self.above is None else "positive" if self.above == 0 else f"above {self.above}"
        parts = {"at least": low, "above": self.above, "at most": high, "below": self.below}
        return " and ".join(f"{word} {bound}" for word, bound in parts.items() if bound is not None)

    def allowed(self, value: object) -> str:
        """For people: the choices, the bounds, or the kind of thing that ``value``, its default, is."""
        if self.choices:
            return ", ".join(self.choices) + (f", or several joined by {self.joined}" if self.joined else "")
        kinds: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}
        return self.bounds or kinds.get(type(value), "")

    def check(self, value: Any, name: str) -> None:
        """Raises UserError, with the setting's name, for a value that is not allowed. None is left to the type."""
        if value is None:
            return
        if self.choices:
            for word in str(value).split(self.joined) if self.joined else [value]:
                if word not in self.choices:
                    raise unknown(self.noun or name, word, self.choices)
        elif isinstance(value, int | float) and not self._holds(value):
            why = f" ({self.reason})" if self.reason else ""
            raise UserError(f"{name} must be {self.bounds or 'a finite number'}{why}, not {value}")

    def _holds(self, value: float) -> bool:
        return (
            -math.inf < value < math.inf  # math.isfinite takes no whole number beyond a float's
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


def setting(default: Any, meaning: str, *, choices: Iterable[str] = (), later: bool = False, **rule: Any) -> Any:
    """A field of a dataclass of settings.

    default: its value, or a function without arguments that makes one (for settings that are a group of others).
    choices, and the rest: as ``Rule``'s.  later: it came after the first run folders were written, so that at its
    default it is no part of an experiment's hash (recipes/experiment.py), and earlier runs can be resumed.
    """
    metadata = {_RULE: Rule(meaning, tuple(choices), **rule), "later": later}
    if isinstance(default, Callable):  # type: ignore[arg-type]
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def meaning(text: str) -> dict[str, Any]:
    """The ``metadata`` of a field that has no default."""
    return {_RULE: Rule(text), "later": False}


def rule_of(item: dataclasses.Field[Any]) -> Rule:
    """What was declared beside a field; a rule that forbids nothing where nothing was."""
    return item.metadata.get(_RULE) or Rule("")


def default_of(item: dataclasses.Field[Any]) -> Any:
    """The value of a field that is not given; ``dataclasses.MISSING`` where it must be."""
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def check(spec: Any, group: str) -> None:
    """Raises UserError for the first field of a dataclass whose value its rule forbids.

    group: under which name its settings are known: "optim" for optim.epochs.
    """
    for item in dataclasses.fields(spec):
        rule_of(item).check(getattr(spec, item.name), f"{group}.{item.name}" if group else item.name)


@dataclass(frozen=True)
class Setting:
    """One setting as it stands.  default: of its dataclass, which a recipe or somebody may have changed."""

    name: str
    value: Any
    default: Any
    rule: Rule

    @property
    def changed(self) -> bool:
        return self.default is not dataclasses.MISSING and bool(self.value != self.default)

    @property
    def allowed(self) -> str:
        known = self.rule.allowed(self.value if self.default in (None, dataclasses.MISSING) else self.default)
        return known + ", or none" * bool(known and self.default is None)


def settings_of(spec: Any, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a dataclass and of the dataclasses in it, in order, by its dotted name."""
    for item in dataclasses.fields(spec):
        value, name = getattr(spec, item.name), prefix + item.name
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, name + ".")
        else:
            yield Setting(name, value, default_of(item), rule_of(item))
