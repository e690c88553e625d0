"""Convolution (ONNX Conv) with its two gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ShapeError, UnsupportedError
from . import _convolution as conv
from ._algorithms import BACKWARD_DATA, BACKWARD_WEIGHTS, FORWARD, choose
from .base import REQUIRED, Node, Op, TensorSpec
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


class Conv(Op):
    """z[n, j] = b[j] + sum_k w[j, k] * x[n, k] (cross-correlation), of 2-D images.

    The last three attributes exist in plans only: passes fold a residual addition (input R) and a clamp into the
    convolution; ONNX never sees them."""

    name = "Conv"
    inputs = ("X", "W", "B?", "R?")
    parameters = ("W", "B")
    attrs = {"kernel_shape": None, "strides": None, "pads": None, "dilations": None, "group": 1, "auto_pad": "NOTSET",
             "lo": -INF, "hi": INF}

    def geometry(self, node: Node, x: TensorSpec, w: TensorSpec) -> tuple[conv.Geometry, tuple[int, int]]:
        """Geometry and the output's height and width."""
        if len(x.shape) != 4 or len(w.shape) != 4:
            raise UnsupportedError(f"{node}: only 2-D convolutions are supported, got input {x.shape}, weights {w.shape}")
        n, c, *size = x.shape
        oc, cg, *kernel = w.shape
        groups = self.attr(node, "group")
        stride = tuple(self.attr(node, "strides") or (1, 1))
        dilation = tuple(self.attr(node, "dilations") or (1, 1))
        if c != cg * groups or oc % groups:
            raise ShapeError(f"{node}: input has {c} channels, weights {w.shape} with {groups} groups take {cg * groups} "
                             f"and their {oc} output channels must be a multiple of the groups")
        before, after = padding(node, size, kernel, stride, dilation, self.attr(node, "pads"), self.attr(node, "auto_pad"))
        out = tuple((i + b + a - (k - 1) * d - 1) // s + 1
                    for i, b, a, k, d, s in zip(size, before, after, kernel, dilation, stride, strict=True))
        if min(out) < 1:
            raise ShapeError(f"{node}: an input of {size[0]}x{size[1]} pixels is smaller than the kernel {tuple(kernel)} "
                             f"with padding {before + after}; use larger pictures")
        return conv.Geometry(stride, (before[0], before[1]), dilation), (out[0], out[1])

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
        if self.attr(node, "lo") > -INF or self.attr(node, "hi") < INF:
            dz = g.emit("ClampBackward", [dz, y], lo=self.attr(node, "lo"), hi=self.attr(node, "hi"))
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

    def output_axes(self, node):
        return {"W": 0, "B": 0}

    def absorb_affine(self, g, node, scale, shift):
        arrays = [g.constants.get(i) for i in node.inputs[1:3]]
        if any(a is None for a in arrays) or len(node.inputs) > 3 or "lo" in node.attrs or "hi" in node.attrs:
            return False
        w = arrays[0].astype(np.float64) * scale[:, None, None, None]
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
