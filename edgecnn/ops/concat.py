"""Concat: its inputs are computed right inside the output."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from .base import REQUIRED, Op, TensorSpec


class Concat(Op):
    """The inputs one after the other along an axis."""

    name = "Concat"
    inputs = ("inputs*",)
    attrs = {"axis": REQUIRED}

    def infer(self, node, inputs):
        first = inputs[0]
        axis = self.attr(node, "axis") % first.rank
        for x in inputs[1:]:
            if x.rank != first.rank or any(m != n for i, (m, n) in enumerate(zip(x.shape, first.shape, strict=True))
                                           if i != axis):
                raise ShapeError(f"{node}: shapes {', '.join(str(s.shape) for s in inputs)} differ not only in axis {axis}")
        shape = list(first.shape)
        shape[axis] = sum(x.shape[axis] for x in inputs)
        return [TensorSpec(tuple(shape), first.dtype)]

    def evaluate(self, node, *inputs):
        return [np.concatenate(inputs, axis=self.attr(node, "axis"))]

    def simplify(self, g, node):
        if len(node.inputs) > 1 or (node.outputs[0] in g.outputs and node.inputs[0] not in g.producers()):
            return False
        g.replace_value(node.outputs[0], node.inputs[0])
        g.remove([node])
        return True

    def parts(self, ctx, node, whole):
        """Input names with the slices of the output where they belong."""
        axis, start = self.attr(node, "axis") % len(whole.shape), 0
        for value in node.inputs:
            stop = start + ctx.spec(value).shape[axis]
            yield value, whole.slice(axis, start, stop)
            start = stop

    def place(self, ctx, node):
        for value, part in self.parts(ctx, node, ctx.reserve(node.outputs[0])):
            if part.is_image:
                ctx.place(value, part)

    def lower(self, ctx, node):
        for value, part in self.parts(ctx, node, ctx.output(node.outputs[0])):
            view = ctx.input(value)
            if (view.buffer, view.offset, view.strides) != (part.buffer, part.offset, part.strides):
                ctx.copy(view, part)

    def gradient(self, g, node, dy, needs):
        axis, start, grads = self.attr(node, "axis"), 0, []
        for value, need in zip(node.inputs, needs, strict=True):
            stop = start + g.spec(value).shape[axis]
            grads.append(g.emit("Slice", [dy[0]], starts=np.array([start]), ends=np.array([stop]), axes=np.array([axis]))
                         if need else None)
            start = stop
        return grads

    def flops(self, node, inputs, outputs):
        return 0
