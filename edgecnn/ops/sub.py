"""Sub."""

import numpy as np

from ._elementwise import Arithmetic, channel_constant, sum_to


class Sub(Arithmetic):
    name = "Sub"
    kernel = "sub"
    function = np.subtract

    def gradient(self, g, node, dy, needs):
        grads = [sum_to(g, dy[0], v) if need else None for v, need in zip(node.inputs, needs, strict=True)]
        if needs[1]:
            grads[1] = g.emit("Scale", [grads[1]], factor=-1.0)
        return grads

    def as_channel_affine(self, g, node):
        left, right = channel_constant(g, node, 0), channel_constant(g, node, 1)
        if right is not None:
            return np.ones_like(right), -right
        return (-np.ones_like(left), left) if left is not None else None
