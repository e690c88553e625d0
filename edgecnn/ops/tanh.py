"""Tanh."""

from ._elementwise import Activation, ActivationBackward


class Tanh(Activation):
    name = "Tanh"
    kernel = "tanh"
    work = 36


class TanhBackward(ActivationBackward):
    """dX = dY * (1 - Y^2)"""

    name = "TanhBackward"
    kernel = "tanh_backward"
