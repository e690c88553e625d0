"""Expand: broadcasting to a shape."""

import numpy as np

from ._elementwise import require_float
from .base import REQUIRED, Op, TensorSpec, broadcast_shape


class Expand(Op):
    """The input repeated along axes of size 1 to the broadcast of its shape and `shape`."""

    name = "Expand"
    inputs = ("input", "shape")
    static = ("shape",)
    attrs = {"shape": REQUIRED}

    def infer(self, node, inputs):
        wanted = TensorSpec(tuple(int(n) for n in np.ravel(self.attr(node, "shape"))))
        return [TensorSpec(broadcast_shape(node, inputs[0], wanted), inputs[0].dtype)]

    def evaluate(self, node, *inputs):
        shape = self.infer(node, [TensorSpec(inputs[0].shape)])[0].shape
        return [np.broadcast_to(inputs[0], shape)]

    def gradient(self, g, node, dy, needs):
        return [g.emit("SumTo", [dy[0]], shape=g.spec(node.inputs[0]).shape)]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        y = ctx.output(node.outputs[0])
        ctx.copy(ctx.input(node.inputs[0]).expand(y.shape), y)
