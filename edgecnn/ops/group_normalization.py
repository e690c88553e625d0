"""GroupNormalization (Wu and He 2018, section 3)."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from .base import REQUIRED, Op
from .reshape import reshape_to
from .standardize import scaled_and_shifted, standardized, written_out


class GroupNormalization(Op):
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, the statistics of each group of channels of each picture. Scale
    and bias have one number per channel; at opset 18 they had one per group, `per_group` stands for that."""

    name = "GroupNormalization"
    inputs = ("X", "scale", "bias")
    parameters = ("scale", "bias")
    attrs = {"epsilon": 1e-5, "num_groups": REQUIRED, "stash_type": 1, "per_group": 0}
    no_gradient = "it becomes simpler operators before differentiation"

    def from_onnx(self, node, opset):
        if opset < 21:
            node.attrs["per_group"] = 1

    def infer(self, node, inputs):
        x, groups = inputs[0], self.attr(node, "num_groups")
        if x.rank < 2 or groups < 1 or x.shape[1] % groups:
            raise ShapeError(f"{node}: the channels of an input of shape {x.shape} cannot be split into {groups} groups")
        wanted = (groups if self.attr(node, "per_group") else x.shape[1],)
        for formal, spec in zip(self.inputs[1:], inputs[1:], strict=True):
            if spec.shape != wanted:
                raise ShapeError(f"{node}: {formal} has shape {spec.shape}, needed {wanted} for an input of shape {x.shape}")
        return [x]

    def simplify(self, g, node):
        x, scale, shift = node.inputs
        shape, groups = g.spec(x).shape, self.attr(node, "num_groups")
        split = reshape_to(g, x, (shape[0], groups, shape[1] // groups, *shape[2:]))
        y = standardized(g, split, range(2, len(shape) + 1), self.attr(node, "epsilon"))
        if self.attr(node, "per_group"):
            y = reshape_to(g, scaled_and_shifted(g, y, scale, shift), shape)
        else:
            y = scaled_and_shifted(g, reshape_to(g, y, shape), scale, shift)
        g.replace_value(node.outputs[0], y)
        g.remove([node])
        return True

    def export_form(self, g, node, opset):
        """ONNX has it from opset 21 on with one number per channel, at 18 with one per group; else its steps are written."""
        x, scale, shift = node.inputs
        per_group, groups = self.attr(node, "per_group"), self.attr(node, "num_groups")
        node.attrs.pop("per_group", None)
        if opset < 21:
            node.attrs.pop("stash_type", None)
        if opset >= 18 and bool(per_group) == (opset < 21):
            return False
        y = written_out(g, g.emit("Reshape", [x], shape=np.array([0, groups, -1])), (-1,), self.attr(node, "epsilon"))
        if not per_group:
            ends = [g.constant(np.array([n]), "shape") for n in (0, -1)]
            y = g.emit("Reshape", [y, g.emit("Concat", [ends[0], g.emit("Shape", [scale]), ends[1]], axis=0)])
        y = g.emit("Mul", [y, g.emit("Unsqueeze", [scale], axes=(1,))])
        y = g.emit("Add", [y, g.emit("Unsqueeze", [shift], axes=(1,))])
        node.op, node.inputs, node.attrs = "Reshape", [y, g.emit("Shape", [x])], {}
        return True

    def flops(self, node, inputs, outputs):
        return 8 * outputs[0].size
