"""Light fine-tuning: a backbone of which little is trained, so that its tail is not forgotten (LIFT, Shi et al. 2024).

    bias    the biases alone (BitFit, Ben Zaken et al., ACL 2022); of a convolutional network, BatchNorm's shifts
    lora    W + B A, A and B of rank r beside each linear map of a transformer's blocks (LoRA, Hu et al., ICLR 2022),
            by the library peft; B begins at 0, so that the network begins as it was

Their accuracy on transformers is untested here: no weights of one can be had from the package index. The mechanics are
tested on a small one.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from torch import nn

from fsgl.errors import UserError


def train_biases(backbone: nn.Module) -> None:
    """Freeze everything but the biases, in place. Raises UserError for a backbone without any."""
    found = [name for name, _ in backbone.named_parameters() if name.endswith("bias")]
    if not found:
        raise UserError("transfer.train=bias: the backbone has no biases")
    for name, weight in backbone.named_parameters():
        weight.requires_grad_(name in set(found))


def add_lora(backbone: nn.Module, name: str, rank: int) -> None:
    """Put an adapter beside each linear map of a timm transformer's blocks and freeze the rest, in place.

    name: of the backbone, for messages. Raises UserError where peft is not installed, or there are no such blocks.
    """
    if importlib.util.find_spec("peft") is None:
        raise UserError("transfer.train=lora needs peft: pip install 'fsgl[peft]'")
    net, blocks = getattr(backbone, "net", None), getattr(getattr(backbone, "net", None), "blocks", None)
    maps = [
        f"blocks.{inner}"
        for inner, module in (blocks.named_modules() if isinstance(blocks, nn.Module) else ())
        if type(module) is nn.Linear
    ]
    if not isinstance(net, nn.Module) or not maps:
        raise UserError(f"transfer.train=lora is for timm's transformers: {name} has no blocks of linear maps")
    from peft import LoraConfig, inject_adapter_in_model

    # As whole names: peft would take a bare list for endings of names. alpha = rank: B A is taken as it is.
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=_any_of(maps)), net)


def merge_lora(backbone: nn.Module) -> None:
    """Add each adapter into the linear map that it stands beside, and leave the maps alone, in place."""
    if importlib.util.find_spec("peft") is None:
        return
    layers: list[tuple[str, Any]] = [
        (name, module) for name, module in backbone.named_modules() if hasattr(module, "lora_A")
    ]
    for name, layer in layers:
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(backbone.get_submodule(parent), last, layer.get_base_layer())


def _any_of(names: list[str]) -> str:
    """A regular expression, which peft matches with the whole name."""
    return "|".join(re.escape(name) for name in names)
