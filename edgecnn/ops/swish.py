"""Swish, also called SiLU: y = x * sigmoid(alpha * x) (Ramachandran, Zoph and Le 2017, section 4)."""

from ._elementwise import Activation, ActivationBackward


class Swish(Activation):
    name = "Swish"
    attrs = {"alpha": 1.0}
    kernel = "swish"
    work = 26
    slope_from_output = False

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
