"""Softplus: y = log(1 + exp(x)), computed as max(x, 0) + log(1 + exp(-|x|)) (Dugas et al. 2001)."""

from ._elementwise import Activation, ActivationBackward


class Softplus(Activation):
    name = "Softplus"
    kernel = "softplus"
    work = 50
    slope_from_output = False


class SoftplusBackward(ActivationBackward):
    """dX = dY * sigmoid(X)"""

    name = "SoftplusBackward"
    inputs = ("dY", "X")
    kernel = "softplus_backward"
    work = 24
