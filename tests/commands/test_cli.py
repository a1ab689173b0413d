"""The command line as its users meet it: help, mistakes, whole commands, pipes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import forked

from fsgl import __version__
from fsgl.commands.cli import build_parser, main, parse
from fsgl.runs.saved import read_history

DIGITS = ["train", "fsgl", "--data", "digits", "--device", "cpu"]
QUICK = ["--epochs", "1", "--batch-size", "64", "--track", "none"]


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The one line with which a command must be refused, exit code 2: ``mistake("train", "fsgll")``."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments: str) -> str:
        capsys.readouterr()
        try:
            code = main(list(arguments))
        except SystemExit as stop:
            code = stop.code  # type: ignore[assignment]
        said = capsys.readouterr().err
        assert code == 2, said
        assert said.count("\n") == 1, said
        assert said.startswith("fsgl")
        assert len(said) < 800
        return said

    return refused


def run_program(*arguments: str, code: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-c", code] if code else ["-m", "fsgl"]), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload,no-any-return]


HELP = """
import contextlib, sys
from fsgl.commands.cli import main
for arguments in (["--help"], ["train", "--help"], ["evaluate", "-h"], ["--version"], ["train", "--bogus"]):
    with contextlib.suppress(SystemExit):
        main(arguments)
heavy = {"torch", "numpy", "sklearn", "matplotlib", "rich", "torchvision"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


def test_help_imports_nothing_heavy() -> None:
    shown = run_program(code=HELP)
    assert shown.returncode == 0, shown.stderr
    assert f"fsgl {__version__}" in shown.stdout


@pytest.mark.parametrize("command", [(), ("train",), ("evaluate",), ("recipes",)])
def test_help_is_readable(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 100 for line in text.splitlines())
    parser, commands = build_parser()
    for option in (commands[command[0]] if command else parser).options():
        assert option in text


def test_every_option_says_what_it_is_for() -> None:
    for parser in build_parser()[1].values():
        assert all(action.help for action in parser._actions)


def test_without_a_command_help_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert not said.out
    assert "fsgl train digits" in said.err


def test_settings_may_stand_among_the_options() -> None:
    options, settings = parse(["train", "fsgl", "sam.rho=0.1", "--data", "digits", "seed=3", "--epochs", "2"])
    assert (options.recipe, options.data, options.epochs) == ("fsgl", "digits", "2")
    assert settings == ["sam.rho=0.1", "seed=3"]
    options, settings = parse(["train", "sam.rho=0.1", "--from", "x.json"])
    assert options.recipe is None
    assert settings == ["sam.rho=0.1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--bogus", "unknown option '--bogus'"),
        ("trian", "invalid choice: 'trian'"),
        ("train", "name a recipe"),
        ("train fsgll", "did you mean 'fsgl'"),
        ("train glmcsam", "did you mean 'glmc-sam'"),
        ("train fsgl --data digit", "did you mean 'digits'"),
        ("train fsgl --data cifar-100", "did you mean 'cifar100'"),
        ("train fsgl --data digits --backbone resnet8-slm", "did you mean 'resnet8-slim'"),
        ("train fsgl --dta digits", "did you mean '--data'"),
        ("train fsgl --epoch 3", "did you mean '--epochs'"),
        ("train fsgl --data digits method.bta=1", "did you mean 'method.beta'"),
        ("train fsgl --data digits rho=0.1", "did you mean 'sam.rho'"),
        ("train fsgl --data digits recipe=x", "unknown setting 'recipe'"),
        ("train cross-entropy --data digits method.beta=1", "unknown setting 'method.beta'"),
        ("train fsgl digits", "'digits' is one word too many"),
        ("train fsgl --data", "expected one argument"),
        ("train fsgl --data digits --epochs x", "optim.epochs must be a whole number, not 'x'"),
        ("train fsgl --data digits --epochs 1.5", "whole number"),
        ("train fsgl --data digits --epochs 0", "optim.epochs must be 1 or more, not 0"),
        ("train fsgl --data digits --epochs=-3", "optim.epochs must be 1 or more, not -3"),
        ("train fsgl --data digits --batch-size 1", "2 or more"),
        ("train fsgl --data digits --lr 0", "positive"),
        ("train fsgl --data digits --lr nan", "schedule.lr must be a finite number"),
        ("train fsgl --data digits --lr inf", "finite number"),
        ("train fsgl --data digits --lr 1e999", "finite number"),
        ("train fsgl --data digits --lr 0,1", "schedule.lr must be a finite number, not '0,1'"),
        ("train fsgl --data digits method.contrast_weight=inf", "method.contrast_weight must be a finite number"),
        ("train fsgl --data digits method.feature_scaling.gamma=-1", "gamma must be above -1"),
        ("train fsgl --data digits --val 1", "at least 0 and below 1"),
        ("train fsgl --data digits --val -0.1", "at least 0 and below 1"),
        ("train fsgl --data digits --imbalance-factor 0.5", "from 1 to 1000"),
        ("train fsgl --data digits --draw random", "unknown data.draw 'random'"),
        ("train fsgl --data digits --seed none", "seed must be a whole number"),
        ("train fsgl --data digits --seed abc", "seed must be a whole number, not 'abc'"),
        ("train fsgl --data digits --seed -1", "seed must be 0 or more"),
        ("train fsgl --data digits --seed 1 seed=2", "given twice"),
        ("train fsgl --data digits evaluation.few=200", "evaluation.few (200)"),
        ("train fsgl --data digits --max-steps 0", "--max-steps must be 1 or more, not 0"),
        ("train fsgl --data digits --max-steps -4", "--max-steps must be 1 or more, not -4"),
        ("train fsgl --data digits --max-steps ten", "invalid int value: 'ten'"),
        ("train fsgl --data digits --threads 0", "--threads must be from 1"),
        ("train fsgl --data digits --threads -1", "--threads must be from 1"),
        ("train fsgl --data digits --threads 1000000", "--threads must be from 1"),
        ("train fsgl --data digits --workers -1", "--workers must be from 0"),
        ("train fsgl --data digits --device gpu", "device 'gpu' cannot be used"),
        ("train fsgl --data digits --device meta", "device 'meta' cannot be used"),
        ("train fsgl --data digits --track tensorbord", "did you mean 'tensorboard'"),
        ("train fsgl --data digits --track none --track wandb", "--track none stands alone"),
        ("train fsgl --data digits --run /dev/null/run", "/dev/null/run"),
        ("train fsgl --data digits --train-list list.txt", "not given by lists"),
        ("train fsgl --data imagenet-lt", "needs data.train_list and data.test_list"),
        ("train fsgl --data imagenet-lt --train-list a --test-list b --root nowhere", "nowhere"),
        ("train fsgl --data imagenet-lt --train-list a --test-list b --imbalance-factor 10", "has its own tail"),
        ("train digits --data cifar10", "takes no --data"),
        ("train digits --root data", "--root"),
        ("train digits --run r --resume", "--resume"),
        ("train fsgl --resume", "--resume needs --run FOLDER"),
        ("train --run nowhere --resume", "nowhere holds no run"),
        ("train --from nowhere.json", "nowhere.json: no such file"),
        ("train fsgl --from nowhere.json", "leave RECIPE and --data off"),
        ("evaluate", "required: RUN"),
        ("evaluate nowhere", "nowhere holds no run"),
        ("evaluate . --weights first", "invalid choice: 'first'"),
        ("evaluate . --workers -2", "--workers must be from 0"),
        ("evaluate . sam.rho=1", "one word too many"),
        ("evaluate . --wieghts last", "did you mean '--weights'"),
        ("recipes all", "'all' is one word too many"),
    ],
)  # fmt: skip
def test_mistakes_are_answered_in_one_line(
    arguments: str, said: str, mistake: Callable[..., str], tmp_path: Path
) -> None:
    assert said in mistake(*arguments.split())
    assert not list(tmp_path.iterdir())  # and nothing is left behind


@pytest.mark.parametrize("arguments", [["--run", ""], ["--data", ""], ["--backbone", ""], ["--epochs", ""], ["=1"]])
def test_empty_words(arguments: list[str], mistake: Callable[..., str]) -> None:
    mistake("train", "fsgl", "--data", "digits", *arguments)


def test_folder_in_use_is_refused(finished: Path, mistake: Callable[..., str]) -> None:
    assert "holds a run already; go on in it with --resume" in mistake(*DIGITS, "--run", str(finished))


@pytest.mark.parametrize("more", ["--epochs=9", "seed=1", "--data=digits", "--root=x", "--from=x", "--train-list=x"])
def test_resume_takes_no_settings(more: str, finished: Path, mistake: Callable[..., str]) -> None:
    said = mistake("train", more, "--run", str(finished), "--resume")
    assert "--resume takes all settings from the run folder" in said


def test_resume_of_another_recipe_or_checkpoint(finished: Path, mistake: Callable[..., str], tmp_path: Path) -> None:
    run = ["--run", str(finished)]
    assert "holds a run of 'fsgl', not of 'glmc'" in mistake("train", "glmc", *run, "--resume")
    assert "--resume nowhere.pt: no such checkpoint" in mistake("train", *run, "--resume", "nowhere.pt")
    assert "--resume seed=1: no such checkpoint" in mistake("train", *run, "--resume", "seed=1")
    assert "not a checkpoint of fsgl" in mistake("train", *run, "--resume", str(finished / "model.safetensors"))


def test_run_folder_inside_a_file(tmp_path: Path, mistake: Callable[..., str]) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in mistake(*DIGITS, *QUICK, "--run", "file")
    assert "cannot be written" in mistake(*DIGITS, *QUICK, "--run", "file/run")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_run_folder_that_is_read_only(tmp_path: Path, mistake: Callable[..., str]) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in mistake(*DIGITS, *QUICK, "--run", "run")


@pytest.mark.parametrize("name", ["experiment.json", "metrics.jsonl", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe\x00", b"{" * 10_000, None])
def test_spoilt_run_is_refused_by_the_files_name(
    name: str, content: bytes | None, finished: Path, tmp_path: Path, mistake: Callable[..., str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    path = folder / name
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2] if content is None else content)
    if name != "metrics.jsonl":  # which evaluate does not need
        assert name in mistake("evaluate", str(folder))
    if name == "experiment.json":
        assert name in mistake("train", "--run", str(folder), "--resume")
        assert name in mistake("train", "--from", str(path))


@pytest.mark.usefixtures("curves_painted")
def test_train_and_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*DIGITS, *QUICK, "data.imbalance_factor=50"]) == 0
    folder = Path("runs/fsgl-digits-if50-seed0")
    shown = capsys.readouterr().out
    for part in (f"-> {folder}", "epoch   1/1", "last epoch", "best on test (unfair)", "many", "few"):
        assert part in shown, part
    assert f"run folder  {folder}\n" in shown
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    recorded = read_history(folder)[-1]["test"]

    assert main(["evaluate", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == recorded
    assert main(["evaluate", str(folder), "--weights", "best-val"]) == 0
    shown = capsys.readouterr().out
    assert f"{recorded['top1']:.1f}" in shown
    assert "class" in shown

    assert main([*DIGITS, *QUICK, "data.imbalance_factor=50"]) == 0  # again: another folder, the same weights
    again = Path("runs/fsgl-digits-if50-seed0-2")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.usefixtures("curves_painted")
def test_demonstration(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--epochs", "1", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    for part in ("cross-entropy", "fsgl", "difference", "curves      runs/digits/curves.png"):
        assert part in shown
    assert (tmp_path / "runs/digits/curves.png").exists()
    folders = [tmp_path / "runs/digits" / name for name in ("cross-entropy", "fsgl")]
    records = [json.loads((folder / "experiment.json").read_text()) for folder in folders]
    assert records[0]["data"] == records[1]["data"]
    assert records[0]["result"]["steps"] == records[1]["result"]["steps"]


def test_recipes_are_listed_with_data_and_backbones(capsys: pytest.CaptureFixture[str]) -> None:
    from fsgl.data.known import DATA_SETS
    from fsgl.models.backbones import BACKBONES
    from fsgl.recipes import RECIPES

    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split()[0] for line in lines if line.startswith("  ")}
    assert named == {"digits", "RECIPE+sam", "timm:NAME", *RECIPES, *DATA_SETS, *BACKBONES}
    assert all(len(line.split()) > 3 for line in lines if line.startswith("  "))


def test_interrupted_before_training(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fsgl.commands.recipes.run", interrupted)
    assert main(["recipes"]) == 130
    assert capsys.readouterr().err == "fsgl: interrupted\n"


def test_divergence_is_one_line_and_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DIGITS, *QUICK, "--lr", "1e30", "--run", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("fsgl: training diverged at epoch 1, step ")


def test_name_that_the_output_cannot_show(tmp_path: Path) -> None:
    """An ASCII terminal, and a folder named in bytes that are no UTF-8."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "fsgl", "evaluate", b"na\xffme \xe2\x80\x93"]
    done = subprocess.run(command, env=environment, capture_output=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"holds no run" in done.stderr


def test_what_goes_to_a_pipe_is_utf_8_whatever_the_locale() -> None:
    """So that names of classes are what they are; bytes of a file's name that are no text stay those bytes."""
    code = "from fsgl.commands.cli import guarded; guarded('fsgl', lambda: print('caf\\xe9 \\U0001f436 \\udcff'))"
    locale = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **locale}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=300)
    assert done.stdout == "caf\xe9 \U0001f436 ".encode() + b"\xff\n", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--help | head -n 1", 0),
        ("--help | true", 0),
    ],
)
def test_output_that_nobody_takes(command: str, code: int) -> None:
    line = f"'{sys.executable}' -m fsgl {command}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == code
    assert done.stderr.count("\n") == (1 if code else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX pipe")
@pytest.mark.parametrize(("full", "code"), [(False, 141), (True, 2)])
def test_output_that_nobody_takes_of_a_command_with_work(full: bool, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open("/dev/full" if full else os.devnull, "w") as file:
        done = forked.run("recipes", stdout=file.fileno() if full else writing)
    os.close(writing)
    assert done.returncode == code
    assert done.stderr.count("\n") == (1 if full else 0), done.stderr


def test_training_whose_reader_leaves_says_how_to_go_on(tmp_path: Path) -> None:
    with forked.start(*DIGITS, "--epochs", "50", "--track", "none", "--run", "a run", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141
    assert said == (
        "fsgl: the reader of the output is gone; to go on from the last save: fsgl train --run 'a run' --resume\n"
    )
