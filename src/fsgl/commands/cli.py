"""The command line: ``fsgl train``, ``fsgl evaluate``, ``fsgl recipes``.

Only the parser lives here, and nothing heavy is imported before a command is known: ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fsgl.commands import options as parsers
from fsgl.commands.options import FORM, folder
from fsgl.errors import PeerLost, UserError

DESCRIPTION = """Long-tailed image recognition: FSGL, its rivals, and honest numbers.

  fsgl train digits                                the demonstration: two minutes, no download
  fsgl train fsgl --data cifar100 --run runs/mine  FSGL on CIFAR-100-LT, imbalance factor 100
  fsgl train fsgl --data my/images                 FSGL on your folder, table, list or .npz
  fsgl train --run runs/mine --resume              go on after an interruption
  fsgl evaluate runs/mine                          score a trained network again
  fsgl predict runs/mine new/*.jpg                 what it says of images
  fsgl serve runs/mine                             a local page for dropping images on
  fsgl export runs/mine                            as one ONNX file
  fsgl inspect photos --html photos.html           look a set of images over before training
  fsgl prepare photos prepared                     decode and shrink images once, for fast training
  fsgl recipes                                     what can be trained, on which data"""

TRAIN = """Train a recipe and say how well it does on many-, medium- and few-shot classes.

Any setting of the recipe can be changed by its name: sam.rho=0.1 method.feature_scaling.gamma=0.5
'fsgl train RECIPE --settings' lists them with their values."""


USAGE = """fsgl train RECIPE [options] [name=value ...]
       fsgl train --from FILE [options] [name=value ...]
       fsgl train --run FOLDER --resume [CHECKPOINT] [--max-steps N]"""


class Parser(argparse.ArgumentParser):
    """Argparse, with mistakes answered in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help lists what there is)\n")

    def options(self) -> list[str]:
        return [option for action in self._actions for option in action.option_strings if option.startswith("--")]


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of the commands by name."""
    parser = Parser(prog="fsgl", description=DESCRIPTION, formatter_class=FORM, allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    _add_train(commands)
    _add_evaluate(commands)
    parsers.add_compare(commands)
    parsers.add_report(commands)
    parsers.add_inspect(commands)
    parsers.add_prepare(commands)
    parsers.add_predict(commands)
    parsers.add_adjust(commands)
    parsers.add_export(commands)
    parsers.add_serve(commands)
    commands.add_parser("recipes", help="list recipes, data sets and backbones", allow_abbrev=False)
    return parser, dict(commands.choices)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train", help="train a recipe", description=TRAIN, formatter_class=FORM, usage=USAGE, allow_abbrev=False
    )
    train.add_argument("recipe", nargs="?", metavar="RECIPE", help="one of 'fsgl recipes'; or use --from or --resume")
    what = train.add_argument_group("what is trained")
    parsers.add_experiment(what)
    what.add_argument("--seed", metavar="N", help="of the weights and of everything drawn in training")
    what.add_argument("--from", dest="replay", metavar="FILE", type=Path, help="repeat a run from its experiment.json")
    what.add_argument("--settings", action="store_true", help="print the settings and stop")
    parsers.add_transfer(train)
    how = train.add_argument_group("how it runs (changes a result by rounding at most)")
    # Two names, as torchrun takes --run, wherever it stands, for an abbreviation of an option of its own.
    how.add_argument(
        "--run", "--run-folder", metavar="FOLDER", type=folder, help="the run folder (default: a new one under runs/)"
    )
    how.add_argument(
        "--resume", nargs="?", const=True, default=False, metavar="CHECKPOINT", help="go on in the --run folder"
    )
    how.add_argument("--max-steps", type=int, metavar="N", help="stop after N steps, for trying things")
    how.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    how.add_argument("--devices", type=int, metavar="N", help="processes on this machine, one a GPU (1, or torchrun's)")
    how.add_argument("--num-nodes", type=int, metavar="N", help="machines; see docs/several-machines.md (1)")
    how.add_argument("--precision", default="auto", metavar="NAME", help="float32, tf32, bf16 or auto (default)")
    how.add_argument("--compile", action="store_true", help="torch.compile the network: pays on GPUs only")
    how.add_argument("--cuda-graphs", action="store_true", help="replay each step as one CUDA graph")
    how.add_argument("--checkpoint-seconds", type=float, default=60.0, metavar="S", help="save so often (60)")
    how.add_argument("--workers", type=int, default=2, metavar="N", help="processes that decode image files (2)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads of this process (default: all cores)")
    how.add_argument(
        "--track", action="append", metavar="NAME", help="tensorboard (default), wandb or none; repeatable"
    )


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="score a run's network on its test set", allow_abbrev=False)
    evaluate.add_argument("run", type=folder, metavar="RUN", help="a run folder")
    evaluate.add_argument("--weights", default="last", choices=("last", "best-val"), help="which epoch's (last)")
    evaluate.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")
    evaluate.add_argument("--workers", type=int, default=2, metavar="N", help="processes that decode image files (2)")
    evaluate.add_argument("--threads", type=int, metavar="N", help="CPU threads of this process")
    evaluate.add_argument("--json", action="store_true", help="print the metrics as JSON instead of tables")


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the name=value settings, which may stand anywhere after the recipe."""
    parser, commands = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if options.version:
        from fsgl import __version__

        print(f"fsgl {__version__}")
        parser.exit(0)
    if options.command is None:
        if rest:
            parser.error(f"unknown option '{rest[0]}'")
        parser.print_help(sys.stderr)
        parser.exit(2)
    command = commands[options.command]
    if options.command == "train" and options.recipe and "=" in options.recipe:
        rest.insert(0, options.recipe)
        options.recipe = None
    if options.command == "compare":
        rest += [word for word in options.recipes if "=" in word]
        options.recipes = [word for word in options.recipes if "=" not in word]
    for word in rest:
        if word.startswith("-"):
            near = difflib.get_close_matches(word.split("=")[0], command.options(), n=1)
            command.error(f"unknown option '{word}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        has_settings = options.command in ("train", "compare")
        if not has_settings or "=" not in word:
            hint = "; settings are name=value" if has_settings else ""
            command.error(f"'{word}' is one word too many{hint}")
    return options, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0; 1 for a run that diverged; 2 for a user's mistake; 128 + signal."""
    return guarded("fsgl", lambda: _run(arguments))


def guarded(program: str, command: Callable[[], int]) -> int:
    """The exit code of ``command``, with everything a user can do wrong answered in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal lacks is no reason to die
            stream.reconfigure(errors="replace")
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except PeerLost as error:
        if error.leader:
            print(f"{program}: another process of this run died ({error})", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _discard_output()
        return 141
    except OSError as error:  # of the output itself, or of a file that nobody thought of
        _discard_output()
        print(f"{program}: {error}", file=sys.stderr)
        return 2


def _run(arguments: Sequence[str] | None) -> int:
    options, settings = parse(arguments)
    if (threads := getattr(options, "threads", None)) is not None:
        import torch

        from fsgl.commands.numbers import within

        torch.set_num_threads(within("--threads", threads, 1))
    code: int = importlib.import_module(f"fsgl.commands.{options.command}").run(options, settings)
    return code


def _discard_output() -> None:
    """Let what is still to be written go nowhere, or the interpreter fails to write it once more when it ends."""
    with contextlib.suppress(OSError):  # standard output may be replaced by something that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
