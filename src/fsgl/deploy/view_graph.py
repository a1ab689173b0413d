"""What a network is shown of an image (data/images/pixels.py, ``view``) as ONNX operators: any size in, a view out.

ONNX Runtime's antialiased resizing of 8-bit pixels is Pillow's to within a level. So whoever has a decoded, upright
8-bit RGB image, in any language, needs no further step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fsgl.data.images.pixels import Shape

if TYPE_CHECKING:
    import onnx

# As Pillow weighs red, green and blue, in 65,536ths.
_GREY = (19595, 38470, 7471)


VIEW = "fsgl_view"  # the network's input: a name that no layer gives to what it computes, as "view" is (x.view())


class _Builder:
    """Nodes, each with one result, which its call names."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def const(self, value: Any, kind: type = np.int64) -> str:
        from onnx import numpy_helper

        name = f"view_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"view_{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name


def with_view(network: onnx.ModelProto, shape: Shape) -> onnx.ModelProto:
    """The network behind its view: input "images", uint8 ``N x height x width x 3`` of any size.

    network: takes uint8 ``N x H x W x C`` named VIEW.
    """
    from onnx import TensorProto, checker, compose, helper

    op = _Builder()
    size = op("Shape", "images")
    count, height, width = (op("Gather", size, op.const([axis])) for axis in range(3))
    out = _photograph(op, height, width, count, shape) if shape.photograph else _fitted(op, height, width, count, shape)
    if shape.channels == 1:
        weighed = op("Mul", op("Cast", out, to=TensorProto.INT32), op.const(_GREY, np.int32))
        summed = op("ReduceSum", weighed, op.const([3]), keepdims=1)
        grey = op("Div", op("Add", summed, op.const(32768, np.int32)), op.const(65536, np.int32))
        out = op("Cast", grey, to=TensorProto.UINT8)
    op.nodes.append(helper.make_node("Identity", [out], ["view_made"]))
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "height", "width", 3])
    made = helper.make_tensor_value_info(
        "view_made", TensorProto.UINT8, ["N", shape.height, shape.width, shape.channels]
    )
    graph = helper.make_graph(op.nodes, "view", [given], [made], op.constants)
    front = helper.make_model(graph, opset_imports=network.opset_import, ir_version=network.ir_version)
    checker.check_model(front)
    return compose.merge_models(front, network, io_map=[("view_made", VIEW)])


def _photograph(op: _Builder, height: str, width: str, count: str, shape: Shape) -> str:
    short = shape.width * 8 // 7
    smaller = op("Min", height, width)
    scale = op("Div", op.const([short], np.float64), op("Cast", smaller, to=11))  # 11: float64, as Python reckons
    sides = []
    for side in (height, width):
        longer = op("Cast", op("Mul", op("Cast", side, to=11), scale), to=7)
        sides.append(op("Where", op("Equal", side, smaller), op.const([short]), longer))
    resized = _resized(op, "images", op("Concat", count, *sides, op.const([3]), axis=0))
    starts = [_half_to_even(op, op("Sub", side, op.const([shape.width]))) for side in sides]
    middle = _cut(op, resized, starts, [op("Add", start, op.const([shape.width])) for start in starts])
    if not shape.whole:
        return middle
    whole = _resized(op, "images", op("Concat", count, op.const([shape.width, shape.width, 3]), axis=0))
    return op("Concat", middle, whole, axis=1)


def _fitted(op: _Builder, height: str, width: str, count: str, shape: Shape) -> str:
    inner = []
    for side, other, wanted, of in (
        (height, width, shape.height, shape.width), (width, height, shape.width, shape.height)
    ):  # fmt: skip
        twice = op("Add", op("Mul", other, op.const([2 * wanted])), op.const([of]))
        fitting = op("Max", op("Div", twice, op.const([2 * of])), op.const([1]))
        inner.append(op("Min", side, fitting))
    spare = (op("Sub", side, part) for side, part in zip((height, width), inner, strict=True))
    starts = [op("Div", each, op.const([2])) for each in spare]
    ends = [op("Add", start, part) for start, part in zip(starts, inner, strict=True)]
    size = op("Concat", count, op.const([shape.height, shape.width, 3]), axis=0)
    return _resized(op, _cut(op, "images", starts, ends), size)


def _resized(op: _Builder, images: str, size: str) -> str:
    # exclude_outside: at the border the weights are those of the pixels that are there, as Pillow has it
    return op(
        "Resize", images, "", "", size, mode="linear", antialias=1, exclude_outside=1,
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip


def _half_to_even(op: _Builder, difference: str) -> str:
    half = op("Div", difference, op.const([2]))
    return op("Div", op("Add", difference, op("Mod", half, op.const([2]))), op.const([2]))


def _cut(op: _Builder, images: str, starts: list[str], ends: list[str]) -> str:
    return op("Slice", images, op("Concat", *starts, axis=0), op("Concat", *ends, axis=0), op.const([1, 2]))
