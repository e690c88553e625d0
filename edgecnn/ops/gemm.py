"""Fully connected layers (Gemm, MatMul). They become convolutions, so that there is one matrix product in the
library: a kernel as large as the picture needs no flattened copy of it."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError, UnsupportedError
from .base import Node, Op, TensorSpec, broadcast_shape
from .reshape import reshape_to


def product(g, a: str, b: str, bias: str | None, name: str) -> str:
    """Emits a (M, K) times b^T (N, K) plus bias (N,): a convolution of 1x1 pictures with K channels, or of
    the picture (M, C, H, W) that `a` is a flattened view of."""
    m, k = g.spec(a).shape
    n = g.spec(b).shape[0]
    shape, source = (m, k, 1, 1), a
    producer = g.producers().get(a)
    if producer is not None and g.op(producer).is_view:
        before = g.spec(producer.inputs[0]).shape
        if len(before) == 4 and before[0] == m:
            shape, source = before, producer.inputs[0]
    x, w = reshape_to(g, source, shape), reshape_to(g, b, (n, *shape[1:]))
    return reshape_to(g, g.emit("Conv", [x, w, *([bias] if bias else [])], name=name), (m, n))


def scaled(g, value: str, factor: float) -> str:
    """Emits value * factor."""
    return value if factor == 1.0 else g.emit("Mul", [value, g.constant(np.float32(factor), "factor")])


class Gemm(Op):
    """y = alpha A' B' + beta C; A' and B' transposed if transA, transB say so; C is broadcast."""

    name = "Gemm"
    inputs = ("A", "B", "C?")
    parameters = ("B", "C")
    attrs = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    no_gradient = "it becomes a convolution before differentiation"

    def output_axes(self, node):
        return {"B": 0 if self.attr(node, "transB") else 1, "C": -1}

    def from_onnx(self, node, opset):
        node.attrs.pop("broadcast", None)  # before opset 7; C was broadcast then as it is now

    def infer(self, node, inputs):
        a, b = inputs[0], inputs[1]
        if a.rank != 2 or b.rank != 2:
            raise ShapeError(f"{node}: A {a.shape} and B {b.shape} must be matrices; flatten the input first")
        (m, k), (k2, n) = (s.shape[::-1] if self.attr(node, trans) else s.shape
                           for s, trans in ((a, "transA"), (b, "transB")))
        if k != k2:
            raise ShapeError(f"{node}: the input has {k} features, the weights {b.shape} take {k2}; "
                             "the pictures have another size than the network was made for")
        c = inputs[2] if len(inputs) > 2 else None
        if c is not None and broadcast_shape(node, c, TensorSpec((m, n))) != (m, n):
            raise ShapeError(f"{node}: C {c.shape} cannot be broadcast to the product's shape {(m, n)}")
        return [TensorSpec((m, n))]

    def simplify(self, g, node):
        a, b = node.inputs[:2]
        if self.attr(node, "transA"):
            a = g.emit("Transpose", [a], perm=(1, 0))
        if not self.attr(node, "transB"):
            b = g.emit("Transpose", [b], perm=(1, 0))
        alpha, beta = self.attr(node, "alpha"), self.attr(node, "beta")
        c = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] and beta != 0 else None
        n = g.spec(b).shape[0]
        bias = c if c and g.spec(c).size == n and g.spec(c).shape in ((n,), (1, n)) and alpha == 1.0 else None
        if bias:
            bias = scaled(g, reshape_to(g, bias, (n,)), beta)
        y = scaled(g, product(g, a, b, bias, node.name), alpha)
        if c and not bias:
            y = g.emit("Add", [y, scaled(g, c, beta)])
        g.replace_value(node.outputs[0], y)
        g.remove([node])
        return True

    def flops(self, node, inputs, outputs):
        return 2 * outputs[0].size * inputs[0].shape[0 if self.attr(node, "transA") else 1]


class MatMul(Op):
    """numpy.matmul of anything with a matrix."""

    name = "MatMul"
    inputs = ("A", "B")
    parameters = ("B",)
    no_gradient = Gemm.no_gradient

    def output_axes(self, node):
        return {"B": -1}

    def infer(self, node, inputs):
        a, b = inputs
        if b.rank != 2 or a.rank < 1:
            raise UnsupportedError(f"{node}: only products with a matrix on the right are supported, got "
                                   f"{a.shape} and {b.shape}")
        if a.shape[-1] != b.shape[0]:
            raise ShapeError(f"{node}: {a.shape} times {b.shape}: {a.shape[-1]} columns do not meet "
                             f"{b.shape[0]} rows")
        return [TensorSpec((*a.shape[:-1], b.shape[1]))]

    def evaluate(self, node: Node, *inputs):
        return [inputs[0] @ inputs[1]]

    def simplify(self, g, node):
        a, b = node.inputs
        shape = g.spec(a).shape
        rows = reshape_to(g, a, (g.spec(a).size // shape[-1], shape[-1]))
        y = product(g, rows, g.emit("Transpose", [b], perm=(1, 0)), None, node.name)
        g.replace_value(node.outputs[0], reshape_to(g, y, g.spec(node.outputs[0]).shape))
        g.remove([node])
        return True

    def flops(self, node, inputs, outputs):
        return 2 * outputs[0].size * inputs[1].shape[0]
