"""Softmax and its logarithm along one axis."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..errors import ShapeError
from ._elementwise import overwritable
from .base import Node, Op, same_spec
from .reshape import reshape_to
from .view import Arg, View


def rows_along(ctx: Any, axis: int, *views: View) -> tuple[tuple[int, ...], list[Arg]]:
    """Six loops over views of one shape whose last is `axis`: sizes and a pointer for each view."""
    n = views[0].shape[axis]
    rest = [replace(v, shape=tuple(1 if a == axis else m for a, m in enumerate(v.shape))) for v in views]
    dims, strides = ctx.loops(5, *rest)
    return (*dims, n), [Arg(v, (*s, v.strides[axis])) for v, s in zip(views, strides, strict=True)]


class Softmax(Op):
    """y = exp(x - max x) / sum exp(x - max x) along `axis`. Before opset 13 ONNX flattened the axes from `axis` on into one
    row: `flatten` stands for that, here only."""

    name = "Softmax"
    inputs = ("input",)
    attrs = {"axis": -1, "flatten": 0}
    kernel = "softmax"

    def from_onnx(self, node, opset):
        if opset < 13:
            node.attrs = {"axis": 1, "flatten": 1, **node.attrs}

    def simplify(self, g, node):
        if not self.attr(node, "flatten"):
            return False
        shape = g.spec(node.inputs[0]).shape
        axis = self.attr(node, "axis") % len(shape)
        rows = reshape_to(g, node.inputs[0], (math.prod(shape[:axis]), math.prod(shape[axis:])))
        g.replace_value(node.outputs[0], reshape_to(g, g.emit(self.name, [rows], axis=-1), shape))
        g.remove([node])
        return True

    def export_form(self, g, node, opset):
        """The flattened form is written out; the last axis means the same in both."""
        if not self.attr(node, "flatten"):
            return False
        flat = g.emit("Flatten", [node.inputs[0]], axis=self.attr(node, "axis"))
        rows, shape = g.emit(self.name, [flat], axis=-1), g.emit("Shape", [node.inputs[0]])
        node.op, node.inputs, node.attrs = "Reshape", [rows, shape], {}
        return True

    def by_image(self, node, rank):
        return self.attr(node, "axis") % rank != 0

    def infer(self, node, inputs):
        axis, shape = self.attr(node, "axis"), inputs[0].shape
        if not -len(shape) <= axis < len(shape):
            raise ShapeError(f"{node}: axis {axis} does not fit an input of shape {shape}")
        return same_spec(node, inputs)

    def gradient(self, g, node, dy, needs):
        return [g.emit(self.name + "Backward", [dy[0], node.outputs[0]], axis=self.attr(node, "axis"))]

    def lower(self, ctx, node):
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0], over=node.inputs[0])
        dims, (xa, ya) = rows_along(ctx, self.attr(node, "axis") % len(x.shape), x, y)
        ctx.emit(self.kernel, self.flops(node, [], [y]), x=xa, y=ya, dims=dims)

    def flops(self, node, inputs, outputs):
        return 24 * outputs[0].size


class SoftmaxBackward(Op):
    """dX = Y * (dY - sum(dY * Y)), the sum along `axis`"""

    name = "SoftmaxBackward"
    onnx = False
    inputs = ("dY", "Y")
    attrs = {"axis": -1}
    kernel = "softmax_backward"
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        dy, y = (ctx.input(v) for v in node.inputs)
        dx = ctx.output(node.outputs[0], over=overwritable(ctx, node))
        dims, (ga, ya, xa) = rows_along(ctx, self.attr(node, "axis") % len(y.shape), dy, y, dx)
        ctx.emit(self.kernel, self.flops(node, [], [dx]), dy=ga, y=ya, dx=xa, dims=dims)

    def flops(self, node: Node, inputs, outputs):
        return 6 * outputs[0].size


class LogSoftmax(Softmax):
    """y = x - max x - log sum exp(x - max x) along `axis`; opsets as Softmax."""

    name = "LogSoftmax"
    kernel = "log_softmax"


class LogSoftmaxBackward(SoftmaxBackward):
    """dX = dY - exp(Y) * sum(dY), the sum along `axis`"""

    name = "LogSoftmaxBackward"
    kernel = "log_softmax_backward"
