"""Flatten."""

import math

from .base import TensorSpec, axis_of
from .reshape import ViewOp


class Flatten(ViewOp):
    """(d0, ..., dn) -> (product before axis, product from axis on)"""

    name = "Flatten"
    inputs = ("input",)
    attrs = {"axis": 1}

    def infer(self, node, inputs):
        x = inputs[0]
        axis = self.attr(node, "axis")
        if axis != x.rank:
            axis = axis_of(node, axis, x.rank)
        return [TensorSpec((math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), x.dtype)]
