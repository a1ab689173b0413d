"""docs/walkthrough.md: below each command the seconds that it took in the recorded walk (benchmarks/walk.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.photographs import middle_alone

from fsgl.files import read_json

RECORD = "walk-stamps.json"
BLOCK = re.compile(r"```sh\n(.*?)```\n(?:\nRecorded: [^\n]*\n)?", re.S)
FOOT = re.compile(r"\n?The seconds are those.*\Z", re.S)


def walkthrough_page(text: str, results: Path) -> str:
    """The page with the figures of the record. Raises KeyError for a command that is not in it, or that failed."""
    record = read_json(results / RECORD)
    content = record["content"]
    steps = {step["command"]: step for step in content["steps"] if step["exit"] == 0}

    def told(block: re.Match[str]) -> str:
        commands = block.group(1).splitlines()
        said = f"{sum(steps[command]['seconds'] for command in commands):.0f} seconds"
        if commands[0].startswith("fsgl auto"):
            said += f"; {_reached(content['test'])}"
        if commands[0].startswith("fsgl serve"):
            said += " until the first answer"
        return f"```sh\n{block.group(1)}```\n\nRecorded: {said}.\n"

    return FOOT.sub("", BLOCK.sub(told, text)) + "\n" + _foot(record)


def _reached(test: Mapping[str, Any]) -> str:
    shown = {
        "balanced": "mean over classes",
        "top1": "top-1",
        "many": "many-shot",
        "medium": "medium",
        "few": "few-shot",
    }
    figures = ", ".join(f"{name} {test[key]:.1f} %" for key, name in shown.items())
    return f"{figures}, of {test['n']} test images"


def _foot(record: Mapping[str, Any]) -> str:
    environment, content = record["environment"], record["content"]
    whole = sum(step["seconds"] for step in content["steps"])
    return (
        f"The seconds are those of one recorded run (`{record['command']}`, results/{RECORD}) on the pictures of "
        f"Debian's {content['images']}. In all {whole:.0f} seconds, each command's start included: "
        f"{environment['processor']}, {environment['threads']} thread"
        f"{'s' if environment['threads'] != 1 else ''}, on a shared machine (load average {content['load'][0]:.1f} and "
        f"{content['load'][1]:.1f}), so that they are upper bounds. One seed; a few-shot figure rests on a handful of "
        "images, and other draws of the test images gave other figures ([photographs.md](photographs.md), \"fsgl "
        "auto\")."
        f"{middle_alone(content)}\n"
    )
