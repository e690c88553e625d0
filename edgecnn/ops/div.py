"""Div."""

import numpy as np

from ..errors import ModelError
from ._elementwise import Arithmetic, channel_constant, sum_to
from ._gates import scaled, with_number


def quotient(a, b):
    if a.dtype.kind == "f":
        return a / b
    down = a // b
    return down + ((down < 0) & (down * b != a)).astype(down.dtype)


class Div(Arithmetic):
    """Of integers (shape arithmetic only) the quotient is truncated toward zero."""

    name = "Div"
    kernel = "div"
    function = quotient

    def evaluate(self, node, *inputs):
        if inputs[1].dtype.kind != "f" and not inputs[1].all():
            raise ModelError(f"{node}: integer division by zero")
        return super().evaluate(node, *inputs)

    def simplify(self, g, node):
        divisor = with_number(g, node, "Div")
        return super().simplify(g, node) or (divisor is not None and divisor[1] != 0
                                             and scaled(g, node, divisor[0], 1 / divisor[1]))

    def gradient(self, g, node, dy, needs):
        a, b = node.inputs
        da = g.emit("Div", [dy[0], b])
        db = None
        if needs[1]:
            db = g.emit("Scale", [sum_to(g, g.emit("Mul", [da, node.outputs[0]]), b)], factor=-1.0)
        return [sum_to(g, da, a) if needs[0] else None, db]

    def as_channel_affine(self, g, node):
        divisor = channel_constant(g, node, 1)
        if divisor is None or not divisor.all():
            return None
        return 1.0 / divisor, np.zeros_like(divisor)
