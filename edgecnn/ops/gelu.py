"""Gelu: y = x times the normal distribution function of x (Hendrycks and Gimpel 2016, section 2)."""

import math

import numpy as np

from ..errors import ModelError
from ._elementwise import Activation, ActivationBackward

KERNELS = {"none": "gelu", "tanh": "gelu_tanh"}


class Gelu(Activation):
    """approximate: "none" for the distribution function itself, "tanh" for an estimate of it,
    (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""

    name = "Gelu"
    attrs = {"approximate": "none"}
    work = 60
    slope_from_output = False

    def infer(self, node, inputs):
        if self.attr(node, "approximate") not in KERNELS:
            raise ModelError(f"{node}: approximate is {self.attr(node, 'approximate')!r}, allowed are {sorted(KERNELS)}")
        return super().infer(node, inputs)

    def kernel_of(self, node):
        return KERNELS[self.attr(node, "approximate")]

    def export_form(self, g, node, opset):
        """ONNX has it from opset 20 on."""
        if opset >= 20:
            return False
        x = node.inputs[0]

        def scaled(value, factor):
            return g.emit("Mul", [value, g.constant(np.float32(factor), "factor")])
        if self.attr(node, "approximate") == "none":
            gate = g.emit("Erf", [scaled(x, math.sqrt(0.5))])
        else:
            cube = g.emit("Mul", [g.emit("Mul", [x, x]), x])
            gate = g.emit("Tanh", [scaled(g.emit("Add", [x, scaled(cube, 0.044715)]), math.sqrt(2 / math.pi))])
        gate = g.emit("Add", [gate, g.constant(np.float32(1), "one")])
        node.op, node.inputs, node.attrs = "Mul", [scaled(x, 0.5), gate], {}
        return True


class GeluBackward(ActivationBackward):
    """dX = dY times the derivative of what `approximate` names."""

    name = "GeluBackward"
    inputs = ("dY", "X")
    attrs = Gelu.attrs
    work = 80

    def kernel_of(self, node):
        return KERNELS[self.attr(node, "approximate")] + "_backward"
