from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsgl.commands.cli import main
from fsgl.data.load import load_data
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import Experiment, override
from fsgl.runs import budget
from fsgl.runs.budget import Foretelling, Pace, fit_into, measure, said
from fsgl.runs.network import ModelWithData, build_network
from fsgl.runs.train import train

QUIET = Runtime("cpu", trackers=(), show=False)


@pytest.fixture(scope="module")
def network() -> ModelWithData:
    experiment = override(make_experiment("fsgl", "digits"), "evaluation.every=10")
    return build_network(experiment, load_data(experiment.data), torch.device("cpu"))


def test_so_many_epochs_as_fit_and_the_schedule_over_them(network: ModelWithData) -> None:
    pace = Pace(epoch=2.0, scoring=1.0)
    # 0.9 x 50 = 45 seconds: 20 epochs of 2, scored twice and two times more at the end, are 44
    fitted = fit_into(network, 50.0, pace).experiment
    assert fitted.optim.epochs == 20
    assert pace.total(20, 10) == 44
    assert fitted.hash == override(network.experiment, "optim.epochs=20").hash
    assert fit_into(network, 1e6, pace) is network
    with pytest.raises(UserError, match="one epoch takes about 4 s, and of the time budget 3 s are left"):
        fit_into(network, 3.0, pace)


def test_measuring_changes_nothing(network: ModelWithData) -> None:
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    state = torch.random.get_rng_state()
    pace = measure(network, QUIET, QUIET.place())
    assert pace.epoch > 0
    assert pace.scoring > 0
    assert all(torch.equal(value, before[name]) for name, value in network.model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_training_within_a_budget_is_that_of_its_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = override(make_experiment("cross-entropy", "digits"), "optim.epochs=3", "optim.batch_size=256")
    monkeypatch.setattr("fsgl.runs.budget.measure", lambda *of: Pace(1000.0, 0.0))
    found = train(experiment, tmp_path / "budget", QUIET, deadline=time.monotonic() + 1300)
    assert found["settings"]["optim"]["epochs"] == 1
    train(override(experiment, "optim.epochs=1"), tmp_path / "plain", QUIET)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("budget", "plain"))
    assert one == other


def test_what_a_budget_does_not_go_with(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (["--run", str(tmp_path), "--resume"], ["fsgl", "--devices", "2"], ["digits"]):
        assert main(["train", *words, "--time-budget", "1"]) == 2
        assert "--time-budget" in capsys.readouterr().err


def photographs(**transfer: object) -> Experiment:
    made = make_experiment("fsgl", "own", root="my photos", scratch=True)
    made = replace(made, backbone="timm:tf_efficientnet_lite0")
    return replace(made, transfer=replace(made.transfer, **transfer))  # type: ignore[arg-type]


def test_a_long_training_says_once_how_long_and_what_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(budget.time, "monotonic", lambda: now)
    cpu = torch.device("cpu")
    heard = []
    foretell = Foretelling(photographs(), cpu, steps=1001)
    for step in range(1, 30):
        now += 100.0 if step == 1 else 2.0  # the first step warms up
        heard.append(foretell(step))
    told = [each for each in heard if each]
    assert len(told) == 1
    assert told[0].startswith("about 33 min to go, scoring aside; faster: --time-budget MINUTES")
    assert told[0].endswith("fsgl auto 'my photos' --minutes 10")
    for quiet in (
        Foretelling(photographs(), torch.device("cuda"), 1001), Foretelling(photographs(), cpu, 40),
        Foretelling(photographs(weights="package", train="heads", cached_views=2), cpu, 1001),
    ):  # fmt: skip
        for step in range(1, 30):
            now += 2.0
            assert quiet(step) is None


def test_spans_of_time_in_words() -> None:
    spans = (0.2, 89, 600, 2.5 * 3600, 30 * 3600, 4 * 86400)
    assert [said(seconds) for seconds in spans] == ["1 s", "89 s", "10 min", "2.5 h", "30 h", "4 days"]


@pytest.mark.slow
def test_a_budget_is_kept_on_the_command_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["cross-entropy", "--data", "digits", "--backbone", "resnet8-strided", "--epochs", "5000"]
    assert main(["train", *words, "--track", "none", "--device", "cpu", "--run", str(run), "--time-budget", ".15"]) == 0
    found = json.loads((run / "experiment.json").read_text())
    assert 1 <= found["settings"]["optim"]["epochs"] < 5000
    assert found["status"] == "complete"
