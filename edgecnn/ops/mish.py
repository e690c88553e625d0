"""Mish: y = x * tanh(softplus(x)) (Misra 2019)."""

from ._elementwise import Activation, ActivationBackward


class Mish(Activation):
    name = "Mish"
    kernel = "mish"
    work = 30
    slope_from_output = False

    def export_form(self, g, node, opset):
        """ONNX has it from opset 18 on."""
        if opset >= 18:
            return False
        x = node.inputs[0]
        node.op, node.inputs = "Mul", [x, g.emit("Tanh", [g.emit("Softplus", [x])])]
        return True


class MishBackward(ActivationBackward):
    """dX = dY * (t + X * sigmoid(X) * (1 - t^2)) with t = tanh(softplus(X))"""

    name = "MishBackward"
    inputs = ("dY", "X")
    kernel = "mish_backward"
    work = 50
