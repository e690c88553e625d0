"""LeakyRelu: y = x for x >= 0, alpha * x below."""

from ._elementwise import Activation, ActivationBackward


class LeakyRelu(Activation):
    name = "LeakyRelu"
    attrs = {"alpha": 0.01}
    kernel = "leaky_relu"
    work = 2

    def coefficients(self, node):
        return self.attr(node, "alpha"), 0.0

    def gradient(self, g, node, dy, needs):
        alpha = self.attr(node, "alpha")
        sign = node.outputs[0] if alpha >= 0 else node.inputs[0]  # alpha < 0 folds both sides together
        return [g.emit("LeakyReluBackward", [dy[0], sign], alpha=alpha)]


class LeakyReluBackward(ActivationBackward):
    """dX = dY where the second input, X or a value of its sign, is positive, else alpha * dY."""

    name = "LeakyReluBackward"
    attrs = LeakyRelu.attrs
    kernel = "leaky_relu_backward"

    def coefficients(self, node):
        return self.attr(node, "alpha"), 0.0
