"""Transpose: a view with permuted strides."""

import numpy as np

from ..errors import ShapeError
from .base import Op, TensorSpec, skip


class Transpose(Op):
    """y[i[perm[0]], i[perm[1]], ...] = x[i0, i1, ...]; the axes reversed if perm is not given."""

    name = "Transpose"
    inputs = ("data",)
    attrs = {"perm": None}
    is_view = True

    def axes(self, node, rank):
        perm = self.attr(node, "perm")
        return tuple(int(a) for a in perm) if perm is not None else tuple(reversed(range(rank)))

    def by_image(self, node, rank):
        return self.axes(node, rank)[0] == 0

    def infer(self, node, inputs):
        x = inputs[0]
        axes = self.axes(node, x.rank)
        if sorted(axes) != list(range(x.rank)):
            raise ShapeError(f"{node}: perm {list(axes)} is no permutation of the {x.rank} axes of {x.shape}")
        return [TensorSpec(tuple(x.shape[a] for a in axes), x.dtype)]

    def evaluate(self, node, *inputs):
        return [inputs[0].transpose(self.axes(node, inputs[0].ndim))]

    def simplify(self, g, node):
        """Transposes of transposes are one, and an exchange of nothing is none."""
        rank = g.spec(node.inputs[0]).rank
        node.attrs["perm"] = self.axes(node, rank)
        producer = g.producers().get(node.inputs[0])
        if producer is not None and producer.op == self.name:
            first = self.axes(producer, rank)
            node.attrs["perm"] = tuple(first[a] for a in self.axes(node, rank))
            node.inputs[0] = producer.inputs[0]
            return True
        return node.attrs["perm"] == tuple(range(rank)) and skip(g, node)

    def gradient(self, g, node, dy, needs):
        axes = self.axes(node, g.spec(node.inputs[0]).rank)
        return [g.emit("Transpose", [dy[0]], perm=tuple(int(a) for a in np.argsort(axes)))]

    def lower(self, ctx, node):
        x = ctx.input(node.inputs[0])
        ctx.alias(node.outputs[0], x.transpose(self.axes(node, len(x.shape))))

    def flops(self, node, inputs, outputs):
        return 0
