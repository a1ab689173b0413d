"""What only a GPU can tell, from the top of the list, within a number of minutes: one command, again until all is done.

    python benchmarks/gpu_day.py --minutes 25 --root data --results results

In this order: a profile of the paper's step (share of the matrix rate, the top kernels, the gaps), the same replayed as
CUDA graphs, ordinary and compiled, one whole paper run, bf16 beside float32, several seeds at once, the grid that two
CPU cores work on for days (long_runs.py) and the rivals' published cell (published_rivals.py), then the accuracy cells
(four data sets, three seeds each), the departures and what might lift the accuracy beyond the paper's, one at a time,
and the step of a ResNeXt-50 on photographs that are decoded as it goes (its gaps say whether it is kept fed), beside
how fast they are decoded. Every job is a command of paper_run.py (the last one decoding.py's) with records of its own
and goes on where it stopped, so that the same command works through what is left; jobs that are done are named in
RUNS/gpu-day.json. The authors' release, which is not ours to carry, is timed where --theirs names a checkout of it.
Exits with 0 when all is done, 1 where a job failed, 3 where jobs are left for the next call.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import decoding
import long_runs
import published_rivals
from settings_search import EPOCHS, RECORD

from fsgl.commands.cli import guarded
from fsgl.files import read_json, write_json

HERE = Path(__file__).resolve().parent
CELLS = (("cifar100", 50), ("cifar100", 100), ("cifar10", 50), ("cifar10", 100))
METHODS = ("glmc", "glmc-sam", "release", "fsgl", "cross-entropy", "balanced-softmax", "ldam-drw")
DEPARTURES = (
    "method.beta=1.0", "method.cutmix_label=lambda", "method.ascent=total", "sam.batch_norm=both",
    "method.feature_scaling.rank=index", "data.normalization=release",
)  # fmt: skip
BEYOND = (
    "averaging.start=0.75", "averaging.ema=0.999", "data.small_augmentation=autoaugment-cutout",
    "method.rebalancing=balanced-softmax", "schedule.lr=0.02", "optim.weight_decay=0.002",
)  # fmt: skip
GRAPHS = "--cuda-graphs"  # a whole step is one launch (engine/graphs.py)
PHOTOGRAPHS = "photographs"
LEAST = 60.0  # seconds that a job must have left to be begun
LEFT = 3


@dataclass(frozen=True)
class Job:
    """A command of paper_run.py. drawn: the images that it needs.  limited: whether it takes --limit.  whole: its cells
    have all their settings, so that --each is not for them."""

    name: str
    drawn: str
    words: tuple[str, ...]
    limited: bool = True
    script: str = "paper_run.py"
    whole: bool = False


def jobs(seeds: int = 3, theirs: str | None = None) -> list[Job]:
    """Most wanted first.  theirs: a checkout of the authors' release, which is timed where there is one."""
    paper = "cifar100-if50"
    listed = [
        Job("profile", paper, ("profile", "fsgl:0"), limited=False),
        Job("profile-graphs", paper, ("profile", "fsgl:0", GRAPHS, "--tag", "graphs"), limited=False),
        Job("profile-compiled", paper, ("profile", "fsgl:0", GRAPHS, "--compile", "--tag", "graphs-compiled"),
            limited=False),
        Job("paper-run", paper, ("run", "fsgl:0", GRAPHS, "--compile")),
        Job("paper-run-float32", paper, ("run", "fsgl:0", GRAPHS, "--precision", "float32", "--tag", "fp32")),
        Job("seeds-at-once", paper, ("run", *(f"fsgl:{seed}" for seed in range(seeds)), GRAPHS, "--jobs", str(seeds))),
    ]
    if theirs:
        listed.insert(2, Job("published-code", paper, (theirs,), False, "published_code.py", whole=True))
    for data, recipes in (("cifar10", long_runs.FIRST + long_runs.LAST), ("cifar100", long_runs.SECOND)):
        if grid := grid_cells(data, recipes, range(seeds)):
            listed.append(small_runs(f"grid-{data}", f"{data}-if100", grid))
    cells = [",".join((f"{recipe}:{seed}", *published_rivals.SETTINGS))
             for seed in range(seeds) for recipe in published_rivals.WORDS]  # fmt: skip
    listed.append(small_runs("published-rivals", "cifar10-if100", cells))
    for data, factor in CELLS:
        for method in METHODS:
            words = ("run", *(f"{method}:{seed}" for seed in range(seeds)), GRAPHS, "--jobs", str(seeds))
            listed.append(Job(f"{data}-if{factor}-{method}", f"{data}-if{factor}", words))
    departed = tuple(f"fsgl:{seed},{change}" for change in DEPARTURES for seed in range(2))
    lifted = tuple(f"fsgl:0,{change}" for change in BEYOND)
    workers = str(max(1, (os.cpu_count() or 2) - 1))
    fed = ("profile", "fsgl:0,backbone=resnext50_32x4d,optim.batch_size=64", "--workers", workers)
    fed += ("--warmup", "3", "--steps", "5", "--repeats", "3")  # of the 32 steps of an epoch
    return [
        *listed,
        Job("departures", paper, ("run", *departed, GRAPHS, "--jobs", "4")),
        Job("beyond", paper, ("run", *lifted, "--jobs", "3")),
        Job("photographs-step", PHOTOGRAPHS, fed, limited=False),
        Job("photographs-decoding", "", ("--workers", workers, "--images", "2048"), False, "decoding.py"),
    ]


def small_runs(name: str, drawn: str, cells: Sequence[str]) -> Job:
    """Runs of small networks, which leave a GPU idle one by one: a process a core, each replaying its steps.

    In tf32, as torch's own convolutions on such GPUs: nearer to a CPU's float32 than bf16 is.
    """
    jobs = min(len(cells), max(1, (os.cpu_count() or 1) - 2))
    how = ("--jobs", str(jobs), "--precision", "tf32", GRAPHS, "--closer-look", "--tag", "gpu")
    return Job(name, drawn, ("run", *cells, *how), whole=True)


def grid_cells(data: str, recipes: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """The runs of long_runs.py, seed by seed; none where its settings are not chosen yet."""
    path = long_runs.RESULTS / RECORD
    chosen = read_json(path)["content"]["chosen"] if path.exists() else {}
    if not {"one view", "glmc"} <= chosen.keys():
        return []

    def cell(recipe: str, seed: int) -> str:
        settings = long_runs.settings_of(recipe, data, long_runs.NETWORK, 3 * EPOCHS, chosen)
        return ",".join((f"{recipe}:{seed}", *settings))

    return [cell(recipe, seed) for seed in seeds for recipe in recipes]


def start(script: str, *words: str) -> int:
    """Run a script of this folder and return its exit code."""
    return subprocess.run([sys.executable, str(HERE / script), *words], check=False).returncode


def photographs(folder: Path, count: int = 2048) -> list[str]:
    """Words that name so many drawn JPEGs of two classes as ImageNet-LT's lists do."""
    files = folder / "files" / "train" / "a"
    if not (folder / "test.txt").exists():
        decoding.photographs(folder / "files", count)
        lines = [f"{path.relative_to(folder)} {i % 2}\n" for i, path in enumerate(sorted(files.glob("*.jpg")))]
        (folder / "train.txt").write_text("".join(lines))
        (folder / "test.txt").write_text("".join(lines[:64]))
    lists = ["--train-list", str(folder / "train.txt"), "--test-list", str(folder / "test.txt")]
    return ["--data", "imagenet-lt", "--root", str(folder), *lists]


def draw(drawn: str, options: argparse.Namespace) -> Path:
    """The images of ``cifar100-if50`` as an .npz, drawn where there is none yet."""
    path: Path = options.runs / f"{drawn}.npz"
    if not path.exists():
        data, _, factor = drawn.rpartition("-if")
        settings = (f"data.imbalance_factor={factor}", *options.draw)
        if start("paper_run.py", "draw", str(path), "--data", options.data or data, "--root", options.root, *settings):
            raise SystemExit(1)
    return path


def work(options: argparse.Namespace) -> int:
    """The jobs that are left, until the time is up."""
    deadline = time.monotonic() + 60 * options.minutes
    options.runs.mkdir(parents=True, exist_ok=True)
    state = options.runs / "gpu-day.json"
    done: dict[str, dict[str, Any]] = read_json(state) if state.exists() else {}
    listed = [job for job in jobs(options.seeds, options.theirs) if not options.only or job.name in options.only]
    for job in listed:
        if done.get(job.name) == {"status": "done", "words": [*job.words]}:  # of other words, it is another job
            continue
        left = deadline - time.monotonic()
        if left < options.least:
            break
        words = [*job.words]
        if job.script == "decoding.py":
            words += ["--record", str(options.results)]
        elif job.drawn == PHOTOGRAPHS:
            words += [*photographs(options.runs / PHOTOGRAPHS), "--results", str(options.results)]
        else:
            words += ["--data", str(draw(job.drawn, options)), "--results", str(options.results)]
            words += [] if job.whole else options.each
        if job.script in ("paper_run.py", "published_code.py") and options.commit:
            words += ["--commit", options.commit]
        if job.limited:
            words += ["--runs", str(options.runs), "--limit", f"{left:.0f}", "--grace", str(options.grace)]
        print(f"{job.name}: {left / 60:.1f} minutes left", flush=True)
        code = start(job.script, *words)
        status = {0: "done", LEFT: "begun"}.get(code, "failed")
        done[job.name] = {"status": status, "words": [*job.words]}
        write_json(state, done)
    said = {job.name: _status(done.get(job.name), job) for job in listed}
    print("\n".join(f"{status:<8} {name}" for name, status in said.items()))
    if "failed" in said.values():
        return 1
    return 0 if set(said.values()) <= {"done"} else LEFT


def _status(known: dict[str, Any] | None, job: Job) -> str:
    return "waiting" if known is None or known["words"] != [*job.words] else str(known["status"])


def main(arguments: list[str]) -> int:
    """Work through the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="of this call")
    parser.add_argument("--root", default="data", help="folder of the CIFAR archives")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu-day"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="JOB", help="these jobs only")
    parser.add_argument("--theirs", metavar="FOLDER", help="a checkout of the authors' release, to time it, too")
    parser.add_argument("--commit", help="for the records, where the source is a copy outside its git repository")
    rehearsal = parser.add_argument_group("for a rehearsal on a CPU")
    rehearsal.add_argument("--data", help="another data set in place of the CIFARs")
    rehearsal.add_argument("--draw", nargs="+", default=["data.val=0"], metavar="NAME=VALUE", help="settings of a draw")
    rehearsal.add_argument("--each", nargs="+", default=["evaluation.every=10"], help="more words for every job")
    rehearsal.add_argument("--grace", type=float, default=25.0)
    rehearsal.add_argument("--least", type=float, default=LEAST)
    options = parser.parse_args(arguments)
    return guarded("gpu_day.py", lambda: work(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
