"""InstanceNormalization (Ulyanov, Vedaldi and Lempitsky 2016, equation 3)."""

from __future__ import annotations

from ..errors import ShapeError
from .base import Op
from .standardize import scaled_and_shifted, standardized


class InstanceNormalization(Op):
    """y = (x - mean) / sqrt(var + epsilon) * scale + B, the statistics of each channel of each picture."""

    name = "InstanceNormalization"
    inputs = ("input", "scale", "B")
    parameters = ("scale", "B")
    attrs = {"epsilon": 1e-5}
    no_gradient = "it becomes simpler operators before differentiation"

    def infer(self, node, inputs):
        x = inputs[0]
        if x.rank < 3:
            raise ShapeError(f"{node}: needs (N, C, ...) with at least one more axis, got shape {x.shape}")
        for formal, spec in zip(self.inputs[1:], inputs[1:], strict=True):
            if spec.shape != (x.shape[1],):
                raise ShapeError(f"{node}: {formal} has shape {spec.shape}, needed ({x.shape[1]},) for an input of shape "
                                 f"{x.shape}")
        return [x]

    def simplify(self, g, node):
        x, scale, shift = node.inputs
        y = standardized(g, x, range(2, g.spec(x).rank), self.attr(node, "epsilon"))
        g.replace_value(node.outputs[0], scaled_and_shifted(g, y, scale, shift))
        g.remove([node])
        return True

    def flops(self, node, inputs, outputs):
        return 8 * outputs[0].size
