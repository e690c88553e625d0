"""HardSwish: y = x * min(max(x / 6 + 1/2, 0), 1) (Howard et al. 2019, MobileNetV3, section 5.2)."""

from ._elementwise import Activation, ActivationBackward


class HardSwish(Activation):
    name = "HardSwish"
    kernel = "hard_swish"
    work = 5
    slope_from_output = False

    def export_form(self, g, node, opset):
        """ONNX has it from opset 14 on, and as x * HardSigmoid(x) before."""
        if opset >= 14:
            return False
        gate = g.emit("HardSigmoid", [node.inputs[0]], alpha=1 / 6, beta=0.5)
        node.op, node.inputs, node.attrs = "Mul", [node.inputs[0], gate], {}
        return True


class HardSwishBackward(ActivationBackward):
    """dX = 0 for X <= -3, dY for X >= 3, dY * (X / 3 + 1/2) between"""

    name = "HardSwishBackward"
    inputs = ("dY", "X")
    kernel = "hard_swish_backward"
    work = 5
