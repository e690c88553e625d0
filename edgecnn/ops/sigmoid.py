"""Sigmoid: y = 1 / (1 + exp(-x))."""

from ._elementwise import Activation, ActivationBackward


class Sigmoid(Activation):
    name = "Sigmoid"
    kernel = "sigmoid"
    work = 24


class SigmoidBackward(ActivationBackward):
    """dX = dY * Y * (1 - Y)"""

    name = "SigmoidBackward"
    kernel = "sigmoid_backward"
