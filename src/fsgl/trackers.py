"""Experiment trackers beside metrics.jsonl: TensorBoard, and Weights & Biases as an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from fsgl.errors import UserError, unknown


class Tracker(Protocol):
    """Told of every epoch."""

    def epoch(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


def scalars(row: dict[str, Any]) -> dict[str, float]:
    """The single numbers of a row of metrics.jsonl, by path: ``loss/total``, ``test/top1``, ..."""
    values = {f"loss/{name}": value for name, value in row["loss"].items()}
    values["train/lr"] = row["lr"]
    values["train/images_per_second"] = row["images"] / row["seconds"]
    for part in ("val", "test"):
        for name, value in (row[part] or {}).items():
            if isinstance(value, float):
                values[f"{part}/{name}"] = value
    return values


class TensorBoard:
    """Event files in ``folder/tensorboard``; a resumed run overwrites the epochs that it takes again."""

    def __init__(self, folder: Path, settings: dict[str, Any], first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)  # type: ignore[no-untyped-call]

    def epoch(self, row: dict[str, Any]) -> None:
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, row["epoch"])  # type: ignore[no-untyped-call]
        self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._writer.close()  # type: ignore[no-untyped-call]


class WeightsAndBiases:
    """A W&B run named as the folder; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, folder: Path, settings: dict[str, Any], first_epoch: int) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("the wandb tracker needs its extra: pip install 'fsgl[wandb]'") from None
        self._run = wandb.init(project="fsgl", name=folder.name, dir=str(folder), config=settings)

    def epoch(self, row: dict[str, Any]) -> None:
        self._run.log(scalars(row), step=row["epoch"])

    def close(self) -> None:
        self._run.finish()


TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def make_trackers(names: tuple[str, ...], folder: Path, settings: dict[str, Any], first_epoch: int) -> list[Tracker]:
    """The named trackers for a run folder. Raises UserError for an unknown one, or one that is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
    return [TRACKERS[name](folder, settings, first_epoch) for name in names]
