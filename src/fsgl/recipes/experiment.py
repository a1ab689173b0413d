"""An experiment: every setting that decides a result, validated, hashed, written to and read from JSON.

Structure comes from a recipe, values from the command line: ``override(experiment, "schedule.lr=0.1")``
finds the setting by its dotted name and reads the value by the field's type. A name that is no setting of
this experiment is an error that names the nearest one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fsgl.data.load import DataSpec
from fsgl.errors import UserError, unknown
from fsgl.methods import METHODS, Method
from fsgl.models.backbones import check_backbone
from fsgl.models.packaged import packaged
from fsgl.models.timm_backbones import is_timm
from fsgl.models.transfer import HUB, PACKAGE, TransferSpec
from fsgl.optim.averaging import AveragingSpec
from fsgl.optim.sam import SamSpec
from fsgl.optim.schedule import Schedule
from fsgl.recipes.tuning import TuningSpec
from fsgl.settings import check, default_of, meaning, rule_of, setting, settings_of

OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True)
class OptimSpec:
    """The descent. weight_decay applies to every parameter: to its gradient (sgd), or to itself (adamw)."""

    epochs: int = setting(200, "passes over the training images", at_least=1)
    batch_size: int = setting(64, "images of one stream in a step", at_least=2, reason="BatchNorm needs a batch")
    momentum: float = setting(0.9, "of SGD", at_least=0, below=1)
    weight_decay: float = setting(5e-3, "L2 penalty on every parameter", at_least=0)
    kind: str = setting(
        "sgd", "torch's SGD, or AdamW, which fine-tuning most often takes at a rate of about 1e-4",
        choices=OPTIMIZERS, later=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self, "optim")
        if self.kind != "sgd" and self.momentum != 0.9:
            raise UserError(f"optim.momentum is of sgd, not of {self.kind}, whose betas are torch's own")


@dataclass(frozen=True)
class EvaluationSpec:
    """When and how accuracy is measured."""

    every: int = setting(1, "epochs between evaluations; the last epoch is always evaluated", at_least=1)
    many: int = setting(100, "a class of more training images than this is many-shot")
    few: int = setting(20, "a class of at most so many training images is few-shot")
    headline: str = setting(
        "last",
        "epoch whose figure is reported: the last; the best on validation images; or the best on the test set, which "
        "the release reports and which is not fair",
        choices=("last", "validation", "test"),
    )
    mirror: bool = setting(
        False, "logits at test are the mean of those of an image and of its mirror image; not for letters and the like",
        later=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self, "evaluation")
        if not 0 <= self.few <= self.many:
            raise UserError(f"evaluation.few ({self.few}) must be from 0 to evaluation.many ({self.many})")


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a result. Where and how fast it runs (device, workers) is not part of it."""

    recipe: str
    data: DataSpec
    backbone: str = field(metadata=meaning("the network under the heads: one of ours, or timm:NAME"))
    method: Method
    optim: OptimSpec = field(default_factory=OptimSpec)
    schedule: Schedule = field(default_factory=Schedule)
    sam: SamSpec = field(default_factory=SamSpec)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    seed: int = setting(0, "of the weights and of everything drawn in training", at_least=0)
    transfer: TransferSpec = setting(TransferSpec, "", later=True)
    averaging: AveragingSpec = setting(AveragingSpec, "", later=True)
    tuning: TuningSpec = setting(TuningSpec, "", later=True)

    def __post_init__(self) -> None:
        check(self, "")
        check_backbone(self.backbone)
        if self.transfer.weights == PACKAGE:
            packaged(self.backbone)  # of one that has none, it says so
        if self.transfer.weights == HUB and not is_timm(self.backbone):
            raise UserError(
                f"the hub has no weights for '{self.backbone}'; take a backbone timm:NAME, or give a safetensors file"
            )
        if self.transfer.cached_views and self.method.mixes_pixels:
            raise UserError(f"{self.method.name} mixes pixels, which features have none of: transfer.cached_views=0")
        if self.evaluation.mirror and self.transfer.cached_views:
            raise UserError("features have no mirror image: leave evaluation.mirror or transfer.cached_views off")
        on_features = {"probe_epochs=0": self.transfer.probe_epochs, "classifier=linear": self.transfer.means}
        for setting_off, begins in on_features.items():
            if begins and self.method.mixes_pixels:
                raise UserError(f"{self.method.name} mixes pixels, which features have none of: transfer.{setting_off}")
        if 0 < self.transfer.cached_views < self.method.views:
            raise UserError(
                f"{self.method.name} is shown {self.method.views} views of an image; transfer.cached_views must be "
                f"{self.method.views} or more, not {self.transfer.cached_views}"
            )
        two_stages = self.method.second_stage(self.optim.epochs)  # of too few epochs, it says so
        if two_stages is not None and (self.averaging.on or self.averaging.ema):
            raise UserError(f"{self.method.name} trains in two stages; averaging cannot average over both")
        if two_stages is not None and self.transfer.probe_epochs:
            raise UserError(f"{self.method.name} trains in two stages; transfer.probe_epochs would make them three")

    @property
    def passes_per_step(self) -> int:
        """Forward (and, unless it is frozen, backward) passes of the backbone in one step."""
        if self.transfer.cached_views:
            return 0
        return self.method.passes * (2 if self.sam.rho > 0 else 1)

    def to_json(self) -> dict[str, Any]:
        settings = dataclasses.asdict(self)
        settings["method"] = {"name": self.method.name, **settings["method"]}
        return settings

    @staticmethod
    def from_json(settings: Any, where: str) -> Experiment:
        """The experiment that ``to_json`` wrote. Raises UserError, naming ``where``, for anything else."""
        return _read(Experiment, settings, where, "")

    @property
    def hash(self) -> str:
        """SHA-256 over all settings but ``data.root`` and ``data.images``, 16 hexadecimal digits: equal hashes, equal
        settings.

        Where the images lie decides nothing, nor where a file of weights does; which images and weights they are is in
        hashes of their own. A setting that was added later, marked by ``later`` (settings.py), counts
        only where it is not at its default: runs from before it was there keep their hashes.
        """
        # Read back first, so that 20 where 20.0 is meant hashes as it will when it comes from its file.
        experiment = Experiment.from_json(self.to_json(), "experiment")
        settings = _as_hashed(experiment, experiment.to_json())
        for name in ("root", "images"):
            settings["data"].pop(name, None)
        if "transfer" in settings:
            settings["transfer"]["weights"] = experiment.transfer.kind
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def as_hashed(spec: Any) -> dict[str, Any]:
    """The settings of a part of an experiment, such as its data, as they count in a hash: equal for equal settings,
    whether from a recipe or from a file, and from before a later one was there."""
    again = _read(type(spec), dataclasses.asdict(spec), type(spec).__name__, "")
    return _as_hashed(again, dataclasses.asdict(again))


def _as_hashed(spec: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a dataclass, by their first names, without those added later that stand at their defaults."""
    kept = dict(settings)
    for item in dataclasses.fields(spec):
        value = getattr(spec, item.name)
        if item.metadata.get("later") and value == default_of(item):
            del kept[item.name]
        elif dataclasses.is_dataclass(value):
            kept[item.name] = _as_hashed(value, settings[item.name])
        elif formerly := rule_of(item).formerly:
            kept[formerly] = kept.pop(item.name)
    return kept


def setting_names(experiment: Experiment) -> Iterator[str]:
    """The dotted names of all settings that may be changed, in order."""
    said = ("recipe", "tuning")  # how an experiment came about, which nobody changes
    return (each.name for each in settings_of(experiment) if each.name.split(".")[0] not in said)


def earlier_names(experiment: Experiment) -> dict[str, str]:
    """The earlier names of settings, each with its name now."""
    renamed = (each for each in settings_of(experiment) if each.rule.formerly)
    return {f"{each.name.rpartition('.')[0]}.{each.rule.formerly}": each.name for each in renamed}


def override(experiment: Experiment, *assignments: str) -> Experiment:
    """The experiment with ``name=value`` settings changed, all at once (so that their order does not matter).

    Raises UserError for a name that is no setting of it, or a value that is none of the setting's type or range.
    """
    values: dict[str, str] = {}
    known = list(setting_names(experiment))
    renamed = earlier_names(experiment)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"'{assignment}' is no setting; write name=value, such as schedule.lr=0.1")
        name = renamed.get(name, name)
        if name not in known:
            raise unknown("setting", name, known)
        if name in values:
            raise UserError(f"{name} is given twice: {values[name]} and {text}")
        values[name] = text
    return _replaced(experiment, values, "")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a class's fields."""
    return typing.get_type_hints(kind)


def _replaced(value: Any, texts: dict[str, str], prefix: str) -> Any:
    changed = {}
    kind: Any = type(value)
    hints = _hints(kind)
    for item in dataclasses.fields(value):
        name, old = prefix + item.name, getattr(value, item.name)
        if dataclasses.is_dataclass(old):
            changed[item.name] = _replaced(old, texts, name + ".")
        elif name in texts:
            changed[item.name] = parse_value(texts[name], hints[item.name], name)
    return dataclasses.replace(value, **changed)


def parse_value(text: str, kind: Any, name: str) -> Any:
    """``text`` as a value of type ``kind`` (int, float, bool, str, or one of them or None)."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in options and text.lower() in ("none", ""):
        return None
    wanted = next(option for option in options if option is not type(None))
    if wanted is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{name} must be true or false, not '{text}'")
        return text.lower() == "true"
    try:
        value = wanted(text)
        if wanted is float and not math.isfinite(value):
            raise ValueError
    except ValueError:
        kinds = {int: "a whole number", float: "a finite number"}
        raise UserError(f"{name} must be {kinds[wanted]}, not '{text}'") from None
    return value


def _read(kind: Any, settings: Any, where: str, prefix: str) -> Any:
    if not isinstance(settings, dict):
        raise UserError(f"{where}: '{prefix.rstrip('.') or 'experiment'}' must be an object of settings")
    if kind is Method:
        name = settings.get("name")
        if not isinstance(name, str) or name not in METHODS:
            raise UserError(f"{where}: {unknown('method', str(name), METHODS)}")
        kind, settings = METHODS[name], {key: value for key, value in settings.items() if key != "name"}
    hints = _hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for name, item in fields.items():
        if (formerly := rule_of(item).formerly) in settings and name not in settings:
            settings = {name if key == formerly else key: value for key, value in settings.items()}
    for name in settings:
        if name not in fields:
            raise UserError(f"{where}: {unknown('setting', prefix + name, [prefix + known for known in fields])}")
    values = {}
    for name, item in fields.items():
        if name not in settings:
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                raise UserError(f"{where}: the setting '{prefix}{name}' is missing")
            continue
        hint, value = hints[name], settings[name]
        if hint is Method or dataclasses.is_dataclass(hint):
            value = _read(hint, value, where, f"{prefix}{name}.")
        else:
            value = _checked(value, hint, f"{where}: {prefix}{name}")
        values[name] = value
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _checked(value: Any, hint: Any, name: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in options and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf  # which is refused below
    if type(value) not in options:
        wanted = " or ".join("null" if option is type(None) else option.__name__ for option in options)
        raise UserError(f"{name} must be {wanted}, not {json.dumps(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, not {value}")
    return value
