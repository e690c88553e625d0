"""Fully connected layers (Gemm, MatMul). Products with one matrix become convolutions: these are the fast matrix product of
the library, and a kernel as large as the picture needs no flattened copy of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..errors import ShapeError
from ._elementwise import require_float, sum_to
from ._im2col import gemm
from .base import Node, Op, TensorSpec, broadcast_shape
from .reshape import reshape_to
from .view import collapse, row_major


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
    """numpy.matmul. A product with a matrix becomes a convolution, products of many matrices are computed one by one."""

    name = "MatMul"
    inputs = ("A", "B")
    parameters = ("B",)

    def output_axes(self, node):
        return {"B": -1}

    def infer(self, node, inputs):
        a, b = (s.shape for s in inputs)
        if not a or not b or a[-1] != b[-2 if len(b) > 1 else 0]:
            raise ShapeError(f"{node}: {a} times {b}: the columns of the first do not meet the rows of the second")
        batch = broadcast_shape(node, *(TensorSpec(s[:-2]) for s in (a, b)))
        return [TensorSpec((*batch, *a[-2:-1], *b[-1:][:len(b) - 1]), inputs[0].dtype)]

    def evaluate(self, node: Node, *inputs):
        return [np.matmul(*inputs)]

    def simplify(self, g, node):
        a, b = node.inputs
        shapes = [g.spec(a).shape, g.spec(b).shape]
        left, right = (1, *shapes[0])[-max(2, len(shapes[0])):], (*shapes[1], 1)[:max(2, len(shapes[1]))]
        if all(n == 1 for n in right[:-2]):
            rows = reshape_to(g, a, (math.prod(left[:-1]), left[-1]))
            columns = g.emit("Transpose", [reshape_to(g, b, right[-2:])], perm=(1, 0))
            y = product(g, rows, columns, None, node.name)
        elif [left, right] == shapes:
            return False
        else:
            y = g.emit("MatMul", [reshape_to(g, a, left), reshape_to(g, b, right)], name=node.name)
        g.replace_value(node.outputs[0], reshape_to(g, y, g.spec(node.outputs[0]).shape))
        g.remove([node])
        return True

    def gradient(self, g, node, dy, needs):
        a, b = node.inputs

        def turned(value):
            rank = g.spec(value).rank
            return g.emit("Transpose", [value], perm=(*range(rank - 2), rank - 1, rank - 2))
        return [sum_to(g, g.emit("MatMul", [dy[0], turned(b)]), a) if needs[0] else None,
                sum_to(g, g.emit("MatMul", [turned(a), dy[0]]), b) if needs[1] else None]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        shape = ctx.spec(node.outputs[0]).shape
        y = ctx.output(node.outputs[0], strides=row_major(shape))
        a, b = (ctx.row_major(v) for v in node.inputs)
        views = [v.expand((*shape[:-2], *v.shape[-2:])) for v in (a, b)] + [y]
        batch = [v.slice(-2, 0, 1).slice(-1, 0, 1) for v in views]
        sizes, strides = collapse(batch[0].shape, *batch)
        inner = sizes[-1] if sizes else 1
        for outer in np.ndindex(*sizes[:-1]):
            parts = [replace(v, shape=(inner, *v.shape[-2:]), strides=(s[-1] if s else 0, *v.strides[-2:]),
                             offset=v.offset + sum(i * step for i, step in zip(outer, s, strict=False)))
                     for v, s in zip(views, strides, strict=True)]
            gemm(ctx, *parts)

    def flops(self, node, inputs, outputs):
        return 2 * outputs[0].size * inputs[0].shape[-1]
