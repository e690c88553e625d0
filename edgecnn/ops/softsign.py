"""Softsign: y = x / (1 + |x|)."""

from ._elementwise import Activation, ActivationBackward


class Softsign(Activation):
    name = "Softsign"
    kernel = "softsign"
    work = 4


class SoftsignBackward(ActivationBackward):
    """dX = dY * (1 - |Y|)^2"""

    name = "SoftsignBackward"
    kernel = "softsign_backward"
    work = 4
