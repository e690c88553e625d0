"""Mul, and multiplication with a number."""

import numpy as np

from ._elementwise import Activation, Arithmetic, channel_constant, sum_to
from ._gates import gated, scaled, with_number
from .base import REQUIRED


class Mul(Arithmetic):
    name = "Mul"
    kernel = "mul"
    function = np.multiply

    def simplify(self, g, node):
        factor = with_number(g, node, "Mul")
        return super().simplify(g, node) or gated(g, node) or (factor is not None and scaled(g, node, *factor))

    def gradient(self, g, node, dy, needs):
        return [sum_to(g, g.emit("Mul", [dy[0], node.inputs[1 - i]]), node.inputs[i]) if needs[i] else None
                for i in (0, 1)]

    def as_channel_affine(self, g, node):
        for index in (0, 1):
            scale = channel_constant(g, node, index)
            if scale is not None:
                return scale, np.zeros_like(scale)
        return None


class Scale(Activation):
    """y = factor * x"""

    name = "Scale"
    onnx = False
    attrs = {"factor": REQUIRED}
    kernel = "scale"

    def coefficients(self, node):
        return self.attr(node, "factor"), 0.0

    def gradient(self, g, node, dy, needs):
        return [g.emit("Scale", [dy[0]], **node.attrs)]
