"""Where and how a run executes, and the two ways in which it ends early."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch

from fsgl.engine.launch import launch, started_by_cluster
from fsgl.engine.memory import keep_freed_memory
from fsgl.engine.precision import choose, configure
from fsgl.engine.processes import ALONE, Processes
from fsgl.errors import UserError, first_line


@dataclass(frozen=True)
class Placement:
    """Where one process of a run stands: its device, the precision chosen there, and the others."""

    device: torch.device
    precision: str
    processes: Processes = ALONE

    def describe(self) -> dict[str, object]:
        """For the record of a run."""
        return {"precision": self.precision, "processes": self.processes.count}


@dataclass(frozen=True)
class Runtime:
    """Where and how a run executes: no part of the Experiment, as it changes a result by rounding at most.

    device: "auto", "cpu", "cuda", "cuda:1", ...  workers: decoding processes.  max_steps: stop after so many steps in
    all, for trying things.  checkpoint_seconds: save when so many have passed since the last save (on a CPU also after
    every epoch).  print_every: a line of progress after every so many steps of an epoch, besides the display's own.
    precision: "auto" or one of engine/precision.py.  compile: the network by torch.compile.  cuda_graphs: replay steps
    (engine/graphs.py).  devices: processes on this machine, one a GPU or, on CPUs, sharing the cores; None is one, or
    as torchrun or Slurm started them.  nodes: machines.  feature_cache: folder of frozen backbones' features, None for
    the user's cache.  show: progress, on standard output. (BatchNorm's statistics are each process's own, so that with
    several processes a network that has it trains a little differently.)
    """

    device: str = "auto"
    workers: int = 0
    max_steps: int | None = None
    trackers: tuple[str, ...] = ("tensorboard",)
    checkpoint_seconds: float = 60.0
    print_every: int | None = None
    precision: str = "auto"
    compile: bool = False
    cuda_graphs: bool = False
    devices: int | None = None
    nodes: int | None = None
    feature_cache: Path | None = None
    show: bool = True

    def place(self) -> Placement:
        """Take this process's place: alone, or among others that this starts or joins. Raises UserError.

        Others on this machine are started as copies of the present command line, so call it early, and once.
        """
        by_cluster = started_by_cluster()
        devices, nodes = by_cluster or (self.devices or 1, self.nodes or 1)
        if by_cluster and (self.devices or devices, self.nodes or nodes) != by_cluster:
            raise UserError(f"torchrun or Slurm started {devices} processes on {nodes} machines; leave --devices off")
        # Among several, each process touches its own GPU only: the first would hold a context of every one.
        device, processes = self.torch_device(try_it=devices * nodes == 1), ALONE
        if devices * nodes > 1:
            if device.index is not None:
                raise UserError(f"several processes take a GPU each; give --device {device.type}, not {device}")
            processes, device = launch(device.type, devices, nodes)
        if device.type == "cpu":
            keep_freed_memory()
        elif device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # streams and graphs are made on the current device
        precision = choose(self.precision, device)
        configure(precision, device)
        if self.cuda_graphs and device.type != "cuda":
            raise UserError(f"CUDA graphs need an NVIDIA GPU, and this runs on {device}")
        return Placement(device, precision, processes)

    def torch_device(self, try_it: bool = True) -> torch.device:
        """The device that is meant; try_it: raise UserError where nothing can be computed on it."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            if try_it:
                torch.zeros(1, device=device).item()
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device '{self.device}' cannot be used: {first_line(error)}") from None
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
