"""Two processes on gloo against one: the same step, the same evaluation, one folder, and a death that is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests import forked
from torch import nn

from fsgl.commands.cli import main
from fsgl.data.stream.streams import Shard
from fsgl.engine.launch import slurm_place, started_by_cluster
from fsgl.engine.processes import ALONE, ConnectedProcesses
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError

# Ten FSGL steps of a network without batch statistics: five epochs of two steps, the second of an odd size. Several
# cases in one launch, as processes are slow to start.
STEPS = """
import sys
import numpy as np, torch
from torch import nn
from fsgl.data.stream.streams import ArrayStream, Shard, StreamSpec
from fsgl.data.stream.transforms import CropFlip
from fsgl.engine.step import Update, training_step
from fsgl.engine.tally import Tally
from fsgl.methods import Glmc
from fsgl.models.assemble import FourHeadNet
from fsgl.models.feature_scaling import FeatureScaling
from fsgl.models.heads import FourHeads
from fsgl.losses.class_weights import power_class_weights
from fsgl.optim.sam import SamSpec, make_ascent
from fsgl.engine.processes import ALONE
from fsgl.randomness import generator
from fsgl.engine.runtime import Runtime

devices, where, *cases = sys.argv[1:]
torch.set_num_threads(1)
processes = Runtime("cpu", devices=int(devices)).place().processes
for case in cases:
    images, ascent = case.split("-")
    images = int(images)
    random = np.random.default_rng(0)
    labels = np.sort(random.integers(0, 4, images) % random.integers(1, 5, images))
    labels[:4] = np.arange(4)
    pixels = random.integers(0, 256, (images, 8, 8, 3), dtype=np.uint8)
    counts = np.bincount(labels).tolist()
    torch.manual_seed(processes.index)  # begin_alike has something to do
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )
    heads, weights = FourHeads(8, 4, 6), power_class_weights(counts, 1.2).float()
    net = FourHeadNet(backbone, FeatureScaling(counts, 0.5), heads, weights).to(memory_format=torch.channels_last)
    processes.begin_alike(net)
    spec = StreamSpec(12, 2, 0.4, 7, Shard(processes.index, processes.count))
    stream = ArrayStream(pixels, labels, 4, spec, CropFlip(padding=1), (0.5,) * 3, (0.25,) * 3)
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3, fused=True)
    tally, method = Tally(), Glmc()
    ascending = processes if ascent == "global" else ALONE
    update = Update(net, method, sgd, make_ascent(net, SamSpec(0.05)), tally, processes, ascending)
    for epoch in range(5):
        for step, batch in enumerate(stream.batches(epoch)):
            training_step(update, method, batch, 4, epoch / 5, generator(7, "mix", epoch, step))
    sums = tally.read()
    torch.save({"net": net.state_dict(), "sums": sums}, f"{where}-{case}-{devices}-{processes.index}.pt")
"""


def environment() -> dict[str, str]:
    """For what starts others that are not forked: they import everything anew, and find what this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def as_slurm_starts(count: int) -> list[dict[str, str]]:
    """The environments of the processes of a job."""
    if count == 1:
        return [dict(os.environ)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"SLURM_NTASKS": str(count), "SLURM_NNODES": "1", "MASTER_ADDR": "127.0.0.1",
                  "MASTER_PORT": str(free.getsockname()[1])}  # fmt: skip
    places = [{"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)} for index in range(count)]
    return [{**os.environ, **common, **place} for place in places]


@pytest.fixture(scope="module")
def ten_steps(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], list[dict]]:
    """What each of so many processes has after them, by case."""
    folder = tmp_path_factory.mktemp("steps")
    for devices, cases in ((1, ["23-global", "13-global"]), (2, ["23-global", "13-global", "23-local"])):
        words = [str(devices), folder / "of", *cases]
        job = [forked.start(*words, code=STEPS, env=place) for place in as_slurm_starts(devices)]
        for process in job:
            _, said = process.communicate(timeout=400)
            assert process.returncode == 0, said
    return lambda case, devices: [
        torch.load(folder / f"of-{case}-{devices}-{index}.pt", weights_only=True) for index in range(devices)
    ]


Steps = Callable[[str, int], list[dict]]


@pytest.mark.parametrize("images", [23, 13])  # the last batch: 11 images, and one, which leaves a process without any
def test_ten_steps_of_two_processes_are_those_of_one(images: int, ten_steps: Steps) -> None:
    (alone,), (first, second) = ten_steps(f"{images}-global", 1), ten_steps(f"{images}-global", 2)
    for name, value in alone["net"].items():
        torch.testing.assert_close(first["net"][name], value, rtol=0, atol=1e-6, msg=name)
        assert torch.equal(first["net"][name], second["net"][name]), name
    assert first["sums"] == second["sums"] == pytest.approx(alone["sums"], abs=1e-4)


def test_a_local_climb_is_another_step_but_leaves_the_processes_alike(ten_steps: Steps) -> None:
    (alone,), (first, second) = ten_steps("23-global", 1), ten_steps("23-local", 2)
    assert all(torch.equal(value, second["net"][name]) for name, value in first["net"].items())
    distance = max(float((value - first["net"][name]).abs().max()) for name, value in alone["net"].items())
    assert 1e-5 < distance < 0.1


TRAIN = ("train", "fsgl", "--data", "digits", "--batch-size", "32", "--device", "cpu", "--track", "none",
         "--backbone", "resnet8-slim", "--imbalance-factor", "100")  # fmt: skip


def test_training_with_batch_norm_evaluation_and_resuming_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One folder, every test image counted once, and one process goes on where two stopped, and says that it does."""
    run = tmp_path / "run"
    words = [*TRAIN, "--epochs", "2", "--devices", "2", "--max-steps", "12", "--run", str(run)]
    done = forked.run(*words, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder") == 1  # one process talks
    assert done.stderr == ""
    record = json.loads((run / "experiment.json").read_text())
    assert record["environment"]["processes"] == 2
    scored = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    with np.load(run / "predictions.npz") as saved:
        logits, labels = saved["logits"], saved["labels"]
    assert len(logits) == len(labels) == record["data"]["test"]
    capsys.readouterr()
    assert main(["evaluate", str(run), "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == pytest.approx(scored["test"]["top1"])
    assert main(["train", "--run", str(run), "--resume", "--device", "cpu", "--track", "none"]) == 0
    assert "the run began with processes 2 and goes on with 1" in capsys.readouterr().out
    assert json.loads((run / "experiment.json").read_text())["status"] == "complete"
    assert all(torch.isfinite(value).all() for value in load_file(run / "model.safetensors").values())


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes by Linux's /proc")
@pytest.mark.parametrize("who", ["launcher", "other"])
def test_a_death_ends_the_run_with_a_usable_checkpoint(who: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [*TRAIN, "--epochs", "500", "--devices", "2", "--run", str(run)]
    with forked.start(*command, copies=2) as first:
        try:
            deadline = time.monotonic() + 400
            while not list(run.glob("checkpoints/*.pt")):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            one, other = children_of(first.pid)
            os.kill({"launcher": first.pid, "other": other}[who], signal.SIGKILL)
            died = time.monotonic()
            _, said = first.communicate(timeout=300)
            for pid in (one, other):
                while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
                    assert time.monotonic() - died < 300
                    time.sleep(0.1)
        finally:
            first.kill()
    if who != "launcher":
        assert first.returncode != 0
        assert "another process of this run died" in said
        assert "Traceback" not in said
    epochs = max(int(path.name.split("-")[1]) for path in run.glob("checkpoints/*.pt"))
    steps = epochs * json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["steps"]
    further = ["--device", "cpu", "--track", "none", "--max-steps", str(steps + 2)]
    assert main(["train", "--run", str(run), "--resume", *further]) == 0


def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [*TRAIN, "--epochs", "500", "--devices", "2", "--run", str(run)]
    with forked.start(*command, copies=2) as first:
        deadline = time.monotonic() + 400
        while not list(run.glob("checkpoints/*.pt")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        first.send_signal(signal.SIGTERM)
        _, said = first.communicate(timeout=300)
    assert first.returncode == 143
    assert said.count("to go on: fsgl train --run") == 1
    assert json.loads((run / "experiment.json").read_text())["status"].startswith("interrupted after")


@pytest.mark.parametrize(("total", "count"), [(12, 1), (12, 5), (7, 3), (2, 4)])
def test_shards_are_the_step_in_order(total: int, count: int) -> None:
    rows = [Shard(index, count).rows(total) for index in range(count)]
    counted = [row for part, share in rows for row in range(total)[part] if share.own]
    assert counted == list(range(total))
    assert sum(share.weight for _, share in rows) == pytest.approx(1)
    sizes = [share.own for _, share in rows]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(range(total)[part]) >= 1 for part, _ in rows)


def test_alone_nothing_is_exchanged() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), 3.0)
    values = torch.tensor([1.0])
    assert ALONE.exchange([parameter], values, 0.5) is values
    assert parameter.grad.tolist() == [3, 3]
    assert (ALONE.any(True, False), ALONE.agree("x"), ALONE.rows(9)) == ((True, False), "x", slice(0, 9))
    assert ALONE.leader


def test_where_a_cluster_started_this(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)
    assert started_by_cluster() is None
    for name, value in {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "3", "SLURM_JOB_NAME": "x"}.items():
        monkeypatch.setenv(name, value)
    assert started_by_cluster() == (4, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # an interactive shell in an allocation starts its own
    assert started_by_cluster() is None
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}.items():
        monkeypatch.setenv(name, value)
    assert started_by_cluster() == (2, 3)
    with pytest.raises(UserError, match="leave --devices off"):
        Runtime("cpu", devices=4).place()


@pytest.mark.parametrize(
    ("listed", "first"), [("node07", "node07"), ("node[07-09,12],other", "node07"), ("a,b", "a"), ("gpu[3]", "gpu3")]
)
def test_where_all_meet_under_slurm(listed: str, first: str) -> None:
    given = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_NODELIST": listed}
    found = slurm_place({**given, "SLURM_JOB_ID": "1234567"})
    assert (found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"]) == ("3", "4", "1")
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == (first, "19567")
    assert slurm_place({**given, "MASTER_ADDR": "x", "MASTER_PORT": "5"})["MASTER_ADDR"] == "x"


def test_torchrun_starts_it_without_other_flags(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["--standalone", "--nproc-per-node", "2", "-m", "fsgl", *TRAIN, "--epochs", "1", "--max-steps", "3"]
    done = forked.run(*command, "--run-folder", run, module="torch.distributed.run", copies=2)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "experiment.json").read_text())["environment"]["processes"] == 2


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    words = ["train", "fsgl", "--data", "digits", "--device", "cpu", "--devices", "2", "--batch-size", "3"]
    few = forked.run(*words, copies=2)
    assert few.returncode == 2
    assert "too small to be divided among 2 processes" in few.stderr


def test_averaging_statistics_rounds_none_that_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of a number, three times, is seldom that number."""
    processes = ConnectedProcesses(0, 3, torch.device("cpu"), None)
    monkeypatch.setattr(
        ConnectedProcesses, "_summed", lambda self, tensors, weight: [sum([weight * one] * 3) for one in tensors]
    )
    frozen, trained = nn.BatchNorm1d(1000).requires_grad_(False), nn.BatchNorm1d(1000)
    for layer in (frozen, trained):
        layer.running_mean.normal_()
    before = [layer.running_mean.clone() for layer in (frozen, trained)]
    processes.average_statistics(nn.Sequential(frozen, trained))
    assert torch.equal(frozen.running_mean, before[0])
    assert not torch.equal(trained.running_mean, before[1])
    torch.testing.assert_close(trained.running_mean, before[1])
