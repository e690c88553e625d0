"""LRN: local response normalisation (Krizhevsky, Sutskever and Hinton 2012, section 3.3)."""

from __future__ import annotations

from typing import Any

from ..errors import ModelError, ShapeError
from ._elementwise import map_views
from .base import REQUIRED, Node, Op, same_spec
from .reshape import reshape_to
from .view import View


class LRN(Op):
    """y = x / s^beta with s = bias + alpha / size * sum of x^2 over `size` channels around each one."""

    name = "LRN"
    attrs: dict[str, Any] = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0, "size": REQUIRED}

    def infer(self, node, inputs):
        if inputs[0].rank < 3:
            raise ShapeError(f"{node}: needs (N, C, ...) with at least one more axis, got shape {inputs[0].shape}")
        if self.attr(node, "size") < 1:
            raise ModelError(f"{node}: size is {self.attr(node, 'size')}, it must be positive")
        return same_spec(node, inputs)

    def by_image(self, node, rank):
        return True

    def simplify(self, g, node):
        """The kernels take pictures."""
        x, shape = node.inputs[0], g.spec(node.inputs[0]).shape
        if len(shape) == 4:
            return False
        picture = reshape_to(g, x, (*shape[:2], 1, -1 if 0 in shape else g.spec(x).size // (shape[0] * shape[1])))
        g.replace_value(node.outputs[0], reshape_to(g, g.emit("LRN", [picture], **node.attrs), shape))
        g.remove([node])
        return True

    def gradient(self, g, node, dy, needs):
        return [g.emit("LRNBackward", [dy[0], node.inputs[0]], **node.attrs)]

    def lower(self, ctx, node):
        x = ctx.image(node.inputs[0])
        self.powers(ctx, node, x, x, ctx.output(node.outputs[0]), -self.attr(node, "beta"))

    def powers(self, ctx: Any, node: Node, x: View, m: View, y: View, exponent: float) -> None:
        """y = m * s^exponent"""
        n, c, h, w = x.shape
        size = self.attr(node, "size")
        ctx.emit("lrn", (2 * size + 50) * x.size, x=x.nhw, m=m.nhw, y=y.nhw, N=n, C=c, H=h, W=w, before=(size - 1) // 2,
                 after=size // 2, scale=self.attr(node, "alpha") / size, bias=self.attr(node, "bias"), exponent=exponent)

    def flops(self, node, inputs, outputs):
        return (2 * self.attr(node, "size") + 50) * outputs[0].size


class LRNBackward(LRN):
    """dX = dY s^-beta - 2 alpha beta / size * X * sum of dY X s^(-beta - 1) over the channels that X is a neighbour of."""

    name = "LRNBackward"
    onnx = False
    inputs = ("dY", "X")
    no_gradient = "second derivatives are not built"

    def simplify(self, g, node):
        return False

    def lower(self, ctx, node):
        dy, x = (ctx.image(v) for v in node.inputs)
        alpha, beta, size = (self.attr(node, key) for key in ("alpha", "beta", "size"))
        terms = ctx.temp(x.shape)
        map_views(ctx, "mul", [dy, x], terms)
        self.powers(ctx, node, x, terms, terms, -beta - 1)
        dx = ctx.output(node.outputs[0], over=node.inputs[0])
        self.powers(ctx, node, x, dy, dx, -beta)
        n, c, h, w = x.shape
        ctx.emit("lrn_backward", (size + 4) * x.size, g=dx.nhw, x=x.nhw, t=terms.nhw, dx=dx.nhw, N=n, C=c, H=h, W=w,
                 before=size // 2, after=(size - 1) // 2, scale=2 * alpha * beta / size)
