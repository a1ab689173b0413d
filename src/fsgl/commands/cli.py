"""The command line: the words are read, the command is run, and what goes wrong is answered in one line.

Each command's file has its options and its run. Nothing heavy is imported before one runs: ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from fsgl.commands import (
    across,
    adjust,
    auto,
    compare,
    evaluate,
    export,
    inspect,
    predict,
    prepare,
    recipes,
    report,
    serve,
    train,
    tune,
)
from fsgl.commands.arguments import FORM, within
from fsgl.engine.interrupts import Terminated, ends, leave, own_process
from fsgl.errors import PeerLost, UserError

DESCRIPTION = """Long-tailed image recognition: FSGL, its rivals, and honest numbers.

  fsgl auto my/images --minutes 10                 a good network for your images in ten minutes
  fsgl train digits                                the demonstration: two minutes, no download
  fsgl train fsgl --data cifar100 --run runs/mine  FSGL on CIFAR-100-LT, imbalance factor 100
  fsgl train fsgl --data my/images                 FSGL on your folder, table, list or .npz
  fsgl train --run runs/mine --resume              go on after an interruption
  fsgl compare cross-entropy fsgl --seeds 5        train both, and say whether they differ
  fsgl across runs/a runs/b runs/c                 what comparisons on several data sets say
  fsgl tune cross-entropy fsgl --trials 20         settings for both, found on validation images
  fsgl evaluate runs/mine                          score a trained network again
  fsgl predict runs/mine new/*.jpg                 what it says of images
  fsgl serve runs/mine                             a local page for dropping images on
  fsgl export runs/mine                            as one ONNX file
  fsgl inspect photos --html photos.html           look a set of images over before training
  fsgl prepare photos prepared                     decode and shrink images once, for fast training
  fsgl recipes                                     what can be trained, on which data"""


# Each has add(commands), its options, and run(options, settings), which imports what is heavy.
COMMANDS = {
    "auto": auto,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "across": across,
    "tune": tune,
    "report": report,
    "inspect": inspect,
    "prepare": prepare,
    "predict": predict,
    "adjust": adjust,
    "export": export,
    "serve": serve,
    "recipes": recipes,
}
WITH_SETTINGS = ("auto", "train", "compare", "tune")


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

    for module in COMMANDS.values():
        module.add(commands)
    return parser, dict(commands.choices)


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
    if options.command in ("compare", "tune"):
        rest += [word for word in options.recipes if "=" in word]
        options.recipes = [word for word in options.recipes if "=" not in word]
    for word in rest:
        if word.startswith("-"):
            near = difflib.get_close_matches(word.split("=")[0], command.options(), n=1)
            command.error(f"unknown option '{word}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        has_settings = options.command in WITH_SETTINGS
        if not has_settings or "=" not in word:
            hint = "; settings are name=value" if has_settings else ""
            command.error(f"'{word}' is one word too many{hint}")
    return options, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0; 1 for a run that diverged; 2 for a user's mistake; 128 + signal."""
    if arguments is not None:
        return guarded("fsgl", lambda: _run(arguments))
    own_process()
    try:
        try:
            code = guarded("fsgl", lambda: _run(None))
        finally:
            ends()
    except Terminated:
        code = 128 + signal.SIGTERM
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        leave(code)
    return code


def guarded(program: str, command: Callable[[], int]) -> int:
    """The exit code of ``command``, with everything a user can do wrong answered in one line."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.isatty() or os.environ.get("PYTHONIOENCODING"):  # a character that it lacks is no reason to die
            stream.reconfigure(errors="replace")
        else:  # a file or a pipe is no matter of this machine's locale; bytes of a path stay as they are
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as request:
        print(f"{program}: {str(request) or 'interrupted'}", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(request, Terminated) else signal.SIGINT)
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

        torch.set_num_threads(within("--threads", threads, 1))
    return COMMANDS[options.command].run(options, settings)


def _discard_output() -> None:
    """Let what is still to be written go nowhere, or the interpreter fails to write it once more when it ends."""
    with contextlib.suppress(OSError):  # standard output may be replaced by something that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
