"""Sum, Mean, Max and Min of any number of values with broadcasting. They become chains of operators with two inputs."""

from __future__ import annotations

from functools import reduce
from typing import Any, ClassVar

import numpy as np

from ._elementwise import lower_map, require_float, sum_to
from .base import Op, TensorSpec, broadcast_shape, same_spec


class Variadic(Op):
    """Joins its inputs two by two."""

    inputs = ("data*",)
    join: ClassVar[str]  # the operator that joins two
    function: ClassVar[Any] = np.add
    no_gradient = "it is replaced by simpler operators before differentiation"

    def infer(self, node, inputs):
        return [TensorSpec(broadcast_shape(node, *inputs), inputs[0].dtype)]

    def evaluate(self, node, *inputs):
        return [reduce(type(self).function, inputs)]

    def simplify(self, g, node):
        if len(node.inputs) == 1:
            node.op = "Identity"
            return True
        if len(node.inputs) == 2 and node.op == self.join:
            return False
        *first, last = node.inputs
        node.op, node.inputs = self.join, [reduce(lambda a, b: g.emit(self.join, [a, b]), first), last]
        return True


class Sum(Variadic):
    name = "Sum"
    parameters = ("data",)
    join = "Add"


class Mean(Variadic):
    name = "Mean"
    parameters = ("data",)
    join = "Add"

    def evaluate(self, node, *inputs):
        return [(super().evaluate(node, *inputs)[0] / len(inputs)).astype(inputs[0].dtype)]

    def simplify(self, g, node):
        total = g.emit("Sum", node.inputs)
        node.op, node.inputs, node.attrs = "Scale", [total], {"factor": 1 / len(node.inputs)}
        return True


class Extreme(Variadic):
    """The first of equal operands has the whole gradient. NaN stays. With one number it is a Clip."""

    no_gradient = ""
    broadcasts = True
    bound: ClassVar[str]  # what a constant operand is for Clip

    def by_image(self, node, rank):
        return True

    def simplify(self, g, node):
        if super().simplify(g, node):
            return True
        for i in (0, 1):
            number, x = g.constants.get(node.inputs[i]), node.inputs[1 - i]
            if number is not None and number.size == 1 and number.ndim <= g.spec(x).rank and not np.isnan(number).any():
                node.op, node.inputs, node.attrs = "Clip", [x], {self.bound: float(number.reshape(()))}
                return True
        return False

    def order(self, a: str, b: str) -> list[str]:
        """The two with the one that must be larger for the result to be `a` first."""
        raise NotImplementedError

    def gradient(self, g, node, dy, needs):
        a, b = node.inputs
        parts = [("PassGreaterEqual", self.order(a, b)), ("PassGreater", self.order(b, a))]
        return [sum_to(g, g.emit(op, [dy[0], *pair]), value) if need else None
                for (op, pair), value, need in zip(parts, (a, b), needs, strict=True)]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        lower_map(ctx, node, self.name.lower())


class Max(Extreme):
    name = join = "Max"
    function = np.maximum
    bound = "min"

    def order(self, a, b):
        return [a, b]


class Min(Extreme):
    name = join = "Min"
    function = np.minimum
    bound = "max"

    def order(self, a, b):
        return [b, a]


class Pass(Op):
    """dY where A > B (or A >= B), else 0; A and B are broadcast to dY's shape."""

    onnx = False
    inputs = ("dY", "A", "B")
    no_gradient = "second derivatives are not built"
    kernel: ClassVar[str]

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        lower_map(ctx, node, self.kernel)


class PassGreater(Pass):
    name = "PassGreater"
    kernel = "pass_greater"


class PassGreaterEqual(Pass):
    name = "PassGreaterEqual"
    kernel = "pass_greater_equal"
