"""What elementwise operators share: kernel steps over views, activations, arithmetic with broadcasting."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..errors import DTypeError
from .base import Node, Op, TensorSpec, broadcast_shape, same_spec
from .view import Arg, View

LOOPS = 6


def map_unary(ctx: Any, kernel: str, x: View, y: View, p: float = 0.0, q: float = 0.0, work: int = 1) -> None:
    """y = f(x), the shapes equal; f takes about `work` FLOPs and has the coefficients p, q."""
    dims, (xs, ys) = ctx.loops(LOOPS, x, y)
    ctx.emit(kernel, max(4, work) * y.size, x=Arg(x, xs), y=Arg(y, ys), dims=dims, p=p, q=q)


def map_binary(ctx: Any, kernel: str, a: View, b: View, y: View, p: float = 0.0, q: float = 0.0,
               work: int = 1) -> None:
    """y = f(a, b), a and b broadcast to y's shape."""
    a, b = a.expand(y.shape), b.expand(y.shape)
    dims, (sa, sb, sy) = ctx.loops(LOOPS, a, b, y)
    ctx.emit(kernel, max(6, work) * y.size, a=Arg(a, sa), b=Arg(b, sb), y=Arg(y, sy), dims=dims, p=p, q=q)


def overwritable(ctx: Any, node: Node) -> str:
    """Which of a node's two inputs the output may be computed over, "" if neither: one that has its shape and
    that nobody needs any more, unless the other holds some of the same elements in another place."""
    a, b = (ctx.input(v) for v in node.inputs)
    shape = ctx.spec(node.outputs[0]).shape
    for value, view in zip(node.inputs, (a, b), strict=True):
        if view.shape == shape and ctx.may_overwrite(value) and (a.buffer is not b.buffer or a == b):
            return value
    return ""


def lower_binary(ctx: Any, node: Node, kernel: str, p: float = 0.0, q: float = 0.0, work: int = 1) -> None:
    """A node with two inputs, in place where possible."""
    a, b = (ctx.input(v) for v in node.inputs)
    y = ctx.output(node.outputs[0], over=overwritable(ctx, node))
    map_binary(ctx, kernel, a, b, y, p, q, work)


class Activation(Op):
    """y = f(x) elementwise. A subclass names its kernel and has a gradient operator called `name` +
    "Backward"; where the slope can be written with y, x need not be kept and y may overwrite it."""

    kernel: ClassVar[str]
    work: ClassVar[int] = 1
    slope_from_output: ClassVar[bool] = True

    def coefficients(self, node: Node) -> tuple[float, float]:
        """p and q of the kernel."""
        return 0.0, 0.0

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def gradient(self, g, node, dy, needs):
        kept = node.outputs[0] if self.slope_from_output else node.inputs[0]
        return [g.emit(self.name + "Backward", [dy[0], kept], **node.attrs)]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0], over=node.inputs[0])
        map_unary(ctx, self.kernel, x, y, *self.coefficients(node), work=self.work)

    def flops(self, node, inputs, outputs):
        return self.work * outputs[0].size


class ActivationBackward(Op):
    """dX from dY and the second input, Y or X; attributes as the activation's."""

    onnx = False
    inputs = ("dY", "Y")
    no_gradient = "second derivatives are not built"
    kernel: ClassVar[str]
    work: ClassVar[int] = 2

    def coefficients(self, node: Node) -> tuple[float, float]:
        return 0.0, 0.0

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        lower_binary(ctx, node, self.kernel, *self.coefficients(node), work=self.work)

    def flops(self, node, inputs, outputs):
        return self.work * outputs[0].size


class Arithmetic(Op):
    """C = A op B with numpy's broadcasting."""

    inputs = ("A", "B")
    parameters = ("A", "B")
    kernel: ClassVar[str]

    def infer(self, node, inputs):
        return [TensorSpec(broadcast_shape(node, *inputs), inputs[0].dtype)]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        lower_binary(ctx, node, self.kernel)


def require_float(op: Op, ctx: Any, node: Node) -> None:
    for value in node.inputs:
        if value and ctx.spec(value).dtype != "float32":
            raise DTypeError(f"{node}: input {value!r} is {ctx.spec(value).dtype}; {op.name} computes "
                             "float32, other types must be known when a plan is compiled (shape arithmetic)")


def sum_to(g: Any, value: str, like: str) -> str:
    """The gradient of an operand that was broadcast: `value` summed to the shape of `like`."""
    shape = g.spec(like).shape
    return value if g.spec(value).shape == shape else g.emit("SumTo", [value], shape=shape)


def channel_constant(g: Any, node: Node, index: int) -> np.ndarray | None:
    """Input `index` as float64 (C,) if it is a constant and the same for all elements of a channel of the
    other input, which has the output's shape (N, C, ...)."""
    constant, other = g.constants.get(node.inputs[index]), g.spec(node.inputs[1 - index])
    if constant is None or other.rank < 2 or constant.ndim > other.rank or constant.dtype.kind != "f":
        return None
    shape = (1,) * (other.rank - constant.ndim) + constant.shape
    if any(n != 1 for axis, n in enumerate(shape) if axis != 1) or shape[1] not in (1, other.shape[1]):
        return None
    return np.broadcast_to(constant.astype(np.float64).reshape(-1), (other.shape[1],))
