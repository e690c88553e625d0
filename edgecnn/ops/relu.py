"""Relu, and the gradient of everything that clamps."""

from __future__ import annotations

from typing import Any

from ._elementwise import Activation, ActivationBackward
from .base import REQUIRED

INF = float("inf")


def clamp_gradient(g: Any, dy: str, y: str, lo: float, hi: float) -> str:
    """Emits the gradient of a clamp whose result is y; dy itself if it is a part of one that Concat has taken of all."""
    producers = g.producers()
    piece = producers.get(dy)
    whole = producers.get(piece.inputs[0]) if piece is not None and piece.op == "Slice" else None
    if whole is not None and whole.op == ClampBackward.name and y in producers[whole.inputs[1]].inputs:
        return dy
    return g.emit(ClampBackward.name, [dy, y], lo=lo, hi=hi)


class Relu(Activation):
    """y = max(x, 0); slope 0 at 0; NaN stays."""

    name = "Relu"
    kernel = "clamp"

    def coefficients(self, node):
        return 0.0, INF

    def as_clamp(self, node):
        return 0.0, INF

    def gradient(self, g, node, dy, needs):
        return [clamp_gradient(g, dy[0], node.outputs[0], 0.0, INF)]


class ClampBackward(ActivationBackward):
    """dX = dY where lo < Y < hi, else 0: of Y = min(max(X, lo), hi), the bounds may be infinite."""

    name = "ClampBackward"
    attrs = {"lo": REQUIRED, "hi": REQUIRED}
    kernel = "clamp_backward"

    def coefficients(self, node):
        return self.attr(node, "lo"), self.attr(node, "hi")

    def as_gate(self, node):
        return node.inputs[1], *self.coefficients(node)
