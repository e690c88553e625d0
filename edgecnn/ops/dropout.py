"""Dropout (Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014)."""

from __future__ import annotations

import zlib

import numpy as np

from ..errors import ModelError
from .base import REQUIRED, Node, Op, TensorSpec, same_spec
from .view import row_major

STEP = "step"


class Dropout(Op):
    """The identity, except in training. A mask that a file asks for is all ones."""

    name = "Dropout"
    inputs = ("data", "ratio?", "training_mode?")
    static = ("ratio", "training_mode")
    attrs = {"ratio": 0.5, "training_mode": False, "seed": 0}
    random_in_training = True

    def from_onnx(self, node, opset):
        node.attrs.pop("is_test", None)
        if len(node.outputs) > 1 and not node.outputs[1]:
            node.outputs.pop()

    def unsupported(self, node):
        return "its mask is asked for, which edgecnn does not make" if len(node.outputs) > 1 else ""

    def infer(self, node, inputs):
        ratio = float(np.ravel(self.attr(node, "ratio"))[0])
        if not 0 <= ratio < 1:
            raise ModelError(f"{node}: ratio is {ratio}, allowed are 0 <= ratio < 1")
        return same_spec(node, inputs)

    def simplify(self, g, node):
        if node.outputs[0] in g.outputs and node.inputs[0] not in g.producers():
            return False
        g.replace_value(node.outputs[0], node.inputs[0])
        g.remove([node])
        return True

    def for_training(self, g, node):
        ratio = float(np.ravel(self.attr(node, "ratio"))[0])
        if ratio == 0:
            return None
        if STEP not in g.inputs:
            g.inputs[STEP] = g.specs[STEP] = TensorSpec((1,), "int64")
        seed = zlib.crc32(node.outputs[0].encode()) ^ int(self.attr(node, "seed"))
        return Node(DropoutTraining.name, [node.inputs[0], STEP], list(node.outputs), {"ratio": ratio, "seed": seed},
                    node.name)

    def gradient(self, g, node, dy, needs):
        return [dy[0]]

    def lower(self, ctx, node):
        ctx.alias(node.outputs[0], ctx.input(node.inputs[0]))


class DropoutTraining(Op):
    """x / (1 - ratio) with probability 1 - ratio, else 0. The gradient draws the same numbers again."""

    name = "DropoutTraining"
    onnx = False
    inputs = ("X", "step")
    attrs = {"ratio": REQUIRED, "seed": REQUIRED}

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def gradient(self, g, node, dy, needs):
        return [g.emit("DropoutTraining", [dy[0], node.inputs[1]], **node.attrs), None]

    def lower(self, ctx, node):
        x = ctx.input(node.inputs[0])
        if len(x.shape) > 2:
            x = ctx.image(node.inputs[0]) if len(x.shape) == 4 else ctx.copy(x, ctx.temp(x.shape))
        y = ctx.output(node.outputs[0], over=node.inputs[0])
        (n, c, *rest), r = x.shape, int(np.prod(x.shape[2:]))
        flat = [v.reshape((n, c, r)) for v in (x, y)] if rest else [v.reshape((n, c, 1)) for v in (x, y)]
        if None in flat:  # a view with gaps: work on copies without
            x = ctx.copy(x, ctx.temp(x.shape, strides=row_major(x.shape))).reshape((n, c, r))
            whole = ctx.temp(y.shape, strides=row_major(y.shape))
            flat = [x, whole.reshape((n, c, r))]
        ctx.emit("dropout", 12 * x.size, x=flat[0].arg(0, 1, 2), y=flat[1].arg(0, 1, 2), step=ctx.input(node.inputs[1]),
                 dims=(n, c, r), seed=node.attrs["seed"], ratio=node.attrs["ratio"])
        if flat[1].buffer is not y.buffer:
            ctx.copy(whole, y)
