"""Tensors under the names of another code base, renamed to timm's.

Known so far: EfficientNet as the package efficientnet_pytorch and its relatives name it, whose blocks are counted
through (``_blocks.5._expand_conv``) where timm counts them by stage (``blocks.3.0.conv_pw``).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_AROUND = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier",
}  # fmt: skip
# In a block that widens first, and in one that does not (timm's DepthwiseSeparableConv, which numbers from there).
_WIDENING = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand",
}  # fmt: skip
_PLAIN = {
    "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2",
    "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand",
}  # fmt: skip


def as_timm_names(net: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors under the names that timm's ``net`` gives them; None where theirs are of no code base known here.

    A name that has no counterpart keeps its own, so that whoever loads them finds it unknown.
    """
    if "_conv_stem.weight" not in tensors or not hasattr(net, "blocks"):
        return None
    stages: Any = net.blocks
    blocks = [(f"blocks.{i}.{j}", block) for i, stage in enumerate(stages) for j, block in enumerate(stage)]
    renamed = {}
    for name, value in tensors.items():
        first, *rest = name.split(".")
        if first == "_blocks" and len(rest) >= 2 and rest[0].isdigit() and int(rest[0]) < len(blocks):
            where, block = blocks[int(rest[0])]
            inner = (_WIDENING if hasattr(block, "conv_pwl") else _PLAIN).get(rest[1], rest[1])
            renamed[".".join([where, inner, *rest[2:]])] = value
        else:
            renamed[".".join([_AROUND.get(first, first), *rest])] = value
    return renamed
