"""PRelu: y = x for x >= 0, slope * x below, with a trained slope (He, Zhang, Ren and Sun 2015, Delving deep into
rectifiers, section 2.1)."""

from ..errors import ShapeError
from ._elementwise import ActivationBackward, Arithmetic, sum_to


class PRelu(Arithmetic):
    """The slope is broadcast to x. Before opset 7 it was one number or one per channel, which is what `axis` says."""

    name = "PRelu"
    inputs = ("X", "slope")
    parameters = ("slope",)
    kernel = "prelu"

    def from_onnx(self, node, opset):
        if opset < 7:
            node.attrs["axis"] = 1

    def infer(self, node, inputs):
        (y,) = super().infer(node, inputs)
        if y.shape != inputs[0].shape:
            raise ShapeError(f"{node}: slope {inputs[1].shape} cannot be broadcast to the input's shape {inputs[0].shape}")
        return [y]

    def evaluate(self, node, *inputs):
        return None

    def gradient(self, g, node, dy, needs):
        x, slope = node.inputs
        dslope = sum_to(g, g.emit("PReluSlope", [dy[0], x]), slope) if needs[1] else None
        return [g.emit("PReluBackward", [dy[0], x, slope]) if needs[0] else None, dslope]


class PReluBackward(ActivationBackward):
    """dX = dY where X > 0, else slope * dY"""

    name = "PReluBackward"
    inputs = ("dY", "X", "slope")
    kernel = "prelu_backward"


class PReluSlope(ActivationBackward):
    """What each element adds to the gradient of its slope: dY * X where X < 0, else 0."""

    name = "PReluSlope"
    inputs = ("dY", "X")
    kernel = "prelu_slope"
