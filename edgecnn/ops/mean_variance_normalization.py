"""MeanVarianceNormalization."""

from __future__ import annotations

from .base import Op, axis_of, same_spec

EPSILON = 1e-18  # ONNX adds 1e-9 to the deviation; this is the same where it counts, at a deviation of 0


class MeanVarianceNormalization(Op):
    """(x - mean) / deviation over `axes`."""

    name = "MeanVarianceNormalization"
    attrs = {"axes": (0, 2, 3)}
    no_gradient = "it becomes Standardize before differentiation"

    def infer(self, node, inputs):
        for axis in self.attr(node, "axes"):
            axis_of(node, axis, inputs[0].rank)
        return same_spec(node, inputs)

    def simplify(self, g, node):
        rank = g.spec(node.inputs[0]).rank
        axes = tuple(sorted({axis_of(node, a, rank) for a in self.attr(node, "axes")}))
        node.op, node.attrs = "Standardize", {"axes": axes, "epsilon": EPSILON}
        return True

    def export_form(self, g, node, opset):
        """The axes are written out: onnx's checker does not take the default."""
        node.attrs["axes"] = tuple(self.attr(node, "axes"))
        return False

    def flops(self, node, inputs, outputs):
        return 6 * outputs[0].size
