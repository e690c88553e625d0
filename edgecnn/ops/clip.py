"""Clip: y = min(max(x, min), max); Relu6 is Clip(0, 6)."""

import numpy as np

from ..errors import ModelError
from ._elementwise import Activation

INF = float("inf")


class Clip(Activation):
    """Slope 0 at both bounds; NaN stays."""

    name = "Clip"
    inputs = ("input", "min?", "max?")
    static = ("min", "max")
    attrs = {"min": None, "max": None}
    kernel = "clamp"

    def coefficients(self, node):
        lo, hi = (node.attrs.get(key) for key in ("min", "max"))
        for bound in (lo, hi):
            if bound is not None and np.size(bound) != 1:
                raise ModelError(f"{node}: min and max must be scalars, got shape {np.shape(bound)}")
        return -INF if lo is None else float(np.reshape(lo, ())), INF if hi is None else float(np.reshape(hi, ()))

    def evaluate(self, node, x, *bounds):
        limits = [b for b in (node.attrs.get("min"), node.attrs.get("max"))]
        return [np.clip(x, *limits).astype(x.dtype)] if any(b is not None for b in limits) else [x]

    def as_clamp(self, node):
        lo, hi = self.coefficients(node)
        return (lo, hi) if lo <= hi else None

    def gradient(self, g, node, dy, needs):
        lo, hi = self.coefficients(node)
        return [g.emit("ClampBackward", [dy[0], node.outputs[0]], lo=lo, hi=hi)]
