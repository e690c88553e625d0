"""Squeeze and Unsqueeze: axes of size 1 go and come."""

import numpy as np

from ..errors import ShapeError
from .base import REQUIRED, TensorSpec, axis_of
from .reshape import ViewOp


class Squeeze(ViewOp):
    """Removes the given axes, all of size 1 if none is given."""

    name = "Squeeze"
    inputs = ("data", "axes?")
    static = ("axes",)
    attrs = {"axes": None}

    def infer(self, node, inputs):
        x, axes = inputs[0], self.attr(node, "axes")
        gone = {axis_of(node, a, x.rank) for a in np.ravel(axes)} if axes is not None else {
            i for i, n in enumerate(x.shape) if n == 1}
        if any(x.shape[a] != 1 for a in gone):
            raise ShapeError(f"{node}: axes {sorted(gone)} of shape {x.shape} are not all of size 1")
        return [TensorSpec(tuple(n for i, n in enumerate(x.shape) if i not in gone), x.dtype)]


class Unsqueeze(ViewOp):
    """Inserts axes of size 1 at the given places of the result."""

    name = "Unsqueeze"
    inputs = ("data", "axes")
    static = ("axes",)
    attrs = {"axes": REQUIRED}

    def infer(self, node, inputs):
        x, axes = inputs[0], np.ravel(self.attr(node, "axes"))
        rank = x.rank + len(axes)
        new = {axis_of(node, a, rank) for a in axes}
        if len(new) != len(axes):
            raise ShapeError(f"{node}: axes {axes.tolist()} name a place twice")
        old = iter(x.shape)
        return [TensorSpec(tuple(1 if i in new else next(old) for i in range(rank)), x.dtype)]
