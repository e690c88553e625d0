"""Flatten."""

import math

from .base import TensorSpec
from .reshape import ViewOp


class Flatten(ViewOp):
    """(d0, ..., dn) -> (product before axis, product from axis on)"""

    name = "Flatten"
    inputs = ("input",)
    attrs = {"axis": 1}

    def infer(self, node, inputs):
        x = inputs[0]
        axis = self.attr(node, "axis")
        axis += x.rank if axis < 0 else 0
        return [TensorSpec((math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), x.dtype)]
