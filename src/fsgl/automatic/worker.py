"""The process that trains candidates of heads, one at a time, for the search: ``python -m fsgl.automatic.worker``.

On its standard input, a line each: the folder of the pool, then candidates as JSON {"number", "experiment"}. On its
standard output, a line each: {"number", "seconds", "failed"}; logits are left in the pool's folder. It ends with its
input. A process of its own rather than multiprocessing's: nothing of a user's script is imported a second time, and the
imports, some seconds, pass while the images are looked over.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from fsgl.automatic.heads import Pool, out_of_fold
from fsgl.data.images.signals import leave_signals_to_parent
from fsgl.engine.memory import keep_freed_memory
from fsgl.engine.tally import NonFiniteLoss
from fsgl.errors import first_line
from fsgl.recipes.experiment import Experiment


def logits_file(folder: Path, number: int) -> Path:
    """Where a candidate's out-of-fold logits are left."""
    return folder / f"logits-{number}.npy"


def work(task: dict[str, Any], pool: Pool, folder: Path) -> dict[str, Any]:
    """Train a candidate and say how it went."""
    import numpy as np

    start, failed = time.perf_counter(), None
    try:
        logits = out_of_fold(Experiment.from_json(task["experiment"], "candidate"), pool)
        np.save(logits_file(folder, task["number"]), logits, allow_pickle=False)
    except NonFiniteLoss as error:
        failed = f"diverged: {error}"
    except Exception as error:  # a candidate that fails, however, is no reason to end the search; the page counts them
        failed = f"{type(error).__name__}: {first_line(error)}"
    return {"number": task["number"], "seconds": time.perf_counter() - start, "failed": failed}


def main() -> None:
    """Until the input ends."""
    import torch

    leave_signals_to_parent(watch=True)
    keep_freed_memory()
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    folder = Path(sys.stdin.readline().rstrip("\n"))
    if not folder.name:
        return
    pool = Pool.read(folder)
    for line in sys.stdin:
        answers.write(json.dumps(work(json.loads(line), pool, folder)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
