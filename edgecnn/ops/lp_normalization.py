"""LpNormalization."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from .base import Op, axis_of, same_spec

SMALLEST = np.float32(1e-12)  # a norm below counts as this: 0 / 0 is 0


class LpNormalization(Op):
    """x divided by its L1 or L2 norm along `axis`."""

    name = "LpNormalization"
    inputs = ("input",)
    attrs = {"axis": -1, "p": 2}
    norms = {1: "ReduceL1", 2: "ReduceL2"}
    no_gradient = "it becomes simpler operators before differentiation"

    def infer(self, node, inputs):
        axis_of(node, self.attr(node, "axis"), inputs[0].rank)
        if self.attr(node, "p") not in self.norms:
            raise ModelError(f"{node}: p is {self.attr(node, 'p')}, allowed are 1 and 2")
        return same_spec(node, inputs)

    def simplify(self, g, node):
        x = node.inputs[0]
        norm = g.emit(self.norms[self.attr(node, "p")], [x], axes=(self.attr(node, "axis"),))
        divisor = g.emit("Max", [norm, g.constant(SMALLEST, "smallest")])
        node.op, node.inputs, node.attrs = "Div", [x, divisor], {}
        return True

    def flops(self, node, inputs, outputs):
        return 4 * outputs[0].size
