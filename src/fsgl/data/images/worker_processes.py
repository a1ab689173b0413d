"""Work on images in several processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from fsgl.data.images.signals import leave_signals_to_parent
from fsgl.errors import UserError

NOTICE = b"\nfsgl: stopping, once what is begun is finished; Ctrl-C again leaves at once\n"
Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(work: Callable[[Task], Result], tasks: Iterable[Task], workers: int, doing: str) -> Iterator[Result]:
    """``work`` of each task, in order, in at most so many processes; 0 works in this one.

    work: a function of a module, or a ``functools.partial`` of one.  doing: "inspecting images", for messages.
    Tasks that have not begun are left out where the caller stops; those that have are finished.
    Raises UserError where a process dies.
    """
    if workers == 0:
        yield from map(work, tasks)
        return
    tasks = list(tasks)
    # "spawn": a fork after torch's threads have started is not safe.
    pool = ProcessPoolExecutor(min(workers, max(1, len(tasks))), get_context("spawn"), _begin)
    try:
        yield from pool.map(work, tasks)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            os.write(2, NOTICE)
        raise
    except BrokenProcessPool:
        raise UserError(f"a process {doing} died, perhaps for want of memory; fewer --workers need less") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    leave_signals_to_parent(watch=True)  # which lets tasks be finished
