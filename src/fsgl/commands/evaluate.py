"""``fsgl evaluate``: a run's network on its test set once more."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any

from fsgl.commands.arguments import (
    add_device,
    add_feature_cache,
    add_run,
    add_threads,
    add_weights,
    add_workers,
    within,
)


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser("evaluate", help="score a run's network on its test set", allow_abbrev=False)
    add_run(command)
    add_weights(command)
    add_device(command)
    add_workers(command)
    add_feature_cache(command)
    add_threads(command)
    command.add_argument("--json", action="store_true", help="print the metrics as JSON instead of tables")


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """``fsgl evaluate RUN``: the test set once more, by the saved weights."""
    from fsgl.engine.runtime import Runtime
    from fsgl.report.summary import print_metrics
    from fsgl.runs.feature_cache import as_it_was_scored
    from fsgl.runs.saved import load_network, read_record

    device, workers = Runtime(options.device).torch_device(), within("--workers", options.workers, 0)
    network = load_network(options.run, options.weights, device)
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):  # standard output is the JSON alone
        network = as_it_was_scored(
            network, read_record(options.run), options.feature_cache, device, workers, parts=("test",)
        )
    data = network.data
    metrics = network.measure(data.test, network.logits(data.test, device, workers))
    if options.json:
        print(json.dumps(metrics, allow_nan=False))
    else:
        print_metrics(f"{options.run} ({options.weights} epoch)", metrics, data.class_names, data.counts.tolist())
    return 0
