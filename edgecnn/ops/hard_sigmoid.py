"""HardSigmoid: y = min(max(alpha * x + beta, 0), 1)."""

from ._elementwise import Activation, ActivationBackward


class HardSigmoid(Activation):
    name = "HardSigmoid"
    attrs = {"alpha": 0.2, "beta": 0.5}
    kernel = "hard_sigmoid"
    work = 4

    def coefficients(self, node):
        return self.attr(node, "alpha"), self.attr(node, "beta")


class HardSigmoidBackward(ActivationBackward):
    """dX = alpha * dY where 0 < Y < 1, else 0"""

    name = "HardSigmoidBackward"
    attrs = HardSigmoid.attrs
    kernel = "hard_sigmoid_backward"

    def coefficients(self, node):
        return self.attr(node, "alpha"), 0.0
