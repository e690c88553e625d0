"""The two directions of broadcasting: ReduceBackward repeats, SumTo sums what was repeated."""

from __future__ import annotations

from dataclasses import replace

from ._elementwise import map_unary
from ._reduce import sum_axes
from .base import REQUIRED, Op, TensorSpec


class ReduceBackward(Op):
    """dX of a sum or mean over `axes`: dY * scale, repeated along these axes of `shape`. A repeated value is
    a view with stride 0: it costs no memory."""

    name = "ReduceBackward"
    onnx = False
    inputs = ("dY",)
    attrs = {"shape": REQUIRED, "axes": REQUIRED, "scale": 1.0}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec(tuple(node.attrs["shape"]))]

    def lower(self, ctx, node):
        shape, axes = node.attrs["shape"], set(node.attrs["axes"])
        dy = ctx.input(node.inputs[0])
        if len(dy.shape) < len(shape):
            strides = iter(dy.strides)
            dy = replace(dy, shape=tuple(1 if a in axes else n for a, n in enumerate(shape)),
                         strides=tuple(0 if a in axes else next(strides) for a in range(len(shape))))
        if self.attr(node, "scale") != 1.0:
            scaled = ctx.temp(dy.shape)
            map_unary(ctx, "scale", dy, scaled, self.attr(node, "scale"))
            dy = scaled
        ctx.alias(node.outputs[0], dy.expand(tuple(shape)))

    def flops(self, node, inputs, outputs):
        return inputs[0].size


class SumTo(Op):
    """The sum of X over the axes along which `shape` was broadcast to X's: a broadcast operand's gradient."""

    name = "SumTo"
    onnx = False
    attrs = {"shape": REQUIRED}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec(tuple(node.attrs["shape"]))]

    def lower(self, ctx, node):
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0])
        lead = len(x.shape) - len(y.shape)
        axes = {a for a, n in enumerate(x.shape) if a < lead or y.shape[a - lead] != n}
        kept = [a - lead for a in range(len(x.shape)) if a not in axes]
        sum_axes(ctx, x, y.transpose(kept), axes)

    def flops(self, node, inputs, outputs):
        return inputs[0].size
