"""ReduceSum and ReduceMean, and the two directions of broadcasting: SumTo and its opposite ReduceBackward."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..errors import ShapeError
from ._elementwise import map_unary, require_float
from ._reduce import sum_axes
from .base import REQUIRED, Op, TensorSpec


class ReduceSum(Op):
    """The sum over `axes` (all if there are none, or nothing with noop_with_empty_axes)."""

    name = "ReduceSum"
    inputs = ("data", "axes?")
    static = ("axes",)
    attrs = {"axes": None, "keepdims": 1, "noop_with_empty_axes": 0}
    mean = False

    def axes(self, node, shape) -> set[int]:
        given = self.attr(node, "axes")
        if given is None or np.size(given) == 0:
            return set() if self.attr(node, "noop_with_empty_axes") else set(range(len(shape)))
        axes = [int(a) for a in np.reshape(given, -1)]
        if any(not -len(shape) <= a < len(shape) for a in axes):
            raise ShapeError(f"{node}: axes {axes} do not fit an input of shape {shape}")
        return {a % len(shape) for a in axes}

    def infer(self, node, inputs):
        shape, axes = inputs[0].shape, self.axes(node, inputs[0].shape)
        keep = self.attr(node, "keepdims")
        kept = [1 if a in axes else n for a, n in enumerate(shape) if a not in axes or keep]
        return [TensorSpec(tuple(kept), inputs[0].dtype)]

    def scale(self, node, shape) -> float:
        """What the sum is multiplied with."""
        return 1.0 / math.prod(shape[a] for a in self.axes(node, shape)) if self.mean else 1.0

    def evaluate(self, node, x, *_):
        reduce = np.mean if self.mean else np.sum
        axes = tuple(sorted(self.axes(node, x.shape)))
        return [np.asarray(reduce(x, axis=axes, keepdims=bool(self.attr(node, "keepdims")))).astype(x.dtype)]

    def gradient(self, g, node, dy, needs):
        shape = g.spec(node.inputs[0]).shape
        return [g.emit("ReduceBackward", [dy[0]], shape=shape, axes=sorted(self.axes(node, shape)),
                       scale=self.scale(node, shape))]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        x = ctx.input(node.inputs[0])
        axes = self.axes(node, x.shape)
        if not axes:
            ctx.alias(node.outputs[0], x)
            return
        y = ctx.output(node.outputs[0])
        if len(y.shape) == len(x.shape):
            y = y.transpose([a for a in range(len(x.shape)) if a not in axes])
        sum_axes(ctx, x, y, axes, self.scale(node, x.shape))

    def flops(self, node, inputs, outputs):
        return inputs[0].size


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
