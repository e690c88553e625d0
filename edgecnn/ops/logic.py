"""Comparisons, logic, Where, Mod and NonZero: shape arithmetic, evaluated when a plan is compiled."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from ._elementwise import Arithmetic, KnownOnly
from .base import TensorSpec, broadcast_shape


class Decision(KnownOnly, Arithmetic):
    """Two operands, a truth value for each pair of elements; before opset 7 broadcast as arithmetic was."""

    parameters = ()

    def infer(self, node, inputs):
        return [TensorSpec(super().infer(node, inputs)[0].shape, "bool")]


class Equal(Decision):
    name = "Equal"
    function = np.equal


class Greater(Decision):
    name = "Greater"
    function = np.greater


class Less(Decision):
    name = "Less"
    function = np.less


class GreaterOrEqual(Decision):
    name = "GreaterOrEqual"
    function = np.greater_equal


class LessOrEqual(Decision):
    name = "LessOrEqual"
    function = np.less_equal


class And(Decision):
    name = "And"
    function = np.logical_and


class Or(Decision):
    name = "Or"
    function = np.logical_or


class Xor(Decision):
    name = "Xor"
    function = np.logical_xor


class Not(KnownOnly):
    name = "Not"

    def infer(self, node, inputs):
        return [TensorSpec(inputs[0].shape, "bool")]

    def evaluate(self, node, *inputs):
        return [np.logical_not(inputs[0])]


class Where(KnownOnly):
    """X where the condition holds, else Y."""

    name = "Where"
    inputs = ("condition", "X", "Y")

    def infer(self, node, inputs):
        return [TensorSpec(broadcast_shape(node, *inputs), inputs[1].dtype)]

    def evaluate(self, node, *inputs):
        return [np.where(*inputs).astype(inputs[1].dtype)]


class Mod(KnownOnly):
    """The remainder with the sign of the divisor, with fmod=1 of the dividend."""

    name = "Mod"
    inputs = ("A", "B")
    attrs = {"fmod": 0}

    def infer(self, node, inputs):
        return [TensorSpec(broadcast_shape(node, *inputs), inputs[0].dtype)]

    def evaluate(self, node, *inputs):
        a, b = inputs
        if b.dtype.kind in "iu" and not b.all():
            raise ModelError(f"{node}: remainder of an integer division by zero")
        return [np.fmod(a, b) if self.attr(node, "fmod") else np.mod(a, b)]


class NonZero(KnownOnly):
    """The indices of the elements that are not 0, one row per axis."""

    name = "NonZero"

    def infer(self, node, inputs):
        return [TensorSpec((inputs[0].rank, None), "int64")]

    def evaluate(self, node, *inputs):
        return [np.array(np.nonzero(inputs[0]), np.int64).reshape(inputs[0].ndim, -1)]
