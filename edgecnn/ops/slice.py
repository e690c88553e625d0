"""Slice: a view; and its gradient."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from .base import REQUIRED, Op, TensorSpec, axis_of


class Slice(Op):
    """x[starts:ends:steps] of some axes, as numpy slices."""

    name = "Slice"
    inputs: tuple[str, ...] = ("data", "starts", "ends", "axes?", "steps?")
    static: tuple[str, ...] = ("starts", "ends", "axes", "steps")
    attrs = {"starts": REQUIRED, "ends": REQUIRED, "axes": None, "steps": None}

    def bounds(self, node, shape):
        """(axis, start, stop, step) with start and stop as View.slice takes them."""
        starts, ends = (np.ravel(self.attr(node, k)).tolist() for k in ("starts", "ends"))
        axes, steps = self.attr(node, "axes"), self.attr(node, "steps")
        axes = range(len(starts)) if axes is None else np.ravel(axes).tolist()
        steps = [1] * len(starts) if steps is None else np.ravel(steps).tolist()
        if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
            raise ShapeError(f"{node}: starts {starts}, ends {ends}, axes {list(axes)}, steps {steps} "
                             "do not fit together")
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            axis = axis_of(node, axis, len(shape))
            yield axis, *slice(int(start), int(end), int(step)).indices(shape[axis])

    def infer(self, node, inputs):
        shape = list(inputs[0].shape)
        for axis, start, stop, step in self.bounds(node, inputs[0].shape):
            shape[axis] = len(range(start, stop, step))
        return [TensorSpec(tuple(shape), inputs[0].dtype)]

    def evaluate(self, node, *inputs):
        index = [slice(None)] * inputs[0].ndim
        for axis, start, stop, step in self.bounds(node, inputs[0].shape):
            index[axis] = slice(start, None if stop < 0 else stop, step)
        return [inputs[0][tuple(index)]]

    def before_transpose(self, g, node, perm):
        axes = self.attr(node, "axes")
        axes = range(np.size(self.attr(node, "starts"))) if axes is None else np.ravel(axes).tolist()
        node.attrs["axes"] = np.array([perm[a] for a in axes])
        return perm

    def gradient(self, g, node, dy, needs):
        static = {k: node.attrs[k] for k in self.attrs if node.attrs.get(k) is not None}
        return [g.emit("SliceBackward", [dy[0]], shape=g.spec(node.inputs[0]).shape, **static)]

    def lower(self, ctx, node):
        view = ctx.input(node.inputs[0])
        for bounds in self.bounds(node, view.shape):
            view = view.slice(*bounds)
        ctx.alias(node.outputs[0], view)

    def flops(self, node, inputs, outputs):
        return 0


class SliceBackward(Slice):
    """Zeros of `shape` with dY in the slice."""

    name = "SliceBackward"
    onnx = False
    inputs = ("dY",)
    static = ()
    attrs = {**Slice.attrs, "shape": REQUIRED}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec(tuple(node.attrs["shape"]), inputs[0].dtype)]

    def evaluate(self, node, *inputs):
        return None

    def lower(self, ctx, node):
        dx = ctx.output(node.outputs[0])
        ctx.fill(dx, 0.0)
        for bounds in self.bounds(node, dx.shape):
            dx = dx.slice(*bounds)
        ctx.copy(ctx.input(node.inputs[0]), dx)
