"""Selu: y = gamma * x for x >= 0, gamma * alpha * (exp(x) - 1) below (Klambauer, Unterthiner, Mayr and Hochreiter 2017,
equation 2)."""

from ..errors import UnsupportedError
from ._elementwise import Activation, ActivationBackward


class Selu(Activation):
    name = "Selu"
    attrs = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}
    kernel = "selu"
    work = 40

    def coefficients(self, node):
        return self.attr(node, "alpha") * self.attr(node, "gamma"), self.attr(node, "gamma")

    def gradient(self, g, node, dy, needs):
        if self.attr(node, "alpha") < 0 or self.attr(node, "gamma") <= 0:
            raise UnsupportedError(f"{node}: Selu has a gradient for alpha >= 0 and gamma > 0 only, not for alpha "
                                   f"{self.attr(node, 'alpha')} and gamma {self.attr(node, 'gamma')}. Freeze the network "
                                   f"up to this node: model.freeze(until={node.outputs[0]!r})")
        return super().gradient(g, node, dy, needs)


class SeluBackward(ActivationBackward):
    """dX = gamma * dY where Y > 0, else dY * (Y + alpha * gamma)"""

    name = "SeluBackward"
    attrs = Selu.attrs
    kernel = "selu_backward"

    def coefficients(self, node):
        return self.attr(node, "alpha") * self.attr(node, "gamma"), self.attr(node, "gamma")
