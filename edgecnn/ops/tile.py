"""Tile: the input repeated along its axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import ShapeError
from ._elementwise import require_float
from .base import REQUIRED, Op, TensorSpec
from .reshape import reshape_to


class Tile(Op):
    """numpy.tile(input, repeats)"""

    name = "Tile"
    inputs = ("input", "repeats")
    static = ("repeats",)
    attrs = {"repeats": REQUIRED}

    def repeats(self, node):
        return [int(r) for r in np.ravel(self.attr(node, "repeats"))]

    def infer(self, node, inputs):
        x, repeats = inputs[0], self.repeats(node)
        if len(repeats) != x.rank or min(repeats, default=1) < 1:
            raise ShapeError(f"{node}: repeats {repeats} for an input of shape {x.shape}, needed {x.rank} "
                             "numbers of at least 1")
        return [TensorSpec(tuple(n * r for n, r in zip(x.shape, repeats, strict=True)), x.dtype)]

    def evaluate(self, node, *inputs):
        return [np.tile(inputs[0], self.repeats(node))]

    def gradient(self, g, node, dy, needs):
        """The sum over the repetitions, one axis after the other."""
        dx, shape = dy[0], g.spec(node.inputs[0]).shape
        for axis, repeats in enumerate(self.repeats(node)):
            if repeats > 1:
                dx = reshape_to(g, dx, split(g.spec(dx).shape, axis, repeats, shape[axis]))
                dx = g.emit("ReduceSum", [dx], axes=(axis,), keepdims=0)
        return [dx]

    def lower(self, ctx, node):
        """One copy for each axis that is repeated: more at once may need more loops than the kernel has."""
        require_float(self, ctx, node)
        x, repeats = ctx.input(node.inputs[0]), self.repeats(node)
        axes = [axis for axis, r in enumerate(repeats) if r > 1]
        if not axes:
            ctx.alias(node.outputs[0], x)
        for axis in axes:
            r, n = repeats[axis], x.shape[axis]
            once = replace(x, shape=split(x.shape, axis, 1, n), strides=split(x.strides, axis, 0, x.strides[axis]))
            shape = (*x.shape[:axis], r * n, *x.shape[axis + 1:])
            y = ctx.output(node.outputs[0]) if axis == axes[-1] else ctx.temp(shape)
            pairs = split(shape, axis, r, n)
            ctx.copy(once.expand(pairs), y.reshape(pairs))
            x = y


def split(values, axis, *two):
    """`values` with two numbers instead of the one at `axis`."""
    return (*values[:axis], *two, *values[axis + 1:])
