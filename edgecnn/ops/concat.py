"""Concat: its inputs are computed right inside the output."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ._elementwise import require_float
from .base import REQUIRED, Op, TensorSpec, axis_of, skip


class Concat(Op):
    """The inputs one after the other along an axis."""

    name = "Concat"
    inputs = ("inputs*",)
    attrs = {"axis": REQUIRED}
    accepts_empty = True

    def from_onnx(self, node, opset):
        if opset < 4:
            node.attrs.setdefault("axis", 1)

    def infer(self, node, inputs):
        first = inputs[0]
        axis = axis_of(node, self.attr(node, "axis"), first.rank)
        if len({(x.rank, x.shape[:axis], x.shape[axis + 1:]) for x in inputs}) > 1:
            shapes = ", ".join(str(x.shape) for x in inputs)
            raise ShapeError(f"{node}: shapes {shapes} may differ in axis {axis} only")
        shape = list(first.shape)
        shape[axis] = sum(x.shape[axis] for x in inputs)
        return [TensorSpec(tuple(shape), first.dtype)]

    def evaluate(self, node, *inputs):
        return [np.concatenate(inputs, axis=self.attr(node, "axis"))]

    def by_image(self, node, rank):
        return self.attr(node, "axis") % rank != 0

    def simplify(self, g, node):
        return len(node.inputs) == 1 and skip(g, node)

    def before_transpose(self, g, node, perm):
        if any(g.value_of(i) is not None for i in node.inputs):
            return None
        node.attrs["axis"] = perm[self.attr(node, "axis")]
        return perm

    def parts(self, ctx, node, whole):
        """Names of the inputs that have elements, with the slices of the output where they belong."""
        axis, start = self.attr(node, "axis") % len(whole.shape), 0
        for value in node.inputs:
            stop = start + ctx.spec(value).shape[axis]
            if stop > start:
                yield value, whole.slice(axis, start, stop)
            start = stop

    def place(self, ctx, node):
        for value, part in self.parts(ctx, node, ctx.reserve(node.outputs[0])):
            if part.is_image:
                ctx.place(value, part)

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        for value, part in self.parts(ctx, node, ctx.output(node.outputs[0])):
            view = ctx.input(value)
            if (view.buffer, view.offset, view.strides) != (part.buffer, part.offset, part.strides):
                ctx.copy(view, part)

    def gradient(self, g, node, dy, needs):
        """If all inputs end with the same clamp, its gradient is taken of all at once: so what reads the whole can do it."""
        makers = g.producers()
        bounds = {g.op(makers[v]).last_clamp(makers[v]) if v in makers else None for v in node.inputs}
        if len(bounds) == 1 and None not in bounds and all(needs):
            ((lo, hi),) = bounds
            dy = [g.emit("ClampBackward", [dy[0], node.outputs[0]], lo=lo, hi=hi)]
        axis, start, grads = self.attr(node, "axis"), 0, []
        for value, need in zip(node.inputs, needs, strict=True):
            stop = start + g.spec(value).shape[axis]
            bounds = {"starts": np.array([start]), "ends": np.array([stop]), "axes": np.array([axis])}
            grads.append(g.emit("Slice", [dy[0]], **bounds) if need else None)
            start = stop
        return grads

    def flops(self, node, inputs, outputs):
        return 0
