"""Celu: y = x for x >= 0, alpha * (exp(x / alpha) - 1) below: an Elu with a slope of 1 at 0 (Barron 2017)."""

from ..errors import ModelError
from ._elementwise import Activation, ActivationBackward


class Celu(Activation):
    name = "Celu"
    attrs = {"alpha": 1.0}
    kernel = "elu"
    work = 40

    def infer(self, node, inputs):
        if self.attr(node, "alpha") <= 0:
            raise ModelError(f"{node}: alpha is {self.attr(node, 'alpha')}, it must be positive")
        return super().infer(node, inputs)

    def coefficients(self, node):
        return self.attr(node, "alpha"), 1 / self.attr(node, "alpha")


class CeluBackward(ActivationBackward):
    """dX = dY where Y > 0, else dY * (Y / alpha + 1)"""

    name = "CeluBackward"
    attrs = Celu.attrs
    kernel = "elu_backward"

    def coefficients(self, node):
        return self.attr(node, "alpha"), 1 / self.attr(node, "alpha")
