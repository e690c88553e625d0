"""Relu, and the gradient of everything that clamps."""

from ._elementwise import Activation, ActivationBackward
from .base import REQUIRED

INF = float("inf")


class Relu(Activation):
    """y = max(x, 0); slope 0 at 0; NaN stays."""

    name = "Relu"
    kernel = "clamp"

    def coefficients(self, node):
        return 0.0, INF

    def as_clamp(self, node):
        return 0.0, INF

    def gradient(self, g, node, dy, needs):
        return [g.emit("ClampBackward", [dy[0], node.outputs[0]], lo=0.0, hi=INF)]


class ClampBackward(ActivationBackward):
    """dX = dY where lo < Y < hi, else 0: of Y = min(max(X, lo), hi), the bounds may be infinite."""

    name = "ClampBackward"
    attrs = {"lo": REQUIRED, "hi": REQUIRED}
    kernel = "clamp_backward"

    def coefficients(self, node):
        return self.attr(node, "lo"), self.attr(node, "hi")
