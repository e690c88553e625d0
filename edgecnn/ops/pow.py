"""Pow."""

import numpy as np

from ._elementwise import Arithmetic, sum_to

SMALLEST = np.float32(1.17549435e-38)


class Pow(Arithmetic):
    """X to the power Y, as C's powf. Simple exponents become simpler operators, constant integers become floats."""

    name = "Pow"
    inputs = ("X", "Y")
    parameters = ()
    kernel = "pow"
    function = np.power

    def evaluate(self, node, *inputs):
        return [super().evaluate(node, *inputs)[0].astype(inputs[0].dtype)]

    def simplify(self, g, node):
        if super().simplify(g, node):
            return True
        x, exponent = node.inputs[0], g.constants.get(node.inputs[1])
        if exponent is not None and exponent.dtype != np.float32:
            node.inputs[1] = g.constant(exponent.astype(np.float32), "exponent")
            return True
        if exponent is None or exponent.size != 1 or exponent.ndim > g.spec(x).rank:
            return False
        forms = {1: ("Identity", [x]), 2: ("Mul", [x, x]), 0.5: ("Sqrt", [x]), -1: ("Reciprocal", [x])}
        value = float(exponent.reshape(()))
        if value == 3:
            forms[3] = ("Mul", [g.emit("Mul", [x, x]), x])
        if value not in forms:
            return False
        node.op, node.inputs = forms[value]
        return True

    def gradient(self, g, node, dy, needs):
        """dX = dY Y X^(Y - 1), dY = dY X^Y log(X); a base below 0 has no logarithm and adds nothing to the latter."""
        x, e = node.inputs
        dx = de = None
        if needs[0]:
            less = g.emit("Sub", [e, g.constant(np.float32(1), "one")])
            dx = sum_to(g, g.emit("Mul", [dy[0], g.emit("Mul", [e, g.emit("Pow", [x, less])])]), x)
        if needs[1]:
            log = g.emit("Log", [g.emit("Max", [x, g.constant(SMALLEST, "smallest")])])
            de = sum_to(g, g.emit("Mul", [dy[0], g.emit("Mul", [node.outputs[0], log])]), e)
        return [dx, de]
