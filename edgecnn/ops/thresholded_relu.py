"""ThresholdedRelu: y = 0 for x <= alpha, else x (Konda, Memisevic and Krueger 2014)."""

from ._elementwise import Activation


class ThresholdedRelu(Activation):
    name = "ThresholdedRelu"
    attrs = {"alpha": 1.0}
    kernel = "thresholded_relu"

    def coefficients(self, node):
        return self.attr(node, "alpha"), 0.0

    def gradient(self, g, node, dy, needs):
        return [g.emit("ClampBackward", [dy[0], node.inputs[0]], lo=self.attr(node, "alpha"), hi=float("inf"))]
