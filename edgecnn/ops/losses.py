"""Losses: softmax cross entropy and mean squared error, with their gradients."""

from __future__ import annotations

import math

from ..errors import ModelError, ShapeError
from .base import Op, TensorSpec, same_spec

BLOCK = 4096  # values whose squared errors are added by one thread


class SoftmaxCrossEntropy(Op):
    """Mean over the rows of -sum_c t_c log softmax(x)_c with t = (1 - s) onehot(label) + s / C, s the label smoothing.

    x (N, C), labels int64 (N,). Results: the loss (1,) and the number of rows (1,) whose largest score is the label's.
    A label out of range gives NaN."""

    name = "SoftmaxCrossEntropy"
    onnx = False
    inputs = ("X", "labels")
    outputs = 2
    attrs = {"label_smoothing": 0.0}

    def infer(self, node, inputs):
        x, labels = inputs
        if x.rank != 2 or labels.shape != x.shape[:1]:
            raise ShapeError(f"{node}: scores {x.shape} and labels {labels.shape}, needed (N, classes) and (N,)")
        if not 0 <= self.attr(node, "label_smoothing") < 1:
            raise ModelError(f"label_smoothing is {self.attr(node, 'label_smoothing')}, allowed are 0 <= s < 1")
        return [TensorSpec((1,)), TensorSpec((1,))]

    def gradient(self, g, node, dy, needs):
        return [g.emit("SoftmaxCrossEntropyBackward", [*node.inputs, dy[0]], **node.attrs), None]

    def lower(self, ctx, node):
        x, labels = ctx.row_major(node.inputs[0]), ctx.input(node.inputs[1])
        n, c = x.shape
        rows, hits = ctx.temp((n,)), ctx.temp((n,))
        ctx.emit("cross_entropy_rows", 20 * x.size, x=x.arg(0), labels=labels, rows=rows, hits=hits, N=n, C=c,
                 smoothing=self.attr(node, "label_smoothing"))
        for values, output, factor in ((rows, node.outputs[0], 1 / n), (hits, node.outputs[1], 1.0)):
            ctx.emit("total", n, x=values, out=ctx.output(output), n=n, factor=factor)


class SoftmaxCrossEntropyBackward(Op):
    """dX = (softmax(X) - t) dloss / N."""

    name = "SoftmaxCrossEntropyBackward"
    onnx = False
    inputs = ("X", "labels", "dloss")
    attrs = SoftmaxCrossEntropy.attrs
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        x, labels, dloss = ctx.row_major(node.inputs[0]), ctx.input(node.inputs[1]), ctx.input(node.inputs[2])
        dx = ctx.output(node.outputs[0])
        ctx.emit("cross_entropy_backward", 20 * x.size, x=x.arg(0), labels=labels, dloss=dloss, dx=dx.arg(0),
                 N=x.shape[0], C=x.shape[1], smoothing=self.attr(node, "label_smoothing"))


class MeanSquaredError(Op):
    """Mean of (x - target)^2 over all values; the result has shape (1,)."""

    name = "MeanSquaredError"
    onnx = False
    inputs = ("X", "target")

    def infer(self, node, inputs):
        if inputs[0].shape != inputs[1].shape:
            raise ShapeError(f"{node}: prediction {inputs[0].shape} and target {inputs[1].shape} differ in shape")
        return [TensorSpec((1,))]

    def gradient(self, g, node, dy, needs):
        return [g.emit("MeanSquaredErrorBackward", [*node.inputs, dy[0]]) if needs[0] else None, None]

    def lower(self, ctx, node):
        x, target = (ctx.row_major(i) for i in node.inputs)
        blocks = math.ceil(x.size / BLOCK)
        rows = ctx.temp((blocks,))
        ctx.emit("squared_error_blocks", 4 * x.size, x=x, target=target, rows=rows, n=x.size, blocks=blocks)
        ctx.emit("total", blocks, x=rows, out=ctx.output(node.outputs[0]), n=blocks, factor=1 / x.size)


class MeanSquaredErrorBackward(Op):
    """dX = 2 (X - target) dloss / n."""

    name = "MeanSquaredErrorBackward"
    onnx = False
    inputs = ("X", "target", "dloss")
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        x, target = (ctx.row_major(i) for i in node.inputs[:2])
        dx = ctx.temp(x.shape, strides=x.strides)
        ctx.emit("squared_error_backward", 4 * x.size, x=x, target=target, dloss=ctx.input(node.inputs[2]), dx=dx, n=x.size)
        ctx.alias(node.outputs[0], dx)
