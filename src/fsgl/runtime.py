"""Where and how a run executes, and the two ways in which it ends early."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch

from fsgl.errors import UserError


@dataclass(frozen=True)
class Runtime:
    """Where and how a run executes: nothing here changes its result, so nothing here is part of the Experiment.

    device: "auto", "cpu", "cuda", "cuda:1", ...  workers: decoding processes.  max_steps: stop after so many steps in
    all, for trying things.  checkpoint_minutes: also save within an epoch that lasts longer.  print_every: a line of
    progress after every so many steps of an epoch, besides the display's own.
    """

    device: str = "auto"
    workers: int = 0
    max_steps: int | None = None
    trackers: tuple[str, ...] = ("tensorboard",)
    checkpoint_minutes: float = 15.0
    print_every: int | None = None

    def torch_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.zeros(1, device=device).item()
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device '{self.device}' cannot be used: {str(error).splitlines()[0]}") from None
        return device


class RunInterrupted(Exception):
    """A signal stopped the run after a whole step, or came while it was finishing; all is saved in ``folder``."""

    def __init__(self, folder: Path, signal_number: int, complete: bool = False) -> None:
        self.folder = folder
        self.signal_number = signal_number
        go_on = f"stopped and saved; to go on: fsgl train --run {shlex.quote(str(folder))} --resume"
        super().__init__(f"stopped; the run in {folder} is finished and saved" if complete else go_on)


class RunDiverged(Exception):
    """The loss became NaN or infinite; the last checkpoint is as it was."""
