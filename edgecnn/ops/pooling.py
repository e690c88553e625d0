"""Pooling with gradients: MaxPool, AveragePool, LpPool and the global ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ._convolution import as_row, flat_pixels
from ._elementwise import map_views
from .base import REQUIRED, Node, Op, Rows, TensorSpec
from .conv import INF, padding, planes_of, volume_of
from .reshape import reshape_to
from .view import Arg, View

WINDOW: dict[str, Any] = {"kernel_shape": REQUIRED, "strides": None, "pads": None, "dilations": None,
                          "ceil_mode": 0, "auto_pad": "NOTSET"}
PARTS = 8  # bands of rows of a picture, whose means are computed apart


@dataclass(frozen=True)
class Window:
    """Geometry of a pooling; pad is (top, left, bottom, right), out the output's (height, width). As many axes as the image
    has."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    out: tuple[int, ...]


class Pool(Op):
    """What all poolings share. `average`: mean instead of maximum."""

    average: bool

    def window(self, node: Node, x: TensorSpec) -> Window:
        """The geometry for one input. In ceil_mode a last window that starts behind the image is dropped."""
        size = self.image_size(node, x)
        kernel = tuple(self.attr(node, "kernel_shape"))
        stride, dilation = (tuple(self.attr(node, k) or (1,) * len(size)) for k in ("strides", "dilations"))
        if {len(kernel), len(stride), len(dilation)} != {len(size)}:
            raise ShapeError(f"{node}: kernel_shape {kernel}, strides {stride}, dilations {dilation} do not fit an input of "
                             f"shape {x.shape}")
        ceil_mode, pads = self.attr(node, "ceil_mode"), self.attr(node, "pads")
        before, after = padding(node, size, kernel, stride, dilation, pads, self.attr(node, "auto_pad"))
        out = []
        for n, b, a, k, d, s in zip(size, before, after, kernel, dilation, stride, strict=True):
            reach = (k - 1) * d + 1
            if max(a, b) >= reach:
                raise ShapeError(f"{node}: padding {before + after} must be smaller than the kernel {kernel}")
            count = (n + b + a - reach + (s - 1 if ceil_mode else 0)) // s + 1
            out.append(count - 1 if ceil_mode and (count - 1) * s >= n + b else count)
        if min(out) < 1:
            raise ShapeError(f"{node}: an input of {'x'.join(map(str, size))} pixels is smaller than the kernel "
                             f"{kernel} with padding {before + after}; use larger pictures")
        return Window(kernel, stride, (*before, *after), dilation, tuple(out))

    def export_form(self, g, node, opset):
        """Opsets have no dilations of a mean before 19, and count a last window that starts behind the image before 22:
        where the size is known, rounding down says the same without it."""
        if set(self.attr(node, "dilations") or ()) == {1}:
            del node.attrs["dilations"]
        x = g.spec_or_none(node.inputs[0])
        if self.attr(node, "ceil_mode") and x and None not in x.shape[2:]:
            down = Node(node.op, node.inputs, node.outputs, {**node.attrs, "ceil_mode": 0})
            if self.window(down, x).out == self.window(node, x).out:
                node.attrs["ceil_mode"] = 0
        return False

    @staticmethod
    def image_size(node: Node, x: TensorSpec) -> tuple[int, ...]:
        if x.rank not in (3, 4, 5):
            raise UnsupportedError(f"{node}: images (N, C, ...) have 1 to 3 more axes, got shape {x.shape}")
        return x.shape[2:]

    def by_image(self, node, rank):
        return True

    def infer(self, node, inputs):
        x = inputs[0]
        return [TensorSpec((*x.shape[:2], *self.window(node, x).out))]

    def simplify(self, g, node):
        """The kernels take pictures: a row is one, and a volume is pooled plane by plane, then in depth."""
        x = g.spec(node.inputs[0])
        if x.rank == 4:
            return False
        y, w = node.inputs[0], self.window(node, x)
        n, c, depth, *size = x.shape
        if size:
            y = volume_of(g, self.along(g, node, planes_of(g, y), w, [1, 2]), depth)
        pixels = prod(g.spec(y).shape[3:])
        y = reshape_to(g, y, (n, c, depth, pixels))
        y = reshape_to(g, self.along(g, node, y, w, [0]), (n, c, *w.out))
        g.replace_value(node.outputs[0], y)
        g.remove([node])
        return True

    def along(self, g, node: Node, picture: str, w: Window, axes: list[int]) -> str:
        """Emits the same pooling of pictures over one axis (rows) or two of the window."""
        def pick(values, fill):
            return [values[a] for a in axes] + [fill] * (2 - len(axes))

        rank = len(w.kernel)
        window = {"kernel_shape": pick(w.kernel, 1), "strides": pick(w.stride, 1), "dilations": pick(w.dilation, 1),
                  "pads": [*pick(w.pad[:rank], 0), *pick(w.pad[rank:], 0)], "auto_pad": "NOTSET"}
        return g.emit(node.op, [picture], **{**node.attrs, **window})

    def gradient(self, g, node, dy, needs):
        x = g.spec(node.inputs[0])
        w = self.window(node, x)
        inputs = [dy[0]] if self.average else [dy[0], node.inputs[0]]
        return [g.emit("PoolBackward", inputs, shape=x.shape, window=w, average=self.average,
                       count_include_pad=self.include_pad(node))]

    def include_pad(self, node: Node) -> int:
        """As the kernels take it."""
        return int(bool(node.attrs.get("count_include_pad", 0)))

    def lower(self, ctx, node):
        self.pool(ctx, node, ctx.image(node.inputs[0]), ctx.output(node.outputs[0]))

    def pool(self, ctx, node: Node, x: View, y: View) -> None:
        ctx.emit("pool", 4 * (x.size + y.size), x=x.nhw, y=y.nhw, average=self.average,
                 include_pad=self.include_pad(node),
                 **geometry(x.shape, self.window(node, ctx.spec(node.inputs[0]))))

    def flops(self, node, inputs, outputs):
        return outputs[0].size * prod(self.window(node, inputs[0]).kernel)


def geometry(x: tuple[int, ...], w: Window) -> dict[str, Any]:
    """Arguments of the pooling kernels for an input of shape x."""
    n, c, h, width = x
    return {"N": n, "C": c, "H": h, "W": width, "OH": w.out[0], "OW": w.out[1], "KH": w.kernel[0],
            "KW": w.kernel[1], "stride": w.stride, "pad": w.pad, "dilation": w.dilation}


class MaxPool(Pool):
    """Maximum of each window; padding never wins. NaN in a window gives NaN. The gradient goes to the first
    maximum in row-major order, as in PyTorch."""

    name = "MaxPool"
    attrs = {**WINDOW, "storage_order": 0}
    average = False

    def infer(self, node, inputs):
        (y,) = super().infer(node, inputs)
        return [y, TensorSpec(y.shape, "int64")]

    def simplify(self, g, node):
        """Where the maxima are, an operator of its own says if somebody asks."""
        for places in node.outputs[1:]:
            del node.outputs[1:]
            if g.uses()[places]:
                g.emit("MaxIndices", [node.inputs[0]], [places], window=self.window(node, g.spec(node.inputs[0])),
                       storage_order=self.attr(node, "storage_order"))
            return True
        return super().simplify(g, node)

    def by_row(self, g, node):
        x = g.spec(node.inputs[0])
        if x.rank != 4:
            return None
        w = self.window(node, x)
        return Rows((w.kernel[0] - 1) * w.dilation[0] + 1, w.stride[0], w.pad[0])

    def band(self, g, node, above, below):
        w = self.window(node, g.spec(node.inputs[0]))
        return {**node.attrs, "auto_pad": "NOTSET", "pads": (above, w.pad[1], below, w.pad[3])}


class MaxIndices(Op):
    """The places of the maxima of MaxPool, as int64: numbers of elements of the whole input, in row-major order, or with
    storage_order 1 in column-major order within each image."""

    name = "MaxIndices"
    onnx = False
    attrs = {"window": REQUIRED, "storage_order": 0}
    no_gradient = "places are whole numbers"

    def infer(self, node, inputs):
        return [TensorSpec((*inputs[0].shape[:2], *node.attrs["window"].out), "int64")]

    def lower(self, ctx, node):
        x, y, w = ctx.input(node.inputs[0]), ctx.output(node.outputs[0]), node.attrs["window"]
        rank = len(w.kernel)

        def three(values, fill=1):
            return (fill,) * (3 - rank) + tuple(values)

        ctx.emit("max_indices", y.size * prod(w.kernel), x=Arg(x, (*x.strides[:2], *three(x.strides[2:]))),
                 y=Arg(y, (*y.strides[:2], *three(y.strides[2:]))), N=x.shape[0], C=x.shape[1], size=three(x.shape[2:]),
                 out=three(w.out), window=three(w.kernel), stride=three(w.stride), pad=three(w.pad[:rank], 0),
                 dilation=three(w.dilation), column_major=node.attrs["storage_order"])


class AveragePool(Pool):
    """Mean of each window: over the pixels inside the image, or with count_include_pad over those inside the
    padded image (never those that ceil_mode adds beyond)."""

    name = "AveragePool"
    attrs = {**WINDOW, "count_include_pad": 0}
    average = True


TINY = 1e-30  # a norm below it has no direction: the gradient is 0 where the norm is


class LpPool(Pool):
    """The p-norm of each window, padding counted as zeros."""

    name = "LpPool"
    attrs = {**WINDOW, "p": 2}
    average = True

    def include_pad(self, node):
        return 2

    def gradient(self, g, node, dy, needs):
        """dX = sign(x) |x|^(p - 1) times the sum of dY / Y^(p - 1) over the windows."""
        x, y = node.inputs[0], node.outputs[0]
        less = self.attr(node, "p") - 1
        if less == 0:
            return [g.emit("Mul", [g.emit("Sign", [x]), *super().gradient(g, node, dy, needs)])]
        power, base = g.constant(np.float32(less), "power"), g.constant(np.float32(TINY ** (1 / less)), "tiny")
        norm = g.emit("Pow", [g.emit("Max", [y, base]), power])
        spread = super().gradient(g, node, [g.emit("Div", [dy[0], norm])], needs)
        if less == 1:
            return [g.emit("Mul", [x, *spread])]
        slope = g.emit("Mul", [g.emit("Sign", [x]), g.emit("Pow", [g.emit("Abs", [x]), power])])
        return [g.emit("Mul", [slope, *spread])]

    def lower(self, ctx, node):
        x, y = ctx.image(node.inputs[0]), ctx.output(node.outputs[0])
        p, powers = self.attr(node, "p"), ctx.temp(x.shape)
        raise_to(ctx, x, p, powers)
        self.pool(ctx, node, powers, y)
        raise_to(ctx, y, 1 / p, y)


def raise_to(ctx, x: View, exponent: float, y: View) -> None:
    """y = |x|^exponent"""
    if exponent == 2:
        map_views(ctx, "mul", [x, x], y)
    elif exponent == 0.5:
        map_views(ctx, "sqrt", [x], y)
    else:
        map_views(ctx, "abs", [x], y)
        if exponent != 1:
            map_views(ctx, "pow", [y, ctx.constant(np.full((1,) * 4, exponent, np.float32))], y, work=50)


class GlobalPool(Pool):
    """A pooling whose only window is the image."""

    def window(self, node, x):
        size = self.image_size(node, x)
        ones = (1,) * len(size)
        return Window(size, ones, (0,) * (2 * len(size)), ones, ones)

    def simplify(self, g, node):
        """Any image is a picture of one column to the kernels."""
        x = g.spec(node.inputs[0])
        if x.rank == 4:
            return False
        y = g.emit(node.op, [reshape_to(g, node.inputs[0], (*x.shape[:2], x.size // prod(x.shape[:2]), 1))], **node.attrs)
        g.replace_value(node.outputs[0], reshape_to(g, y, g.spec(node.outputs[0]).shape))
        g.remove([node])
        return True


class GlobalMaxPool(GlobalPool):
    name = "GlobalMaxPool"
    average = False


class GlobalLpPool(GlobalPool, LpPool):
    name = "GlobalLpPool"
    attrs = {"p": 2}


class GlobalAveragePool(GlobalPool):
    """Mean over the image, summed in double precision over blocks of pixels.

    Of a few images the means of bands of rows first: threads then read the pixels that they have written and will write,
    where a split by channels would send every line of memory to the other core and back."""

    name = "GlobalAveragePool"
    average = True

    def lower(self, ctx, node):
        x, y = ctx.image(node.inputs[0]), ctx.output(node.outputs[0])
        n, c, h, w = x.shape
        parts = next(k for k in range(PARTS, 0, -1) if h % k == 0)
        if flat_pixels(x) and n < PARTS and parts > 1:
            x = as_row(x)
            pixels = h * w // parts
            bands = replace(x, shape=(n * parts, c, 1, pixels), strides=(pixels * x.strides[3], *x.strides[1:]))
            x = ctx.temp((n * parts, c))
            self.emit_mean(ctx, bands, x)
            x = replace(x, shape=(n, c, 1, parts), strides=(parts * c, 1, 0, c))
        elif x.strides[2] == w * x.strides[3] or w == 1:  # rows without gaps: one long row
            x = replace(x, shape=(n, c, 1, h * w), strides=(*x.strides[:2], 0, x.strides[2 if w == 1 else 3]))
        self.emit_mean(ctx, x, y)

    @staticmethod
    def emit_mean(ctx, x, y):
        n, c, h, w = x.shape
        ctx.emit("global_average", 4 * x.size, x=x.nhw, y=y.arg(0), N=n, C=c, H=h, W=w)


class PoolBackward(Op):
    """dX of a pooling, of which X is needed for maxima only; `shape` is that of X. Of maxima also dX where lo < X < hi, else
    0: a window gives to its maximum alone, so that this says what goes through."""

    name = "PoolBackward"
    onnx = False
    inputs = ("dY", "X?")
    attrs = {"shape": REQUIRED, "window": REQUIRED, "average": REQUIRED, "count_include_pad": 0, "lo": -INF,
             "hi": INF}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec(tuple(node.attrs["shape"]))]

    def absorb_gate(self, g, node, y, lo, hi):
        if node.attrs["average"] or y != node.inputs[1]:
            return False
        node.attrs.update(lo=lo, hi=hi)
        return True

    def lower(self, ctx, node):
        average, lo, hi = node.attrs["average"], self.attr(node, "lo"), self.attr(node, "hi")
        dy, dx = ctx.image(node.inputs[0]), ctx.output(node.outputs[0])
        ctx.emit("pool_backward", 4 * (dy.size + dx.size), dy=dy.nhw, dx=dx.nhw,
                 x=None if average else ctx.image(node.inputs[1]).nhw, average=average,
                 include_pad=self.attr(node, "count_include_pad"), narrow=lo > -INF or hi < INF, lo=lo, hi=hi,
                 **geometry(dx.shape, node.attrs["window"]))
