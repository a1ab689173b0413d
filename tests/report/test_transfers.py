from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from benchmarks.pages.results import results_sections

from fsgl.models.transfer import TransferSpec
from fsgl.report.records import write_record
from fsgl.report.transfers import brief_transfer, describe_transfer, transfer_key


def run(sha256: str | None = None, kind: str = "file", **settings: Any) -> dict[str, Any]:
    origin = None if sha256 is None else {"kind": kind, "source": "timm/resnet18@abc", "sha256": sha256 * 64}
    return {"settings": {"transfer": asdict(TransferSpec(**settings))}, "pretrained": origin}


OLD: dict[str, Any] = {"settings": {}}
KINDS = {
    "scratch": run(),
    "pretrained": run("a", weights="a.safetensors"),
    "other weights": run("b", weights="a.safetensors"),
    "frozen": run("a", weights="a.safetensors", train="heads"),
    "slower": run("a", weights="a.safetensors", backbone_lr=0.1),
    "cached": run("a", weights="a.safetensors", train="heads", cached_views=4),
    "smaller": run("a", weights="a.safetensors", image_size=64),
    "random features": run(train="heads"),
}


def test_what_differs_in_what_it_began_with_has_a_key_of_its_own() -> None:
    keys = [transfer_key(kind) for kind in KINDS.values()]
    assert len(set(keys)) == len(keys)
    assert transfer_key(OLD) is transfer_key(KINDS["scratch"]) is None
    assert transfer_key(run("a", weights="elsewhere/b.safetensors")) == transfer_key(KINDS["pretrained"])
    assert transfer_key(run("a", kind="hub", weights="hub")) == transfer_key(KINDS["pretrained"])


@pytest.mark.parametrize(
    ("kind", "words", "title"),
    [
        ("scratch", "trained from scratch", ""),
        ("pretrained", "pretrained weights `aaaaaaaaaaaa` (a file), the whole network fine-tuned", "pretrained"),
        ("frozen", "pretrained weights `aaaaaaaaaaaa` (a file), backbone frozen", "pretrained frozen"),
        ("slower", "pretrained weights `aaaaaaaaaaaa` (a file), backbone fine-tuned at 0.1 of the learning rate",
         "pretrained"),
        ("cached", "pretrained weights `aaaaaaaaaaaa` (a file), backbone frozen, on cached features of 4 views, mixed "
         "as features", "pretrained frozen"),
        ("random features", "random weights, backbone frozen", "frozen"),
    ],
)  # fmt: skip
def test_words(kind: str, words: str, title: str) -> None:
    assert describe_transfer(KINDS[kind]) == words
    assert brief_transfer(KINDS[kind]) == title


def test_weights_of_the_hub_are_named() -> None:
    assert "(`timm/resnet18@abc`)" in describe_transfer(run("a", kind="hub", weights="hub"))
    assert describe_transfer(OLD) == "trained from scratch"


def test_scratch_and_pretrained_rows_never_stand_in_one_table(tmp_path: Path) -> None:
    scores = {"top1": 50.0, "balanced": 50.0, "many": 50.0, "medium": 50.0, "few": None, "ece": 5.0}
    environment = {"processor": "CPU", "threads": 1, "versions": {"torch": "2.11"}, "commit": "c" * 40}
    for number, (name, kind) in enumerate({**KINDS, "old": OLD}.items()):
        settings = {
            "recipe": f"recipe {number}", "method": {}, "sam": {}, "seed": 0, "backbone": "resnet18",
            "data": {"name": "digits", "imbalance_factor": 20.0, "draw": "ldam"},
            "optim": {"epochs": 2, "batch_size": 32, "weight_decay": 0.1}, "schedule": {"lr": 0.1}, **kind["settings"],
        }  # fmt: skip
        content = {
            "status": "complete", "settings": settings, "pretrained": kind.get("pretrained"),
            "data": {"split_hash": "f" * 64, "train": 5, "test": 5, "largest_class": 4, "smallest_class": 1},
            "cost": {"passes_per_step": 1, "backbone_parameters": 7, "multiply_adds_per_image": 7},
            "train_seconds": 60.0, "epochs": [{"epoch": 0, "test": scores}],
        }  # fmt: skip
        write_record(tmp_path, "run", name, "fsgl train", environment, content)
    sections = results_sections(tmp_path)
    assert len(sections) == len(KINDS)
    rows = [[line for line in section.splitlines() if line.startswith("| recipe ")] for section in sections]
    together = [len(section) for section in rows]
    assert sorted(together) == [1] * (len(KINDS) - 1) + [2]  # only the old run is one from scratch as well
    (scratch,) = [section for section in sections if "recipe 0" in section]
    assert f"recipe {len(KINDS)} " in scratch
    assert "trained from scratch" in scratch
    assert sum("trained from scratch" in section for section in sections) == 1
    assert "resnet18 pretrained frozen, 2 epochs" in "".join(sections)
