"""Losses: softmax cross entropy and mean squared error, with their gradients."""

from __future__ import annotations

from ..errors import ModelError, ShapeError
from ._norm import squared_distance
from ._reduce import sum_axes
from .base import Op, TensorSpec, same_spec


class SoftmaxCrossEntropy(Op):
    """Mean over the rows of -sum_c t_c log softmax(x)_c with t = (1 - s) onehot(label) + s / C, s the label
    smoothing (Szegedy et al. 2016, Rethinking the Inception architecture, section 7).

    Shape: X (N, C), labels int64 (N,); the loss (1,) and the number of rows (1,) whose first largest score is
    the label's. A label out of range makes the loss NaN; nothing is read for it."""

    name = "SoftmaxCrossEntropy"
    onnx = False
    inputs = ("X", "labels")
    outputs = 2
    attrs = {"label_smoothing": 0.0}

    def infer(self, node, inputs):
        x, labels = inputs
        if x.rank != 2 or labels.shape != x.shape[:1] or labels.dtype != "int64":
            raise ShapeError(f"{node}: scores {x.shape} and {labels.dtype} labels {labels.shape}, "
                             "needed (N, classes) and int64 (N,)")
        smoothing = self.attr(node, "label_smoothing")
        if not 0 <= smoothing < 1:
            raise ModelError(f"{node}: label_smoothing is {smoothing}, allowed are 0 <= s < 1")
        return [TensorSpec((1,)), TensorSpec((1,))]

    def gradient(self, g, node, dy, needs):
        if not needs[0] or not dy[0]:
            return [None, None]
        return [g.emit("SoftmaxCrossEntropyBackward", [*node.inputs, dy[0]], **node.attrs), None]

    def lower(self, ctx, node):
        x, labels = ctx.row_major(node.inputs[0]), ctx.input(node.inputs[1])
        n, c = x.shape
        losses, hits = ctx.temp((n,)), ctx.temp((n,))
        ctx.emit("cross_entropy", 24 * x.size, x=x, labels=labels.arg(0), losses=losses, hits=hits, N=n, C=c,
                 smoothing=self.attr(node, "label_smoothing"))
        sum_axes(ctx, losses, ctx.output(node.outputs[0]), {0}, 1 / n)
        if node.outputs[1]:
            sum_axes(ctx, hits, ctx.output(node.outputs[1]), {0})

    def flops(self, node, inputs, outputs):
        return 24 * inputs[0].size


class SoftmaxCrossEntropyBackward(Op):
    """dX = (softmax(X) - t) dloss / N"""

    name = "SoftmaxCrossEntropyBackward"
    onnx = False
    inputs = ("X", "labels", "dloss")
    attrs = SoftmaxCrossEntropy.attrs
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        x, labels, dloss = ctx.row_major(node.inputs[0]), ctx.input(node.inputs[1]), ctx.input(node.inputs[2])
        dx = ctx.temp(x.shape)
        ctx.emit("cross_entropy_backward", self.flops(node, [x], []), x=x, labels=labels.arg(0), dloss=dloss,
                 dx=dx, N=x.shape[0], C=x.shape[1], smoothing=self.attr(node, "label_smoothing"))
        ctx.alias(node.outputs[0], dx)

    def flops(self, node, inputs, outputs):
        return 26 * inputs[0].size


class MeanSquaredError(Op):
    """Mean of (X - target)^2 over all values. Shape: X and target the same; the result (1,)."""

    name = "MeanSquaredError"
    onnx = False
    inputs = ("X", "target")

    def infer(self, node, inputs):
        if inputs[0].shape != inputs[1].shape:
            raise ShapeError(f"{node}: prediction {inputs[0].shape} and target {inputs[1].shape} differ "
                             "in shape")
        return [TensorSpec((1,))]

    def gradient(self, g, node, dy, needs):
        """2 (X - target) dloss / size, and its opposite for the target."""
        grads: list[str | None] = [None, None]
        for i in (0, 1):
            if needs[i]:
                factor = g.emit("Scale", [dy[0]], factor=2 / g.spec(node.inputs[0]).size)
                grads[i] = g.emit("Mul", [g.emit("Sub", [node.inputs[i], node.inputs[1 - i]]), factor])
        return grads

    def lower(self, ctx, node):
        x, target = (ctx.row_major(i) for i in node.inputs)
        squared_distance(ctx, x, target, ctx.output(node.outputs[0]), 1 / x.size)

    def flops(self, node, inputs, outputs):
        return 3 * inputs[0].size
