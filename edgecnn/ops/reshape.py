"""Reshape: the same elements in logical row-major order under another shape."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from .base import REQUIRED, Node, Op, TensorSpec, skip


def reshape_to(g, value: str, shape) -> str:
    """Emits a Reshape of a value to a known shape; nothing if it has that shape already, a constant for a constant."""
    shape = tuple(int(n) for n in shape)
    if g.spec(value).shape == shape:
        return value
    if value in g.constants:
        return g.constant(g.constants[value].reshape(shape), value)
    return g.emit("Reshape", [value], shape=np.array(shape, np.int64))


def lower_reshape(ctx, node: Node) -> None:
    """The output is a view of the input if strides can say so, else of a row-major copy."""
    shape = tuple(ctx.spec(node.outputs[0]).shape)
    view = ctx.input(node.inputs[0]).reshape(shape)
    ctx.alias(node.outputs[0], view or ctx.row_major(node.inputs[0]).reshape(shape))


class ViewOp(Op):
    """Base of operators that only rename the axes: gradient, evaluation and lowering of a reshape."""

    is_view = True

    def evaluate(self, node, *inputs):
        x = inputs[0]
        return [np.reshape(x, self.infer(node, [TensorSpec(x.shape, str(x.dtype))])[0].shape)]

    def simplify(self, g, node):
        """Becomes a plain Reshape, so that other operators need to know only that one."""
        g.replace_value(node.outputs[0], reshape_to(g, node.inputs[0], g.spec(node.outputs[0]).shape))
        g.remove([node])
        return True

    def keeps_channels(self, g, node):
        return g.spec(node.inputs[0]).shape[:2] == g.spec(node.outputs[0]).shape[:2]

    def gradient(self, g, node, dy, needs):
        return [reshape_to(g, dy[0], g.spec(node.inputs[0]).shape)]

    def by_image(self, node, rank):
        return True

    def lower(self, ctx, node):
        lower_reshape(ctx, node)

    def flops(self, node, inputs, outputs):
        return 0


class Reshape(ViewOp):
    """A 0 in `shape` keeps the input's size there (unless allowzero), one -1 takes what is left."""

    name = "Reshape"
    inputs = ("data", "shape")
    static = ("shape",)
    attrs = {"shape": REQUIRED, "allowzero": 0}

    def infer(self, node, inputs):
        x = inputs[0]
        wanted = [int(n) for n in np.ravel(self.attr(node, "shape"))]
        if not self.attr(node, "allowzero"):
            if any(n == 0 and i >= x.rank for i, n in enumerate(wanted)):
                raise ShapeError(f"{node}: shape {wanted} keeps an axis that the input {x.shape} has not")
            wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
        rest = int(np.prod([n for n in wanted if n != -1], dtype=np.int64))
        if wanted.count(-1) == 1 and rest and x.size % rest == 0:
            wanted[wanted.index(-1)] = x.size // rest
        if min(wanted, default=1) < 0 or int(np.prod(wanted, dtype=np.int64)) != x.size:
            raise ShapeError(f"{node}: {x.size} elements of shape {x.shape} do not fit into shape {wanted}")
        return [TensorSpec(tuple(wanted), x.dtype)]

    def simplify(self, g, node):
        x, spec = node.inputs[0], g.spec(node.outputs[0])
        producer = g.producers().get(x)
        if g.spec(x).shape == spec.shape:
            return skip(g, node)
        if producer is not None and producer.op == self.name and len(producer.inputs) == 1:
            node.inputs[0] = producer.inputs[0]
            node.attrs["shape"] = np.array(spec.shape, np.int64)
            return True
        return False
