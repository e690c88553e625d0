"""Swish, also called SiLU: y = x * sigmoid(alpha * x) (Ramachandran, Zoph and Le 2017, section 4)."""

import numpy as np

from ._elementwise import Activation, ActivationBackward


class Swish(Activation):
    name = "Swish"
    attrs = {"alpha": 1.0}
    kernel = "swish"
    work = 26
    slope_from_output = False

    def export_form(self, g, node, opset):
        """ONNX has it from opset 24 on, and as x * Sigmoid(alpha x) before."""
        if opset >= 24:
            return False
        x, alpha = node.inputs[0], self.attr(node, "alpha")
        inner = x if alpha == 1.0 else g.emit("Mul", [x, g.constant(np.float32(alpha), "alpha")])
        node.op, node.inputs, node.attrs = "Mul", [x, g.emit("Sigmoid", [inner])], {}
        return True

    def coefficients(self, node):
        return self.attr(node, "alpha"), 0.0


class SwishBackward(ActivationBackward):
    """dX = dY * (s + alpha X s (1 - s)) with s = sigmoid(alpha X)"""

    name = "SwishBackward"
    attrs = Swish.attrs
    inputs = ("dY", "X")
    kernel = "swish_backward"
    work = 32

    def coefficients(self, node):
        return self.attr(node, "alpha"), 0.0
