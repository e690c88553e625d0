"""LayerNormalization (Ba, Kiros and Hinton 2016, section 3)."""

from __future__ import annotations

from ..errors import ShapeError
from .base import Op, TensorSpec, axis_of, broadcast_shape
from .standardize import scaled_and_shifted, written_out


class LayerNormalization(Op):
    """Y = (X - mean) / sqrt(var + epsilon) * Scale + B, the statistics over the axes from `axis` on; further outputs are
    the mean and 1 / sqrt(var + epsilon)."""

    name = "LayerNormalization"
    inputs = ("X", "Scale", "B?")
    parameters = ("Scale", "B")
    outputs = 3
    attrs = {"axis": -1, "epsilon": 1e-5, "stash_type": 1}
    no_gradient = "it becomes simpler operators before differentiation"

    def infer(self, node, inputs):
        x = inputs[0]
        axis = axis_of(node, self.attr(node, "axis"), x.rank)
        for formal, spec in zip(self.inputs[1:], inputs[1:], strict=False):
            if spec is not None and broadcast_shape(node, x, spec) != x.shape:
                raise ShapeError(f"{node}: {formal.rstrip('?')} {spec.shape} cannot be broadcast to the input's shape "
                                 f"{x.shape}")
        kept = TensorSpec((*x.shape[:axis], *[1] * (x.rank - axis)))
        return [x, kept, kept]

    def simplify(self, g, node):
        x, scale, shift = (*node.inputs, None)[:3]
        rank = g.spec(x).rank
        outputs = [g.fresh(f"{node.outputs[0]}_standardized"), *node.outputs[1:]]
        axes = tuple(range(axis_of(node, self.attr(node, "axis"), rank), rank))
        g.remove([node])
        g.emit("Standardize", [x], outputs, axes=axes, epsilon=self.attr(node, "epsilon"))
        g.replace_value(node.outputs[0], scaled_and_shifted(g, outputs[0], scale, shift or None, channel_axis=False))
        return True

    def export_form(self, g, node, opset):
        """ONNX has it from opset 17 on; before, its steps are written for the last axis alone, or for all from a negative
        `axis` on."""
        axis = self.attr(node, "axis")
        if opset >= 17 or axis >= 0:
            return False
        x, scale, shift = (*node.inputs, "")[:3]
        names = (*node.outputs[1:], "", "")[:2]
        y = written_out(g, x, tuple(range(axis, 0)), self.attr(node, "epsilon"), names)
        if shift:
            y, scale, op = g.emit("Mul", [y, scale]), shift, "Add"
        else:
            op = "Mul"
        node.op, node.inputs, node.outputs, node.attrs = op, [y, scale], node.outputs[:1], {}
        return True

    def flops(self, node, inputs, outputs):
        return 8 * outputs[0].size
