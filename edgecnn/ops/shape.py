"""Shape arithmetic: operators whose results are known when a plan is compiled."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from .base import REQUIRED, Op, TensorSpec, same_spec


class Shape(Op):
    """The shape of the input (from axis start to end) as int64."""

    name = "Shape"
    inputs = ("data",)
    attrs = {"start": 0, "end": None}
    shape_only = True

    def infer(self, node, inputs):
        return [TensorSpec((len(self.evaluate(node, np.empty(inputs[0].shape))[0]),), "int64")]

    def evaluate(self, node, *inputs):
        return [np.array(inputs[0].shape[slice(self.attr(node, "start"), self.attr(node, "end"))], np.int64)]


class Gather(Op):
    """numpy.take(data, indices, axis)."""

    name = "Gather"
    inputs = ("data", "indices")
    static = ("indices",)
    attrs = {"axis": 0, "indices": REQUIRED}
    no_gradient = "it takes single rows and columns, which no layer of a network does in training"

    def infer(self, node, inputs):
        x, axis = inputs[0], self.attr(node, "axis") % inputs[0].rank
        return [TensorSpec((*x.shape[:axis], *np.shape(self.attr(node, "indices")), *x.shape[axis + 1:]), x.dtype)]

    def evaluate(self, node, *inputs):
        return [np.take(inputs[0], self.attr(node, "indices"), axis=self.attr(node, "axis"))]

    def lower(self, ctx, node):
        x, indices = ctx.input(node.inputs[0]), np.asarray(self.attr(node, "indices"))
        axis = self.attr(node, "axis") % len(x.shape)
        flat = [int(i) % x.shape[axis] for i in indices.ravel()]
        lead, tail = x.shape[:axis], x.shape[axis + 1:]
        rows = ctx.temp((*lead, len(flat), *tail))
        for n, i in enumerate(flat):
            ctx.copy(x.slice(axis, i, i + 1), rows.slice(axis, n, n + 1))
        view = rows.reshape(tuple(ctx.spec(node.outputs[0]).shape))
        if view is None:
            raise UnsupportedError(f"{node}: indices of shape {indices.shape} on axis {axis} are not supported")
        ctx.alias(node.outputs[0], view)


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


class Cast(Op):
    """Another data type; between floats nothing happens, for edgecnn computes in float32."""

    name = "Cast"
    inputs = ("input",)
    attrs = {"to": REQUIRED, "saturate": 1, "round_mode": "up"}
    # onnx.TensorProto.DataType
    types = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float32", 11: "float32"}

    def unsupported(self, node):
        to = self.attr(node, "to")
        return "" if to in self.types else f"cast to ONNX data type {to} is not supported"

    def infer(self, node, inputs):
        want = self.types[self.attr(node, "to")]
        if want != inputs[0].dtype:
            raise UnsupportedError(f"{node}: a cast of data from {inputs[0].dtype} to {want} is not supported")
        return same_spec(node, inputs)

    def evaluate(self, node, *inputs):
        return [inputs[0].astype(self.types[self.attr(node, "to")])]

    def simplify(self, g, node):
        if node.outputs[0] in g.outputs and node.inputs[0] not in g.producers():
            return False
        g.replace_value(node.outputs[0], node.inputs[0])
        g.remove([node])
        return True

    def gradient(self, g, node, dy, needs):
        return [dy[0]]

    def lower(self, ctx, node):
        ctx.alias(node.outputs[0], ctx.input(node.inputs[0]))
