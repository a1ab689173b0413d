from __future__ import annotations

import copy

import pytest
import torch

from fsgl.engine.precision import choose, compute_dtype
from fsgl.engine.runtime import Runtime
from fsgl.errors import UserError
from fsgl.methods import Glmc
from fsgl.models.backbones import build_backbone

CPU = torch.device("cpu")


def test_a_cpu_computes_in_float32_unless_told_otherwise() -> None:
    assert [choose(name, CPU) for name in ("auto", "float32", "bf16")] == ["float32", "float32", "bf16"]
    assert (compute_dtype("float32"), compute_dtype("bf16")) == (None, torch.bfloat16)
    assert Runtime("cpu").place().describe() == {"precision": "float32", "processes": 1}


@pytest.mark.parametrize(
    ("runtime", "said"),
    [
        (Runtime("cpu", precision="tf32"), "tf32 is of NVIDIA GPUs"),
        (Runtime("cpu", precision="fp32"), "unknown precision 'fp32'"),
        (Runtime("cpu", cuda_graphs=True), "CUDA graphs need an NVIDIA GPU"),
    ],
)
def test_what_a_device_lacks_is_refused(runtime: Runtime, said: str) -> None:
    with pytest.raises(UserError, match=said):
        runtime.place()


def test_bf16_rounds_the_backbone_and_nothing_else() -> None:
    torch.manual_seed(0)
    net = Glmc().build(build_backbone("resnet8-slim"), torch.tensor([9, 5, 2])).train()
    rounded = copy.deepcopy(net)
    rounded.compute_dtype = torch.bfloat16
    images, target = torch.randn(4, 3, 16, 16), torch.eye(3)[[0, 1, 2, 0]]
    features = rounded.features(images)
    assert features.dtype == torch.float32
    exact = net.features(images)
    assert not torch.equal(features, exact)
    torch.testing.assert_close(features, exact, rtol=0.1, atol=0.1)
    outputs = rounded(images, target)
    assert {output.dtype for output in outputs} == {torch.float32}
    torch.testing.assert_close(outputs.conventional_BK, rounded.heads.fc(rounded.feature_scaling(features, target)))
    outputs.conventional_BK.sum().backward()
    assert {parameter.grad.dtype for parameter in rounded.backbone.parameters()} == {torch.float32}
