"""Training in two stages and averaging over epochs: what they leave, and that an interruption changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fsgl.data.stream.streams import StepPositions, StreamSpec
from fsgl.engine.checkpoint import load_checkpoint
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.optim.schedule import cosine
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs.saved import load_network, read_history
from fsgl.runs.train import train

EPOCHS = 4
QUICK = (f"optim.epochs={EPOCHS}", "method.second=0.5", "optim.batch_size=128")
STEPS = 3  # an epoch: digits-LT has 379 training images, without validation


def make(recipe: str, *changes: str) -> Experiment:
    return override(make_experiment(recipe, "digits"), *changes)


def run(experiment: Experiment, folder: Path, *stops: int) -> None:
    """Train; stopped and resumed after so many steps."""
    for number, stop in enumerate((*stops, None)):
        train(experiment, folder, Runtime("cpu", trackers=(), max_steps=stop), resume=number > 0)


@pytest.mark.parametrize("recipe", ["crt", "lws", "max-norm"])
@pytest.mark.parametrize("stop", [2 * STEPS - 1, 2 * STEPS, 2 * STEPS + 1])
def test_interrupted_around_the_stages_ends_bit_for_bit(recipe: str, stop: int, tmp_path: Path) -> None:
    experiment = make(recipe, *QUICK)
    run(experiment, tmp_path / "whole")
    run(experiment, tmp_path / "parts", stop)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert load_network(tmp_path / "parts").experiment == experiment


def test_second_stage_trains_what_it_should(tmp_path: Path) -> None:
    """A run stopped where the stages meet has the first one's weights."""
    experiment = make("crt", *QUICK)
    assert experiment.method.second_stage(EPOCHS) == 2
    train(experiment, tmp_path / "first", Runtime("cpu", trackers=(), max_steps=2 * STEPS))
    run(experiment, tmp_path / "both")
    first, both = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "both"))
    changed = {name for name in both if not torch.equal(first[name], both[name])}
    assert changed == {"fc.weight", "fc.bias"}  # BatchNorm's statistics are frozen, too
    rates = [row["lr"] for row in read_history(tmp_path / "both")]
    assert rates == [cosine(0.1, epoch, 2) for epoch in (0, 1, 0, 1)]


def test_first_stage_is_cross_entropy(tmp_path: Path) -> None:
    """The same weights as plain training with the first stage's epochs: nothing is drawn otherwise."""
    train(make("crt", *QUICK), tmp_path / "crt", Runtime("cpu", trackers=(), max_steps=2 * STEPS))
    train(make("cross-entropy", "optim.epochs=2", QUICK[2]), tmp_path / "plain", Runtime("cpu", trackers=()))
    two, one = (load_file(tmp_path / name / "model.safetensors") for name in ("crt", "plain"))
    assert all(torch.equal(two[name], one[name]) for name in one)


def test_balanced_batches_from_an_epoch_on() -> None:
    labels = np.repeat(np.arange(3), [900, 90, 10])
    positions = StepPositions(labels, 3, StreamSpec(100, 1, None, seed=0, balanced_from=1))
    epochs = [np.concatenate([original for _, original, _ in positions.epoch(epoch)]) for epoch in (0, 1, 2)]
    assert sorted(epochs[0]) == list(range(1000))
    for drawn in epochs[1:]:
        shares = np.bincount(labels[drawn], minlength=3) / 1000
        np.testing.assert_allclose(shares, 1 / 3, atol=4 * np.sqrt(2 / 9 / 1000))  # four standard errors
    assert not np.array_equal(epochs[1], epochs[2])
    later = [original for _, original, _ in positions.epoch(1, first_step=7)]
    np.testing.assert_array_equal(np.concatenate(later), epochs[1][700:])


def test_averaged_weights_are_those_of_the_late_epochs(tmp_path: Path) -> None:
    """Against the weights that checkpoints hold after each epoch that counts, at the constant rate."""
    averaged = make("weight-averaging", "optim.epochs=4", "averaging.start=0.5", QUICK[2])
    run(averaged, tmp_path / "averaged", 3 * STEPS + 1)  # with an interruption
    run(averaged, tmp_path / "again", 3 * STEPS)
    checkpoints = sorted((tmp_path / "again" / "checkpoints").glob("*.pt"))
    states = [load_checkpoint(path)["state"]["model"] for path in checkpoints]
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("averaged", "again"))
    for name, mean in whole.items():
        assert torch.equal(mean, again[name])
        if "running" not in name and mean.is_floating_point():
            torch.testing.assert_close(mean, (states[0][name] + states[1][name]) / 2)
    rows = read_history(tmp_path / "averaged")
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.1, 0.05, 0.05])
    with pytest.raises(UserError, match="cannot average"):
        make("crt", "averaging.start=0.5")
    network = load_network(tmp_path / "averaged")
    metrics = network.measure(network.data.test, network.logits(network.data.test, torch.device("cpu")))
    assert metrics["top1"] == rows[-1]["test"]["top1"]


def test_any_recipe_with_sam() -> None:
    plain, sam = make("ldam-drw"), make("ldam-drw+sam")
    assert (sam.recipe, sam.sam.rho, sam.passes_per_step) == ("ldam-drw+sam", 0.05, 2)
    assert sam.method == plain.method
    assert sam.hash != plain.hash
    with pytest.raises(UserError, match="has SAM already"):
        make("fsgl+sam")
    with pytest.raises(UserError, match="unknown recipe 'fsg'"):
        make("fsg+sam")


def test_two_stages_refuse_what_they_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="crt trains in two stages and needs 2 epochs or more, not 1"):
        make("crt", "optim.epochs=1")
    with pytest.raises(UserError, match="second must be above 0"):
        make("lws", "method.second=0")
