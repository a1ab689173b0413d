"""How the processes of a run come to be and find each other.

torchrun and Slurm start them all. For ``--devices N`` the present process becomes torch's own elastic launcher (what
torchrun is, torch.distributed.launcher): it starts N copies of the present command line, passes signals on, ends the
rest where one dies, and leaves with their exit code. Each copy then finds itself started as by torchrun.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import re
import signal
import sys
import threading
import time
import uuid
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn

import torch

from fsgl.engine.environment import usable_cores
from fsgl.engine.processes import ConnectedProcesses, Processes
from fsgl.errors import UserError, first_line

TIMEOUT = timedelta(minutes=5)  # for what no operating system tells: a machine that went silent
PATIENCE = timedelta(days=1)  # while the leader does something alone, such as a download
SAVING_SECONDS = 300  # that the processes have to finish a step and save, once they were told to stop


def started_by_cluster() -> tuple[int, int] | None:
    """Processes on this machine and machines, where torchrun or Slurm started this process; None otherwise."""
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:
        local = int(environment["LOCAL_WORLD_SIZE"])
        return local, int(environment["WORLD_SIZE"]) // local
    tasks, nodes = (int(environment.get(name, "1")) for name in ("SLURM_NTASKS", "SLURM_NNODES"))
    if tasks > 1 and "SLURM_PROCID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return tasks // nodes, nodes
    return None


def launch(device: str, devices: int, nodes: int) -> tuple[Processes, torch.device]:
    """Join the processes of a run: this process's place among them, and its device.

    device: "cpu" or "cuda".  devices: processes on this machine.  nodes: machines. Where neither torchrun nor Slurm
    started this process it starts the others as copies of the present command line, and does not return: it exits with
    their exit code. Raises UserError where they cannot be connected.
    """
    if started_by_cluster() is None:
        _start(devices, nodes)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        os.environ.update(slurm_place(os.environ))
    index, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    place = torch.device("cuda", local) if device == "cuda" else torch.device("cpu")
    try:
        if device == "cuda":
            torch.cuda.set_device(place)
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
        patient = torch.distributed.new_group(timeout=PATIENCE, backend="gloo")
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{devices} processes on {nodes} machines cannot be connected: {first_line(error)}") from None
    atexit.register(_disconnect)
    if index > 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # one process talks
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _leave_with_parent()
    return ConnectedProcesses(index, count, place, patient), place


def slurm_place(environment: Any) -> dict[str, str]:
    """RANK and the like from Slurm's variables; MASTER_ADDR and MASTER_PORT only where they are not set."""
    # "node[07-09,12],other" -> "node07": the first machine of the list is where all meet.
    first = re.sub(r"\[(\w+)[^\]]*\].*", r"\1", environment.get("SLURM_NODELIST", "localhost")).split(",")[0]
    port = 15000 + int(environment.get("SLURM_JOB_ID", "0")[-4:])  # another one for another job
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_NTASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "MASTER_ADDR": environment.get("MASTER_ADDR", first),
        "MASTER_PORT": environment.get("MASTER_PORT", str(port)),
    }


def _start(devices: int, nodes: int) -> NoReturn:
    """Start this machine's processes, wait for them, and exit with their code."""
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # of torch's launcher; what happened is said below
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // devices)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SAVING_SECONDS))
    # A signal goes to the whole group of each process, its decoding workers too, which heed SIGTERM and not SIGINT.
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGINT"
    newer = any(item.name == "signals_to_handle" for item in dataclasses.fields(LaunchConfig))
    only_sigint: dict[str, Any] = {"signals_to_handle": "SIGINT"} if newer else {}  # it goes before the variable
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        os.kill(os.getpid(), signal.SIGINT)

    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, interrupt)
    if nodes > 1:
        address = f"{os.environ.get('MASTER_ADDR', 'localhost')}:{os.environ.get('MASTER_PORT', '29500')}"
        meeting: dict[str, Any] = {
            "rdzv_backend": "static", "rdzv_endpoint": address, "run_id": "fsgl",
            "rdzv_configs": {"rank": int(os.environ.get("NODE_RANK", "0"))},
        }  # fmt: skip
    else:
        meeting = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": uuid.uuid4().hex}
    config = LaunchConfig(nodes, nodes, devices, max_restarts=0, monitor_interval=0.1, **meeting, **only_sigint)
    sys.stdout.flush()
    try:
        elastic_launch(config, sys.executable)(*_command_line())
        code = 0
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        if code < 0:
            print("\nfsgl: another process of this run died; go on from the last save with --resume", file=sys.stderr)
            code = 1
    except (SignalException, KeyboardInterrupt):
        code = 128 + (received[0] if received else signal.SIGINT)
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{devices} processes on {nodes} machines cannot be connected: {first_line(error)}") from None
    sys.exit(code)


def _command_line() -> list[str]:
    """The arguments of Python that started the present program."""
    main = sys.modules["__main__"].__spec__
    if main is None:
        return sys.argv
    return ["-m", main.name.removesuffix(".__main__"), *sys.argv[1:]]


def _disconnect() -> None:
    with contextlib.suppress(RuntimeError, ValueError):
        torch.distributed.destroy_process_group()


def _leave_with_parent() -> None:
    """End this process once the one that started it is gone: nothing would ever answer it again."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
