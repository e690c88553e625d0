"""Shape arithmetic: operators whose results are known when a plan is compiled."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

from ..errors import UnsupportedError
from .base import REQUIRED, Op, TensorSpec, same_spec, skip


class Shape(Op):
    """The shape of the input (from axis start to end) as int64."""

    name = "Shape"
    inputs = ("data",)
    attrs = {"start": 0, "end": None}
    shape_only = True

    def infer(self, node, inputs):
        return [TensorSpec((len(self.part(node, inputs[0].shape)),), "int64")]

    def evaluate(self, node, *inputs):
        return [np.array(self.part(node, inputs[0].shape), np.int64)]

    def part(self, node, shape):
        return shape[slice(self.attr(node, "start"), self.attr(node, "end"))]


class Size(Op):
    """The number of elements as int64."""

    name = "Size"
    inputs = ("data",)
    shape_only = True

    def infer(self, node, inputs):
        return [TensorSpec((), "int64")]

    def evaluate(self, node, *inputs):
        return [np.array(inputs[0].size, np.int64)]


class ConstantOfShape(Op):
    """An array of one value; its shape must follow from the input's shape."""

    name = "ConstantOfShape"
    inputs = ("input",)
    static = ("input",)
    attrs = {"input": REQUIRED, "value": None}
    no_gradient = "it does not depend on data"

    def infer(self, node, inputs):
        array = self.evaluate(node)[0]
        return [TensorSpec(array.shape, str(array.dtype))]

    def evaluate(self, node, *inputs):
        value = self.attr(node, "value")
        value = np.zeros(1, np.float32) if value is None else np.ravel(value)
        return [np.full(tuple(np.ravel(self.attr(node, "input"))), value[0], value.dtype)]


class Range(Op):
    """numpy.arange(start, limit, delta)."""

    name = "Range"
    inputs = ("start", "limit", "delta")
    static = inputs
    attrs = {k: REQUIRED for k in inputs}
    no_gradient = ConstantOfShape.no_gradient

    def infer(self, node, inputs):
        array = self.evaluate(node)[0]
        return [TensorSpec(array.shape, str(array.dtype))]

    def export_form(self, g, node, opset):
        """The inputs share a type, which is not that of any data."""
        given = {k: g.constant(node.attrs.pop(k), k) for k in self.inputs if k in node.attrs}
        node.inputs = [given.get(k) or i for k, i in zip_longest(self.inputs, node.inputs)]
        return bool(given)

    def evaluate(self, node, *inputs):
        start, limit, delta = (np.ravel(self.attr(node, k))[0] for k in self.inputs)
        return [np.arange(start, limit, delta, start.dtype)]


class Cast(Op):
    """Another data type; between floats nothing happens, for edgecnn computes in float32."""

    name = "Cast"
    inputs = ("input",)
    is_view = True
    attrs = {"to": REQUIRED, "saturate": 1, "round_mode": "up"}
    # onnx.TensorProto.DataType
    types = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float32",
             11: "float32", 12: "uint32", 13: "uint64", 16: "float32"}

    def unsupported(self, node):
        to = self.attr(node, "to")
        return "" if to in self.types else f"cast to ONNX data type {to} is not supported"

    def infer(self, node, inputs):
        want = self.types[self.attr(node, "to")]
        if want != inputs[0].dtype:
            raise UnsupportedError(f"{node}: casting data from {inputs[0].dtype} to {want} is not supported")
        return same_spec(node, inputs)

    def export_form(self, g, node, opset):
        to = self.attr(node, "to")
        node.attrs = {"to": 1 if self.types[to] == "float32" else to}
        return False

    def evaluate(self, node, *inputs):
        return [inputs[0].astype(self.types[self.attr(node, "to")])]

    def simplify(self, g, node):
        return skip(g, node)

    def gradient(self, g, node, dy, needs):
        return [dy[0]]

    def lower(self, ctx, node):
        ctx.alias(node.outputs[0], ctx.input(node.inputs[0]))
