"""Convolution (ONNX Conv) with its two gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ShapeError, UnsupportedError
from . import _convolution as conv
from ._algorithms import BACKWARD_DATA, BACKWARD_WEIGHTS, FORWARD, choose
from ._winograd import suits
from .axis_map import map_axis
from .base import REQUIRED, Node, Op, Rows, TensorSpec
from .relu import clamp_gradient
from .reshape import reshape_to
from .view import row_major

INF = float("inf")


def padding(node: Node, size: Sequence[int], kernel: Sequence[int], strides, dilations, pads,
            auto_pad: str) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial axis, ONNX's auto_pad resolved for one input size."""
    rank = len(size)
    if auto_pad in ("NOTSET", ""):
        pads = list(pads or [0] * (2 * rank))
        return pads[:rank], pads[rank:]
    if auto_pad == "VALID":
        return [0] * rank, [0] * rank
    before, after = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        less = total // 2
        before.append(less if auto_pad == "SAME_UPPER" else total - less)
        after.append(total - before[-1])
    return before, after


def ends(geo: conv.Geometry, size: Sequence[int], kernel: Sequence[int], out: Sequence[int]) -> list[int]:
    """How far the last window of each axis reaches beyond an input of `size` pixels; less than 0 if not to its end."""
    return [(o - 1) * s + (k - 1) * d + 1 - p - i
            for o, s, k, d, p, i in zip(out, geo.stride, kernel, geo.dilation, geo.pad, size, strict=True)]


def planes_of(g, value: str) -> str:
    """Emits a volume (N, C, D, ...) as pictures (N * D, C, ...)."""
    n, c, depth, *size = g.spec(value).shape
    return reshape_to(g, g.emit("Transpose", [value], perm=(0, 2, 1, 3, 4)), (n * depth, c, *size))


def volume_of(g, planes: str, depth: int) -> str:
    """Emits pictures (N * D, C, ...) as a volume (N, C, D, ...)."""
    n, *rest = g.spec(planes).shape
    return g.emit("Transpose", [reshape_to(g, planes, (n // depth, depth, *rest))], perm=(0, 2, 1, 3, 4))


class Conv(Op):
    """z[n, j] = b[j] + sum_k w[j, k] * x[n, k] (cross-correlation), in 1, 2 or 3 dimensions.

    The last three attributes exist in plans only: passes fold a residual addition (input R) and a clamp into the
    convolution; ONNX never sees them."""

    name = "Conv"
    inputs = ("X", "W", "B?", "R?")
    parameters = ("W", "B")
    attrs = {"kernel_shape": None, "strides": None, "pads": None, "dilations": None, "group": 1, "auto_pad": "NOTSET",
             "lo": -INF, "hi": INF}

    def geometry(self, node: Node, x: TensorSpec, w: TensorSpec) -> tuple[conv.Geometry, tuple[int, ...]]:
        """Geometry and the output's height and width (or its length; or depth, height and width)."""
        if x.rank not in (3, 4, 5) or w.rank != x.rank:
            raise UnsupportedError(f"{node}: convolutions have 1 to 3 dimensions, got input {x.shape}, weights {w.shape}")
        n, c, *size = x.shape
        oc, cg, *kernel = w.shape
        groups, ones = self.attr(node, "group"), (1,) * len(size)
        stride, dilation = (tuple(self.attr(node, k) or ones) for k in ("strides", "dilations"))
        if c != cg * groups or oc % groups:
            raise ShapeError(f"{node}: input has {c} channels, weights {w.shape} with {groups} groups take {cg * groups} "
                             f"and their {oc} output channels must be a multiple of the groups")
        before, after = padding(node, size, kernel, stride, dilation, self.attr(node, "pads"), self.attr(node, "auto_pad"))
        out = tuple((i + b + a - (k - 1) * d - 1) // s + 1
                    for i, b, a, k, d, s in zip(size, before, after, kernel, dilation, stride, strict=True))
        if min(out) < 1:
            raise ShapeError(f"{node}: an input of {'x'.join(map(str, size))} pixels is smaller than the kernel "
                             f"{tuple(kernel)} with padding {before + after}; use larger pictures")
        return conv.Geometry(stride, tuple(before), dilation), out

    def simplify(self, g, node):
        """The kernels take pictures: a row is one, and planes of a volume that a kernel reads at once become channels."""
        x, w = (g.spec(v) for v in node.inputs[:2])
        if x.rank == 4:
            return False
        geo, out = self.geometry(node, x, w)
        n, c, depth, *size = x.shape
        source, kernel = node.inputs[0], w.shape[2:]
        after = ends(geo, x.shape[2:], kernel, out)
        attrs = {**node.attrs, "auto_pad": "NOTSET", "kernel_shape": None, "strides": geo.stride[-2:],
                 "dilations": geo.dilation[-2:], "pads": (*geo.pad[-2:], *after[-2:])}
        if x.rank == 3:
            attrs |= {"strides": (1, *geo.stride), "dilations": (1, *geo.dilation), "pads": (0, *geo.pad, 0, *after)}
            pictures = reshape_to(g, source, (n, c, 1, depth))
            weights = reshape_to(g, node.inputs[1], (*w.shape[:2], 1, *kernel))
        else:
            places = [o * geo.stride[0] - geo.pad[0] + k * geo.dilation[0] for o in range(out[0]) for k in range(kernel[0])]
            windows = map_axis(g, source, 2, [[(i, 1.0)] if 0 <= i < depth else [] for i in places])
            windows = reshape_to(g, windows, (n, c, out[0], kernel[0], *size))
            windows = g.emit("Transpose", [windows], perm=(0, 2, 1, 3, 4, 5))
            pictures = reshape_to(g, windows, (n * out[0], c * kernel[0], *size))
            weights = reshape_to(g, node.inputs[1], (w.shape[0], w.shape[1] * kernel[0], *kernel[1:]))
        y = g.emit("Conv", [pictures, weights, *node.inputs[2:3]], **attrs)
        y = reshape_to(g, y, g.spec(node.outputs[0]).shape) if x.rank == 3 else volume_of(g, y, out[0])
        g.replace_value(node.outputs[0], y)
        g.remove([node])
        return True

    def infer(self, node, inputs):
        x, w = inputs[0], inputs[1]
        _, out = self.geometry(node, x, w)
        if len(inputs) > 2 and inputs[2] is not None and inputs[2].shape != (w.shape[0],):
            raise ShapeError(f"{node}: bias has shape {inputs[2].shape}, needed ({w.shape[0]},)")
        return [TensorSpec((x.shape[0], w.shape[0], *out))]

    def by_image(self, node, rank):
        return True

    def gradient(self, g, node, dy, needs):
        dz, y = dy[0], node.outputs[0]
        if bounds := self.last_clamp(node):
            dz = clamp_gradient(g, dz, y, *bounds)
        x, w = node.inputs[0], node.inputs[1]
        attrs = {k: v for k, v in node.attrs.items() if k not in ("lo", "hi")}
        grads: list[str | None] = [None] * len(node.inputs)
        for i, need in enumerate(needs):
            if not need:
                continue
            if i == 0:
                grads[i] = g.emit("ConvBackwardData", [dz, w], shape=g.spec(x).shape, **attrs)
            elif i == 1:
                grads[i] = g.emit("ConvBackwardWeights", [x, dz], shape=g.spec(w).shape, **attrs)
            elif i == 2:
                grads[i] = g.emit("ChannelSum", [dz])
            else:
                grads[i] = dz
        return grads

    def last_clamp(self, node):
        lo, hi = self.attr(node, "lo"), self.attr(node, "hi")
        return (lo, hi) if lo > -INF or hi < INF else None

    def output_axes(self, node):
        return {"W": 0, "B": 0}

    def absorb_affine(self, g, node, scale, shift):
        arrays = [g.constants.get(i) for i in node.inputs[1:3]]
        if any(a is None for a in arrays) or len(node.inputs) > 3 or "lo" in node.attrs or "hi" in node.attrs:
            return False
        w = arrays[0].astype(np.float64) * scale.reshape(-1, *[1] * (arrays[0].ndim - 1))
        b = shift + (arrays[1].astype(np.float64) * scale if len(arrays) > 1 else 0.0)
        node.inputs[1:] = [g.constant(a.astype(np.float32), f"{node.outputs[0]}_folded") for a in (w, b)]
        return True

    def absorb_residual(self, g, node, value):
        if len(node.inputs) > 3 or "lo" in node.attrs or "hi" in node.attrs:
            return False
        node.inputs += [""] * (3 - len(node.inputs)) + [value]
        return True

    def absorb_clamp(self, g, node, lo, hi):
        node.attrs["lo"] = max(lo, self.attr(node, "lo"))
        node.attrs["hi"] = min(hi, self.attr(node, "hi"))
        return node.attrs["lo"] <= node.attrs["hi"]

    def absorb_padding(self, g, node, before, after):
        if self.attr(node, "auto_pad") not in ("NOTSET", "VALID", ""):
            return False
        own = self.attr(node, "pads") if self.attr(node, "auto_pad") != "VALID" else None
        node.attrs["pads"] = tuple(p + q for p, q in zip(own or (0, 0, 0, 0), (*before, *after), strict=True))
        node.attrs["auto_pad"] = "NOTSET"
        return True

    def by_row(self, g, node):
        """Not where Winograd may be taken: its rounding depends on where the tiles begin."""
        x, w = (g.spec(v) for v in node.inputs[:2])
        if x.rank != 4 or g.value_of(node.inputs[1]) is None:
            return None
        geo, out = self.geometry(node, x, w)
        span, kernel = (w.shape[2] - 1) * geo.dilation[0] + 1, w.shape[2:]
        if suits(self.attr(node, "group"), kernel, geo) or max(geo.pad[0], ends(geo, x.shape[2:], kernel, out)[0]) >= span:
            return None
        return Rows(span, geo.stride[0], geo.pad[0], (3,) if len(node.inputs) > 3 else ())

    def band(self, g, node, above, below):
        x, w = (g.spec(v) for v in node.inputs[:2])
        geo, out = self.geometry(node, x, w)
        right = ends(geo, x.shape[2:], w.shape[2:], out)[1]
        return {**node.attrs, "auto_pad": "NOTSET", "pads": (above, geo.pad[1], below, right)}

    def lower(self, ctx, node):
        geo, _ = self.geometry(node, ctx.spec(node.inputs[0]), ctx.spec(node.inputs[1]))
        x, w = conv.input_image(ctx, node.inputs[0]), conv.split_groups(ctx.input(node.inputs[1]), self.attr(node, "group"))
        b = ctx.input(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        r = ctx.image(node.inputs[3]) if len(node.inputs) > 3 else None
        y = ctx.output(node.outputs[0], over=node.inputs[3] if r is not None else "")
        f = conv.Forward(x, w, b, r, y, geo, self.attr(node, "lo"), self.attr(node, "hi"))
        choose(ctx, FORWARD, f).lower(ctx, f)

    def flops(self, node, inputs, outputs):
        return 2 * outputs[0].size * inputs[1].size // inputs[1].shape[0]


class ConvBackwardData(Op):
    """dX of Conv from dY and W; `shape` is that of X."""

    name = "ConvBackwardData"
    onnx = False
    inputs = ("dY", "W")
    attrs = {**Conv.attrs, "shape": REQUIRED}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec(tuple(node.attrs["shape"]))]

    def lower(self, ctx, node):
        geo, _ = Conv().geometry(node, ctx.spec(node.outputs[0]), ctx.spec(node.inputs[1]))
        dy = ctx.image(node.inputs[0])
        w = conv.split_groups(ctx.input(node.inputs[1]), self.attr(node, "group"))
        views = dy, w, ctx.output(node.outputs[0]), geo
        choose(ctx, BACKWARD_DATA, *views).lower(ctx, *views)

    def flops(self, node, inputs, outputs):
        return 2 * inputs[0].size * inputs[1].size // inputs[1].shape[0]


class ConvBackwardWeights(Op):
    """dW of Conv from X and dY; `shape` is that of W."""

    name = "ConvBackwardWeights"
    onnx = False
    inputs = ("X", "dY")
    attrs = {**Conv.attrs, "shape": REQUIRED}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec(tuple(node.attrs["shape"]))]

    def lower(self, ctx, node):
        spec = ctx.spec(node.outputs[0])
        geo, _ = Conv().geometry(node, ctx.spec(node.inputs[0]), spec)
        dw = ctx.output(node.outputs[0], strides=row_major(spec.shape))
        x, dy = conv.input_image(ctx, node.inputs[0]), ctx.image(node.inputs[1])
        views = x, dy, conv.split_groups(dw, self.attr(node, "group")), geo
        choose(ctx, BACKWARD_WEIGHTS, *views).lower(ctx, *views)

    def flops(self, node, inputs, outputs):
        return 2 * inputs[1].size * outputs[0].size // outputs[0].shape[0]
