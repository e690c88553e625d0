"""Functions of one value: Exp, Log, Sqrt, Reciprocal, Neg, Abs, Erf, and the steps Sign, Floor, Ceil, Round."""

import numpy as np

from ._elementwise import Activation, ActivationBackward


class Exp(Activation):
    name = "Exp"
    kernel = "exp"
    work = 20
    function = np.exp

    def gradient(self, g, node, dy, needs):
        return [g.emit("Mul", [dy[0], node.outputs[0]])]


class Log(Activation):
    """-inf at 0, NaN below."""

    name = "Log"
    kernel = "log"
    work = 25
    function = np.log

    def gradient(self, g, node, dy, needs):
        return [g.emit("Div", [dy[0], node.inputs[0]])]


class Sqrt(Activation):
    name = "Sqrt"
    kernel = "sqrt"
    work = 4
    function = np.sqrt

    def gradient(self, g, node, dy, needs):
        return [g.emit("Scale", [g.emit("Div", [dy[0], node.outputs[0]])], factor=0.5)]


class Reciprocal(Activation):
    name = "Reciprocal"
    kernel = "reciprocal"
    work = 4
    function = np.reciprocal

    def gradient(self, g, node, dy, needs):
        y = node.outputs[0]
        return [g.emit("Scale", [g.emit("Mul", [g.emit("Mul", [dy[0], y]), y])], factor=-1.0)]


class Neg(Activation):
    name = "Neg"
    kernel = "scale"
    function = np.negative

    def coefficients(self, node):
        return -1.0, 0.0

    def gradient(self, g, node, dy, needs):
        return [g.emit("Neg", [dy[0]])]


class Abs(Activation):
    """Slope 0 at 0."""

    name = "Abs"
    kernel = "abs"
    function = np.abs

    def gradient(self, g, node, dy, needs):
        return [g.emit("Mul", [dy[0], g.emit("Sign", [node.inputs[0]])])]


class Erf(Activation):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""

    name = "Erf"
    kernel = "erf"
    work = 50
    slope_from_output = False


class ErfBackward(ActivationBackward):
    """dX = dY * 2 / sqrt(pi) * exp(-X^2)"""

    name = "ErfBackward"
    inputs = ("dY", "X")
    kernel = "erf_backward"
    work = 25


class Step(Activation):
    """Constant between its jumps, where it has no slope: the gradient is zero, and nothing before it learns through it."""

    def gradient(self, g, node, dy, needs):
        return [None]


class Sign(Step):
    name = "Sign"
    kernel = "sign"
    function = np.sign


class Floor(Step):
    name = "Floor"
    kernel = "floor"
    function = np.floor


class Ceil(Step):
    name = "Ceil"
    kernel = "ceil"
    function = np.ceil


class Round(Step):
    """Halves go to the even neighbour."""

    name = "Round"
    kernel = "round"
    function = np.rint
