"""Dropout (Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014)."""

from __future__ import annotations

import zlib

import numpy as np

from ..errors import ModelError, UnsupportedError
from .base import REQUIRED, Node, Op, TensorSpec, same_spec, skip

STEP = "step"  # the input of a training graph that counts its steps


class Dropout(Op):
    """The identity, except in training. The second output, a mask, is all true then; in training nothing may read it."""

    name = "Dropout"
    inputs = ("data", "ratio?", "training_mode?")
    static = ("ratio", "training_mode")
    attrs = {"ratio": 0.5, "training_mode": False, "seed": 0}
    random_in_training = True

    def from_onnx(self, node, opset):
        node.attrs.pop("is_test", None)

    def infer(self, node, inputs):
        ratio = float(np.ravel(self.attr(node, "ratio"))[0])
        if not 0 <= ratio < 1:
            raise ModelError(f"{node}: ratio is {ratio}, allowed are 0 <= ratio < 1")
        return [*same_spec(node, inputs), TensorSpec(inputs[0].shape, "bool")]

    def simplify(self, g, node):
        for mask in filter(None, node.outputs[1:]):
            g.constants[mask] = np.ones(g.spec(node.inputs[0]).shape, bool)
        node.outputs[1:] = []
        return skip(g, node)

    @staticmethod
    def refuse_mask(g, node):
        if len(node.outputs) > 1 and g.uses()[node.outputs[1]]:
            raise UnsupportedError(f"{node}: its mask {node.outputs[1]!r} is read, edgecnn does not make it")

    def for_training(self, g, node):
        ratio = float(np.ravel(self.attr(node, "ratio"))[0])
        if ratio == 0:
            return None
        self.refuse_mask(g, node)
        if g.spec_or_none(STEP) not in (None, TensorSpec((1,), "int64")):
            raise ModelError(f"a value of the network is called {STEP!r}, a name of training graphs")
        if STEP not in g.inputs:
            g.inputs[STEP] = g.specs[STEP] = TensorSpec((1,), "int64")
        seed = zlib.crc32(node.outputs[0].encode()) ^ int(self.attr(node, "seed"))
        return Node(DropoutTraining.name, [node.inputs[0], STEP], node.outputs[:1],
                    {"ratio": ratio, "seed": seed}, node.name)

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
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0], over=node.inputs[0])
        n, c = (*x.shape, 1, 1)[:2]
        shape = (n, c, x.size // max(1, n * c))
        src, dst = x.reshape(shape), y.reshape(shape)
        if src is None:
            src = ctx.copy(x, ctx.temp(x.shape)).reshape(shape)
        whole = ctx.temp(y.shape) if dst is None else y  # of a place with gaps only a copy has planes
        ctx.emit("dropout", 12 * x.size, x=src.arg(0, 1, 2), y=whole.reshape(shape).arg(0, 1, 2), dims=shape,
                 step=ctx.input(node.inputs[1]), seed=node.attrs["seed"], ratio=node.attrs["ratio"])
        if whole is not y:
            ctx.copy(whole, y)
