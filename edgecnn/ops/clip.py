"""Clip: y = min(max(x, min), max); Relu6 is Clip(0, 6)."""

import numpy as np

from ..errors import ModelError
from ._elementwise import Activation
from .relu import clamp_gradient

INF = float("inf")


class Clip(Activation):
    """Slope 0 at both bounds; NaN stays."""

    name = "Clip"
    inputs = ("input", "min?", "max?")
    static = ("min", "max")
    attrs = {"min": None, "max": None}
    kernel = "clamp"

    def coefficients(self, node):
        return self.bound(node, "min", -INF), self.bound(node, "max", INF)

    def evaluate(self, node, *inputs):
        lo, hi = self.coefficients(node)
        return [np.minimum(np.maximum(inputs[0], lo), hi).astype(inputs[0].dtype)]

    def bound(self, node, key, absent):
        value = self.attr(node, key)
        if np.size(value) != 1:
            raise ModelError(f"{node}: {key} must be a scalar, got shape {np.shape(value)}")
        return absent if value is None else float(np.reshape(value, ()))

    def as_clamp(self, node):
        lo, hi = self.coefficients(node)
        return (lo, hi) if lo <= hi else None

    def gradient(self, g, node, dy, needs):
        lo, hi = self.coefficients(node)
        return [clamp_gradient(g, dy[0], node.outputs[0], lo, hi)]
