"""Split: several slices of one value, all of them views."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from .base import Op, TensorSpec, axis_of


class Split(Op):
    """Parts of the sizes `split` along an axis; equal ones, the last perhaps smaller, if it is not given."""

    name = "Split"
    inputs = ("input", "split?")
    static = ("split",)
    attrs = {"axis": 0, "split": None, "num_outputs": None}

    def from_onnx(self, node, opset):
        node.attrs.pop("num_outputs", None)  # the node has as many

    def export_form(self, g, node, opset):
        """Without sizes, ONNX has equal parts before opset 18, from then on it wants to be told how many."""
        x = g.spec_or_none(node.inputs[0])
        size = x.shape[axis_of(node, self.attr(node, "axis"), x.rank)] if x else None
        if self.attr(node, "split") is not None:
            return False
        if opset >= 18:
            node.attrs["num_outputs"] = len(node.outputs)
        elif size is not None and size % len(node.outputs):
            node.attrs["split"] = np.array(self.sizes(node, size))
        return False

    def sizes(self, node, n):
        """The size of each output along the axis, which has size n."""
        count, given = len(node.outputs), self.attr(node, "split")
        size = -(-n // count)
        sizes = [size] * (count - 1) + [n - size * (count - 1)] if given is None else np.ravel(given).tolist()
        if len(sizes) != count or sum(sizes) != n or min(sizes) < 0:
            raise ShapeError(f"{node}: {n} elements cannot be split into {count} parts of sizes {sizes}")
        return sizes

    def before_transpose(self, g, node, perm):
        node.attrs["axis"] = perm[self.attr(node, "axis")]
        return perm

    def bounds(self, node, shape):
        """(axis, start, stop) of each output."""
        axis = axis_of(node, self.attr(node, "axis"), len(shape))
        ends = np.cumsum(self.sizes(node, shape[axis])).tolist()
        return [(axis, start, stop) for start, stop in zip([0, *ends], ends, strict=False)]

    def infer(self, node, inputs):
        shape = inputs[0].shape
        return [TensorSpec((*shape[:axis], stop - start, *shape[axis + 1:]), inputs[0].dtype)
                for axis, start, stop in self.bounds(node, shape)]

    def evaluate(self, node, *inputs):
        (x,) = inputs
        return [x.take(range(start, stop), axis) for axis, start, stop in self.bounds(node, x.shape)]

    def gradient(self, g, node, dy, needs):
        x = g.spec(node.inputs[0])
        zero = g.constant(np.zeros((1,) * x.rank, np.float32), "zero")
        parts = [given or g.emit("Expand", [zero], shape=np.array(part.shape, np.int64))
                 for given, part in zip(dy, self.infer(node, [x]), strict=True)]
        return [g.emit("Concat", parts, axis=self.attr(node, "axis"))]

    def lower(self, ctx, node):
        x = ctx.input(node.inputs[0])
        for value, bounds in zip(node.outputs, self.bounds(node, x.shape), strict=True):
            if value:
                ctx.alias(value, x.slice(*bounds))

    def flops(self, node, inputs, outputs):
        return 0
