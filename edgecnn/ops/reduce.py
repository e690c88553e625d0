"""Reductions: sums, means, products, extremes and norms over axes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ._elementwise import lower_map, map_unary, map_views, require_float
from ._reduce import reduce_axes
from .base import Node, Op, TensorSpec, broadcast_shape
from .view import View

LARGEST = float(np.finfo(np.float32).max)
TINY = np.float32(1e-30)  # a norm below it has no direction: the gradient is 0 where the norm is


class Reduction(Op):
    """Reduces `axes` (all if there are none; with noop_with_empty_axes each element alone then)."""

    inputs = ("data", "axes?")
    static = ("axes",)
    attrs = {"axes": None, "keepdims": 1, "noop_with_empty_axes": 0}
    kernel: ClassVar[str]
    function: ClassVar[Any]  # in numpy, with axis and keepdims

    def axes(self, node: Node, shape: tuple[int, ...]) -> set[int]:
        given = self.attr(node, "axes")
        if given is None or np.size(given) == 0:
            return set() if self.attr(node, "noop_with_empty_axes") else set(range(len(shape)))
        axes = [int(a) for a in np.reshape(given, -1)]
        if any(not -len(shape) <= a < len(shape) for a in axes):
            raise ShapeError(f"{node}: axes {axes} do not fit an input of shape {shape}")
        return {a % len(shape) for a in axes}

    def export_form(self, g, node, opset):
        """Before opset 18 the axes are an attribute of most, which cannot be empty, and decide alone."""
        given = self.attr(node, "axes")
        if given is not None:
            node.attrs.pop("axes" if np.size(given) == 0 else "noop_with_empty_axes", None)
        return False

    def infer(self, node, inputs):
        shape, axes = inputs[0].shape, self.axes(node, inputs[0].shape)
        keep = self.attr(node, "keepdims")
        return [TensorSpec(tuple(1 if a in axes else n for a, n in enumerate(shape) if a not in axes or keep),
                           inputs[0].dtype)]

    def by_image(self, node, rank):
        axes = np.reshape([] if self.attr(node, "axes") is None else self.attr(node, "axes"), -1)
        rank += 0 if self.attr(node, "keepdims") else len(axes)
        return 0 not in self.axes(node, (1,) * rank)

    def before_transpose(self, g, node, perm):
        axes = self.axes(node, g.spec(node.inputs[0]).shape)
        if not axes:
            return perm
        node.attrs["axes"] = np.array(sorted(perm[a] for a in axes))
        if self.attr(node, "keepdims"):
            return perm
        left = [p for a, p in enumerate(perm) if a not in axes]
        return tuple(sorted(left).index(p) for p in left)

    def evaluate(self, node, *inputs):
        x, axes = inputs[0], tuple(sorted(self.axes(node, inputs[0].shape)))
        with np.errstate(divide="ignore", invalid="ignore"):
            y = type(self).function(x, axis=axes, keepdims=bool(self.attr(node, "keepdims")))
        return [np.asarray(y).astype(x.dtype)]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0])
        axes = self.axes(node, x.shape)
        if len(y.shape) == len(x.shape):
            y = y.transpose([a for a in range(len(x.shape)) if a not in axes])
        self.reduce(ctx, x, y, axes)

    def reduce(self, ctx: Any, x: View, y: View, axes: set[int]) -> None:
        """Emits the steps for y, which lacks the axes."""
        reduce_axes(ctx, self.kernel, x, y, axes)

    def repeat(self, g: Any, node: Node, value: str, scale: float = 1.0) -> str:
        """A value that looks like the output, times scale, repeated to the shape of the input."""
        shape = g.spec(node.inputs[0]).shape
        return g.emit("ReduceBackward", [value], shape=shape, axes=sorted(self.axes(node, shape)), scale=scale)

    def flops(self, node, inputs, outputs):
        return inputs[0].size


class ReduceSum(Reduction):
    name = "ReduceSum"
    kernel = "sum"
    function = np.sum

    def gradient(self, g, node, dy, needs):
        return [self.repeat(g, node, dy[0])]


class ReduceMean(Reduction):
    name = "ReduceMean"
    function = np.mean

    def reduce(self, ctx, x, y, axes):
        reduce_axes(ctx, "sum", x, y, axes, 1 / math.prod(x.shape[a] for a in axes))

    def gradient(self, g, node, dy, needs):
        shape = g.spec(node.inputs[0]).shape
        return [self.repeat(g, node, dy[0], 1 / math.prod(shape[a] for a in self.axes(node, shape)))]


class ReduceL1(Reduction):
    """The sum of absolute values."""

    name = "ReduceL1"
    kernel = "sum_abs"

    @staticmethod
    def function(x, **over):
        return np.sum(np.abs(x), **over)

    def gradient(self, g, node, dy, needs):
        return [g.emit("Mul", [g.emit("Sign", [node.inputs[0]]), self.repeat(g, node, dy[0])])]


class ReduceSumSquare(Reduction):
    name = "ReduceSumSquare"
    kernel = "sum_products"

    @staticmethod
    def function(x, **over):
        return np.sum(np.square(x), **over)

    def gradient(self, g, node, dy, needs):
        return [g.emit("Mul", [node.inputs[0], self.repeat(g, node, dy[0], 2.0)])]


class ReduceL2(Reduction):
    """The root of the sum of squares."""

    name = "ReduceL2"

    @staticmethod
    def function(x, **over):
        return np.sqrt(np.sum(np.square(x), **over))

    def reduce(self, ctx, x, y, axes):
        reduce_axes(ctx, "sum_products", x, y, axes)
        map_unary(ctx, "sqrt", y, y)

    def gradient(self, g, node, dy, needs):
        norm = g.emit("Max", [node.outputs[0], g.constant(TINY, "tiny")])
        return [g.emit("Mul", [node.inputs[0], self.repeat(g, node, g.emit("Div", [dy[0], norm]))])]


class ReduceLogSum(Reduction):
    """The logarithm of the sum."""

    name = "ReduceLogSum"

    @staticmethod
    def function(x, **over):
        return np.log(np.sum(x, **over))

    def reduce(self, ctx, x, y, axes):
        reduce_axes(ctx, "sum", x, y, axes)
        map_unary(ctx, "log", y, y, work=25)

    def gradient(self, g, node, dy, needs):
        return [self.repeat(g, node, g.emit("Mul", [dy[0], g.emit("Exp", [g.emit("Neg", [node.outputs[0]])])]))]


class ReduceLogSumExp(Reduction):
    """log(sum(exp(x))), computed as log(sum(exp(x - max))) + max, which does not overflow."""

    name = "ReduceLogSumExp"

    @staticmethod
    def function(x, **over):
        top = np.max(x, initial=-LARGEST, axis=over["axis"], keepdims=True)
        y = np.log(np.sum(np.exp(x - top), **over))
        return y + top.reshape(y.shape)

    def reduce(self, ctx, x, y, axes):
        kept = ctx.temp(tuple(1 if a in axes else n for a, n in enumerate(x.shape)))
        top = kept.transpose([a for a in range(len(x.shape)) if a not in axes])
        reduce_axes(ctx, "maximum", x, top, axes)
        map_unary(ctx, "clamp", kept, kept, -LARGEST, LARGEST)  # inf - inf would be NaN
        reduce_axes(ctx, "sum_exp", x, y, axes, z=kept)
        map_unary(ctx, "log", y, y, work=25)
        map_views(ctx, "add", [y, top], y)

    def gradient(self, g, node, dy, needs):
        share = g.emit("Exp", [g.emit("Sub", [node.inputs[0], self.repeat(g, node, node.outputs[0])])])
        return [g.emit("Mul", [share, self.repeat(g, node, dy[0])])]


class ReduceProd(Reduction):
    name = "ReduceProd"
    kernel = "product"
    function = np.prod

    def gradient(self, g, node, dy, needs):
        """dY times the product of the others: of the elements that are not 0 divided by this one, or 0 if another is 0."""
        x = node.inputs[0]
        axes = {"axes": sorted(self.axes(node, g.spec(x).shape)), "noop_with_empty_axes": 1}
        zero = g.emit("EqualMask", [x, g.constant(np.float32(0), "zero")])
        ones = g.emit("Add", [x, zero])
        others = g.emit("Div", [g.emit("ReduceProd", [ones], **axes), ones])
        alone = g.emit("EqualMask", [zero, g.emit("ReduceSum", [zero], **axes)])
        return [g.emit("Mul", [g.emit("Mul", [others, alone]), self.repeat(g, node, dy[0])])]


class ReduceExtreme(Reduction):
    """Equal extremes share the gradient evenly."""

    def gradient(self, g, node, dy, needs):
        mask = g.emit("EqualMask", [node.inputs[0], self.repeat(g, node, node.outputs[0])])
        count = g.emit("ReduceSum", [mask], axes=sorted(self.axes(node, g.spec(mask).shape)), noop_with_empty_axes=1,
                       keepdims=self.attr(node, "keepdims"))
        return [g.emit("Mul", [mask, self.repeat(g, node, g.emit("Div", [dy[0], count]))])]


class ReduceMax(ReduceExtreme):
    name = "ReduceMax"
    kernel = "maximum"

    @staticmethod
    def function(x, **over):
        return np.max(x, initial=lowest(x.dtype), **over)


class ReduceMin(ReduceExtreme):
    name = "ReduceMin"
    kernel = "minimum"

    @staticmethod
    def function(x, **over):
        return np.min(x, initial=highest(x.dtype), **over)


def lowest(dtype: np.dtype) -> Any:
    """The largest value of no values."""
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def highest(dtype: np.dtype) -> Any:
    return np.inf if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max


class EqualMask(Op):
    """1 where A == B, else 0; with broadcasting."""

    name = "EqualMask"
    onnx = False
    inputs = ("A", "B")
    no_gradient = "it is a step"

    def infer(self, node, inputs):
        return [TensorSpec(broadcast_shape(node, *inputs))]

    def lower(self, ctx, node):
        lower_map(ctx, node, "equal")
