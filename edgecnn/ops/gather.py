"""Gather: rows, columns or channels by number."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ._elementwise import require_float
from .base import REQUIRED, Op, TensorSpec, axis_of


class Gather(Op):
    """numpy.take(data, indices, axis)"""

    name = "Gather"
    inputs = ("data", "indices")
    static = ("indices",)
    attrs = {"axis": 0, "indices": REQUIRED}
    no_gradient = "it takes single rows and columns, which no layer of a network does in training"

    def infer(self, node, inputs):
        x, indices = inputs[0], np.asarray(self.attr(node, "indices"))
        axis = axis_of(node, self.attr(node, "axis"), x.rank)
        n = x.shape[axis]
        if indices.size and not -n <= indices.min() <= indices.max() < n:
            raise ShapeError(f"{node}: indices from {indices.min()} to {indices.max()} on axis {axis}, "
                             f"allowed are {-n} to {n - 1}")
        return [TensorSpec((*x.shape[:axis], *indices.shape, *x.shape[axis + 1:]), x.dtype)]

    def evaluate(self, node, *inputs):
        return [np.take(inputs[0], self.attr(node, "indices"), axis=self.attr(node, "axis"))]

    def lower(self, ctx, node):
        """One index is a view; more are copied one by one."""
        require_float(self, ctx, node)
        x, axis = ctx.input(node.inputs[0]), self.attr(node, "axis")
        axis %= len(x.shape)
        parts = [x.slice(axis, i, i + 1) for i in np.ravel(self.attr(node, "indices")) % x.shape[axis]]
        rows = parts[0] if len(parts) == 1 else ctx.temp((*x.shape[:axis], len(parts), *x.shape[axis + 1:]))
        for n, part in enumerate(parts if len(parts) > 1 else ()):
            ctx.copy(part, rows.slice(axis, n, n + 1))
        ctx.alias(node.outputs[0], rows.reshape(tuple(ctx.spec(node.outputs[0]).shape)))

    def flops(self, node, inputs, outputs):
        return 0
