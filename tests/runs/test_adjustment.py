"""``fsgl adjust``: against the same change made by hand on the saved logits or weights, and its mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fsgl.commands.cli import main
from fsgl.data.load import load_data
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.evaluation.metrics import evaluate_predictions, shot_groups
from fsgl.evaluation.posthoc import fit_group_temperatures, fit_temperature, groups_that_tell, probabilities
from fsgl.recipes import make_experiment
from fsgl.recipes.experiment import override
from fsgl.runs.adjustment import ADJUSTMENTS, adjust
from fsgl.runs.saved import load_model, load_network, read_record
from fsgl.runs.train import train


def trained(recipe: str, folder: Path, *changes: str) -> Path:
    settings = ("optim.epochs=3", "optim.batch_size=64", *(changes or ("data.val=0.3",)))
    train(override(make_experiment(recipe, "digits"), *settings), folder, Runtime("cpu", trackers=()))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("cross-entropy", tmp_path_factory.mktemp("parent") / "run")


def predictions(folder: Path) -> SimpleNamespace:
    with np.load(folder / "predictions.npz") as saved:
        return SimpleNamespace(**saved)


def scores_again(folder: Path) -> None:
    """What the new folder says of itself is what its weights and its saved logits give."""
    record, saved = read_record(folder), predictions(folder)
    network = load_network(folder)
    logits = network.logits(network.data.test, torch.device("cpu"))
    np.testing.assert_allclose(logits, saved.logits, rtol=1e-4, atol=1e-4)
    assert evaluate_predictions(saved.logits, saved.labels, saved.class_counts) == record["result"]["last"]


def test_logit_adjustment_by_hand(run: Path, tmp_path: Path) -> None:
    record = adjust(run, tmp_path / "new", "logit-adjustment", 1.5)
    old, new = predictions(run), predictions(tmp_path / "new")
    shift = 1.5 * np.log(old.class_counts / old.class_counts.sum())
    np.testing.assert_allclose(new.logits, old.logits - shift, rtol=1e-4, atol=1e-4)
    assert record["parent"] == {"run": str(run), "weights": "last"}
    assert record["adjustment"] == {
        "name": "logit-adjustment", "tuned_on": "given", "tau": 1.5, "assumed_prior": [0.1] * 10
    }  # fmt: skip
    scores_again(tmp_path / "new")


@pytest.fixture(scope="module", params=["cross-entropy", "lws", "fsgl"])
def of_recipe(request: pytest.FixtureRequest, run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A recipe and a run of it."""
    recipe = request.param
    return recipe, run if recipe == "cross-entropy" else trained(recipe, tmp_path_factory.mktemp("parent") / "run")


@pytest.mark.parametrize(("name", "value"), [("tau-norm", 0.6), ("max-norm", 0.4)])
def test_rows_by_hand(of_recipe: tuple[str, Path], name: str, value: float, tmp_path: Path) -> None:
    recipe, parent = of_recipe
    adjust(parent, tmp_path / "new", name, value)
    network = load_network(parent)
    data, classifier = network.data, network.model.classifier
    with torch.inference_mode():
        batches = data.evaluation_batches(data.test, torch.device("cpu"))
        features = torch.cat([network.model.eval().features(images) for images in batches]).numpy()
    logits = np.empty((len(features), 10))
    for k in range(10):
        factor = classifier.factors_K[k].item() if recipe == "lws" else 1.0
        row, bias = classifier.weight[k].detach().numpy() * factor, classifier.bias[k].item() * factor
        length = np.sqrt((row**2).sum())
        if name == "tau-norm":
            logits[:, k] = features @ row / length**value
        else:
            logits[:, k] = features @ row * (value / length if length > value else 1) + bias
    np.testing.assert_allclose(predictions(tmp_path / "new").logits, logits, rtol=1e-4, atol=1e-4)
    scores_again(tmp_path / "new")


@pytest.mark.parametrize("name", ["tau-norm", "max-norm", "logit-adjustment"])
def test_tuned_on_validation_images_only(name: str, run: Path, tmp_path: Path) -> None:
    """No other value of the grid does better on them; other test images change nothing."""
    chosen = adjust(run, tmp_path / "new", name)["adjustment"]
    assert chosen["tuned_on"] == "validation"
    symbol = "radius" if name == "max-norm" else "tau"

    def validated(folder: Path) -> float:
        saved = predictions(folder)
        found = evaluate_predictions(saved.val_logits, saved.val_labels, saved.class_counts)["balanced"]
        assert found is not None
        return found

    best = validated(tmp_path / "new")
    for number, value in enumerate((0.05, 0.5, 1.0, 2.0)):
        adjust(run, tmp_path / str(number), name, value)
        assert validated(tmp_path / str(number)) <= best
    assert chosen[symbol] > 0


def test_temperatures(run: Path, tmp_path: Path) -> None:
    old = predictions(run)
    fitted = fit_temperature(old.val_logits, old.val_labels)
    assert fitted != 1
    record = adjust(run, tmp_path / "one", "temperature")
    np.testing.assert_allclose(predictions(tmp_path / "one").logits, old.logits / fitted, rtol=1e-4, atol=1e-5)
    assert record["result"]["temperature"] == pytest.approx(1, abs=1e-3)  # nothing is left to be mended
    assert load_model(tmp_path / "one").assumed_prior.argmax() == 0  # still as in training
    record = adjust(run, tmp_path / "three", "group-temperature")
    groups = shot_groups(old.class_counts)
    group_K = np.select(list(groups.values()), [0, 1, 2])
    expected = fit_group_temperatures(old.val_logits, old.val_labels, group_K)
    assert record["adjustment"]["temperatures"] == {
        name: pytest.approx(expected[members][0]) for name, members in groups.items() if members.any()
    }
    own = groups_that_tell(old.val_logits, old.val_labels, group_K)
    alike = [name for place, name in enumerate(groups) if place not in own and groups[name].any()]
    assert record["adjustment"]["as_all_images"] == alike != []
    assert all(record["adjustment"]["temperatures"][name] == pytest.approx(fitted) for name in alike)
    by_image = expected[old.logits.argmax(1)][:, None]
    np.testing.assert_allclose(predictions(tmp_path / "three").logits, old.logits / by_image, rtol=1e-4, atol=1e-5)
    scores_again(tmp_path / "three")
    with pytest.raises(UserError, match="has temperatures by group already"):
        adjust(tmp_path / "three", tmp_path / "four", "tau-norm")


def test_given_prior_is_that_of_predict(run: Path, tmp_path: Path) -> None:
    prior = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    adjust(run, tmp_path / "new", "prior", prior_K=prior)
    old, new, temperature = predictions(run), predictions(tmp_path / "new"), load_model(run).temperature
    shares = np.maximum(prior / prior.sum(), 1e-5)
    expected = probabilities(old.logits, temperature, shares, old.class_counts.astype(float))
    np.testing.assert_allclose(probabilities(new.logits, temperature), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(load_model(tmp_path / "new").assumed_prior, shares / shares.sum())
    scores_again(tmp_path / "new")


@pytest.mark.parametrize("estimator", ["em", "bbse"])
def test_estimated_prior(estimator: str, run: Path, tmp_path: Path) -> None:
    """From the run's own test images without two classes: which ones are missing is found."""
    saved, spared = predictions(run), read_record(run)["data"]["classes_without_validation"]
    seen = saved.logits[~np.isin(saved.labels, (0, 1))]
    if estimator == "bbse" and spared:
        with pytest.raises(UserError, match=f"by bbse: class {spared[0]} has no held-out image"):
            adjust(run, tmp_path / "new", "prior", unlabelled=seen, estimator=estimator)
        return
    record = adjust(run, tmp_path / "new", "prior", unlabelled=seen, estimator=estimator)
    found = np.array(record["adjustment"]["prior"])
    assert found[:2].max() < 0.05
    assert found.sum() == pytest.approx(1)
    assert record["adjustment"]["tuned_on"] == f"{estimator} on {len(seen)} unlabelled images"
    with pytest.raises(UserError, match="unknown estimator 'emm'"):
        adjust(run, tmp_path / "other", "prior", unlabelled=seen, estimator="emm")


def test_adjusted_run_is_no_run_to_resume_or_overwrite(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    adjust(run, new, "tau-norm", 1.0)
    assert main(["train", "--run", str(new), "--resume"]) == 2
    assert f"was adjusted from {run}, not trained" in capsys.readouterr().err
    before = (new / "experiment.json").read_bytes()
    assert main(["adjust", str(run), "tau-norm", "--out", str(new)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (new / "experiment.json").read_bytes() == before
    twice = adjust(new, tmp_path / "twice", "logit-adjustment", 0.5)
    assert twice["parent"]["run"] == str(new)


def test_command_estimates_a_prior_from_images(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "run")
    data = load_data(read_experiment_data(run))
    Path("seen").mkdir()
    for i in np.flatnonzero(data.test.labels < 2):  # zeros and ones only
        Image.fromarray(data.test.images[i, :, :, 0]).save(f"seen/{i}.png")
    assert main(["adjust", "run", "prior", "--unlabelled", "seen", "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("prior (em on 100 unlabelled images)\n")
    record = json.loads(Path("run+prior/experiment.json").read_text())
    assert sum(record["adjustment"]["prior"][:2]) > 0.9
    assert "run folder  run+prior" in out
    for name in ("model.safetensors", "predictions.npz", "metrics.jsonl"):
        assert (Path("run+prior") / name).exists()
    assert not torch.equal(
        load_file("run/model.safetensors")["fc.bias"], load_file("run+prior/model.safetensors")["fc.bias"]
    )


def read_experiment_data(run: Path):
    from fsgl.runs.saved import read_experiment

    return read_experiment(run / "experiment.json").data


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tau"], "unknown adjustment 'tau'"),
        (["tau-norm", "--value", "-1"], "--value of tau-norm must be 0 or more"),
        (["temperature", "--value", "0"], "--value of temperature must be above 0"),
        (["group-temperature", "--value", "2"], "group-temperature has no --value"),
        (["tau-norm", "--prior", "uniform"], "--prior and --unlabelled belong to the adjustment 'prior'"),
        (["prior"], "prior needs either --prior, or --unlabelled"),
        (["prior", "--prior", "uniform", "--unlabelled", "x"], "give either --prior or --unlabelled"),
        (["prior", "--prior", "nowhere.csv"], "neither uniform nor training, and no such file"),
        (["prior", "--unlabelled", "nowhere"], "not one of the images can be read"),
    ],
)
def test_mistakes(
    arguments: list[str], says: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["adjust", str(run), *arguments, "--out", "new", "--workers", "0"]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not Path("new").exists() or not any(Path("new").iterdir())


def test_nothing_to_tune_on_and_nothing_linear(tmp_path: Path) -> None:
    without = trained("cross-entropy", tmp_path / "without", "data.val=0")
    for name in ADJUSTMENTS:
        if name in ("prior", "aggregation"):  # the one asks for a prior, the other for experts
            continue
        with pytest.raises(UserError, match="no validation images, and nothing is tuned on test images"):
            adjust(without, tmp_path / "new", name)
    adjust(without, tmp_path / "given", "tau-norm", 1.0)
    cosine = trained("ldam-drw", tmp_path / "ldam")
    with pytest.raises(UserError, match="the classifier of ldam-drw is not linear"):
        adjust(cosine, tmp_path / "new", "tau-norm", 1.0)
    record = json.loads((without / "experiment.json").read_text())
    (without / "experiment.json").write_text(json.dumps({**record, "status": "running"}))
    with pytest.raises(UserError, match="status is 'interrupted, as its process is gone'"):
        adjust(without, tmp_path / "new", "tau-norm", 1.0)
