"""Elu: y = x for x >= 0, alpha * (exp(x) - 1) below (Clevert, Unterthiner and Hochreiter 2016, section 3)."""

from ..errors import UnsupportedError
from ._elementwise import Activation, ActivationBackward


class Elu(Activation):
    name = "Elu"
    attrs = {"alpha": 1.0}
    kernel = "elu"
    work = 40

    def coefficients(self, node):
        return self.attr(node, "alpha"), 1.0

    def gradient(self, g, node, dy, needs):
        if self.attr(node, "alpha") < 0:
            raise UnsupportedError(
                f"{node}: alpha is {self.attr(node, 'alpha')}; Elu has a gradient for alpha >= 0 only. "
                f"Freeze the network up to this node: model.freeze(until={node.outputs[0]!r})")
        return super().gradient(g, node, dy, needs)


class EluBackward(ActivationBackward):
    """dX = dY where Y > 0, else dY * (Y + alpha)"""

    name = "EluBackward"
    attrs = Elu.attrs
    kernel = "elu_backward"

    def coefficients(self, node):
        return self.attr(node, "alpha"), 1.0
