"""Standardize: what instance, group, layer and mean-variance normalisation share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ._elementwise import map_unary, map_views
from ._reduce import reduce_axes
from .base import REQUIRED, Op, TensorSpec, same_spec
from .reshape import reshape_to
from .view import View, collapse


def standardized(g: Any, x: str, axes: range, epsilon: float) -> str:
    """Emits x with mean 0 and variance 1 over the axes."""
    return g.emit("Standardize", [x], [g.fresh("standardized")], axes=tuple(axes), epsilon=epsilon)


def written_out(g: Any, x: str, axes: tuple[int, ...], epsilon: float, names: Sequence[str] = ("", "")) -> str:
    """Emits the same for export, in operators of every opset; names, if any, for the mean and the inverse deviation."""
    def mean(value, *name):
        return g.emit("ReduceMean", [value], [*name] or 1, axes=axes)
    rest = g.emit("Sub", [x, mean(x, *filter(None, names[:1]))])
    variance = mean(g.emit("Mul", [rest, rest]))
    deviation = g.emit("Sqrt", [g.emit("Add", [variance, g.constant(np.float32(epsilon), "epsilon")])])
    return g.emit("Mul", [rest, g.emit("Reciprocal", [deviation], [*filter(None, names[1:])] or 1)])


def scaled_and_shifted(g: Any, x: str, scale: str, shift: str | None, channel_axis: bool = True) -> str:
    """Emits x * scale + shift. With channel_axis these lie along axis 1, otherwise they are broadcast as they are."""
    def placed(value: str) -> str:
        return reshape_to(g, value, (g.spec(value).size, *[1] * (g.spec(x).rank - 2))) if channel_axis else value
    y = g.emit("Mul", [x, placed(scale)])
    return g.emit("Add", [y, placed(shift)]) if shift else y


class Standardize(Op):
    """Y = (X - mean) / sqrt(var + epsilon), mean and (biased) variance taken over `axes`. Further outputs, their axes kept
    with size 1: the mean and 1 / sqrt(var + epsilon)."""

    name = "Standardize"
    onnx = False
    outputs = 3
    attrs = {"axes": REQUIRED, "epsilon": 1e-5}

    def infer(self, node, inputs):
        x = inputs[0]
        kept = TensorSpec(tuple(1 if a in node.attrs["axes"] else n for a, n in enumerate(x.shape)))
        return [x, kept, kept]

    def by_image(self, node, rank):
        return 0 not in node.attrs["axes"]

    def gradient(self, g, node, dy, needs):
        if any(d is not None for d in dy[1:]):
            raise UnsupportedError(f"{node}: its mean and deviation are used as results of their own; edgecnn has no "
                                   f"gradient for that. Freeze the network up to this node: "
                                   f"model.freeze(until={node.outputs[0]!r})")
        node.outputs += [""] * (3 - len(node.outputs))
        if not node.outputs[2]:
            node.outputs[2] = g.fresh(f"{node.outputs[0]}_inv_std")
            g.infer_node(node)
        return [g.emit("StandardizeBackward", [dy[0], node.outputs[0], node.outputs[2]], axes=node.attrs["axes"])]

    def lower(self, ctx, node):
        x, axes = ctx.input(node.inputs[0]), set(node.attrs["axes"])
        shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        mean, inv_std = (ctx.output(o) if o else ctx.temp(shape) for o in (*node.outputs[1:], "", "")[:2])
        average(ctx, "sum", x, mean, axes)
        average(ctx, "sum_squared_differences", x, inv_std, axes, mean)
        map_unary(ctx, "inv_sqrt", inv_std, inv_std, self.attr(node, "epsilon"))
        y = ctx.output(node.outputs[0], over=node.inputs[0], strides=x.strides if gapless(x) else None)
        map_views(ctx, "standardize", [x, mean, inv_std], y)

    def flops(self, node, inputs, outputs):
        return 6 * outputs[0].size


class StandardizeBackward(Op):
    """dX = (dY - mean(dY) - Y mean(dY Y)) * inv_std, the means over `axes`: mean and variance depend on X."""

    name = "StandardizeBackward"
    onnx = False
    inputs = ("dY", "Y", "inv_std")
    attrs = {"axes": REQUIRED}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        dy, y, inv_std = (ctx.input(v) for v in node.inputs)
        axes = set(node.attrs["axes"])
        mean, slope = ctx.temp(inv_std.shape), ctx.temp(inv_std.shape)
        average(ctx, "sum", dy, mean, axes)
        average(ctx, "sum_products", dy, slope, axes, y)
        dx = ctx.output(node.outputs[0], over=node.inputs[1], strides=y.strides if gapless(y) else None)
        map_views(ctx, "multiply_add", [y, slope, mean], dx)
        map_views(ctx, "standardize", [dy, dx, inv_std], dx)

    def flops(self, node, inputs, outputs):
        return 8 * outputs[0].size


def average(ctx: Any, kernel: str, x: View, y: View, axes: set[int], z: View | None = None) -> None:
    """A sum over the axes, divided by the number of its terms; y has them with size 1."""
    kept = y.transpose([a for a in range(len(x.shape)) if a not in axes])
    reduce_axes(ctx, kernel, x, kept, axes, 1 / math.prod(x.shape[a] for a in axes), z)


def gapless(view: View) -> bool:
    """Whether all elements lie side by side, in whatever order of the axes."""
    sizes, (strides,) = collapse(view.shape, view)
    return not sizes or (len(sizes) == 1 and strides[0] == 1)
