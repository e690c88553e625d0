"""ConvTranspose: the gradient of a convolution with respect to its input, as an operator of its own (Zeiler, Krishnan,
Taylor and Fergus 2010). Its own gradients are a convolution and that convolution's weight gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ShapeError, UnsupportedError
from . import _convolution as conv
from ._algorithms import BACKWARD_DATA, choose
from ._elementwise import map_binary
from .axis_map import map_axis
from .base import Node, Op, TensorSpec
from .conv import planes_of
from .reshape import reshape_to


@dataclass(frozen=True)
class Spread:
    """Geometry: input pixel i adds to the output pixels i * stride - before + k * dilation of each axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    out: tuple[int, ...]

    def after(self, size: tuple[int, ...]) -> list[int]:
        """Padding behind the output with which the convolution that is transposed gives images of this size."""
        return [(n - 1) * s + (k - 1) * d + 1 - b - o for n, k, s, d, b, o in
                zip(size, self.kernel, self.stride, self.dilation, self.before, self.out, strict=True)]


class ConvTranspose(Op):
    """y[n, j] = b[j] + what the pixels of x[n, k] spread with w[k, j], in 1 to 3 dimensions; W is (C, M / group, ...)."""

    name = "ConvTranspose"
    inputs = ("X", "W", "B?")
    parameters = ("W", "B")
    attrs = {"kernel_shape": None, "strides": None, "pads": None, "dilations": None, "group": 1, "auto_pad": "NOTSET",
             "output_padding": None, "output_shape": None}

    def by_image(self, node, rank):
        return True

    def geometry(self, node: Node, x: TensorSpec, w: TensorSpec) -> Spread:
        rank = x.rank - 2
        if rank not in (1, 2, 3) or w.rank != x.rank:
            raise UnsupportedError(f"{node}: needs input (N, C, ...) and weights (C, M / group, ...) of 1 to 3 more axes, "
                                   f"got {x.shape} and {w.shape}")
        if w.shape[0] != x.shape[1] or x.shape[1] % self.attr(node, "group"):
            raise ShapeError(f"{node}: input has {x.shape[1]} channels, weights {w.shape} in "
                             f"{self.attr(node, 'group')} groups take {w.shape[0]}")
        kernel, ones = w.shape[2:], (1,) * rank
        stride, dilation = (tuple(self.attr(node, k) or ones) for k in ("strides", "dilations"))
        extra = tuple(self.attr(node, "output_padding") or (0,) * rank)
        full = [(n - 1) * s + (k - 1) * d + 1 + e
                for n, k, s, d, e in zip(x.shape[2:], kernel, stride, dilation, extra, strict=True)]
        auto, wanted = self.attr(node, "auto_pad"), self.attr(node, "output_shape")
        if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
            wanted = [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
        if wanted is not None:
            out = tuple(int(o) for o in np.ravel(wanted))[-rank:]
            total = [max(0, f - o) for f, o in zip(full, out, strict=True)]
            before = tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total)
        else:
            pads = list(self.attr(node, "pads") or (0,) * (2 * rank)) if auto in ("NOTSET", "") else [0] * (2 * rank)
            before = tuple(pads[:rank])
            out = tuple(f - b - a for f, b, a in zip(full, before, pads[rank:], strict=True))
        if min(out) < 1:
            raise ShapeError(f"{node}: an input of {x.shape[2:]} pixels gives an output of {out} pixels; use larger "
                             "pictures or less padding")
        return Spread(kernel, stride, dilation, before, out)

    def infer(self, node, inputs):
        x, w = inputs[:2]
        channels = w.shape[1] * self.attr(node, "group")
        out = self.geometry(node, x, w).out
        if len(inputs) > 2 and inputs[2] is not None and inputs[2].shape != (channels,):
            raise ShapeError(f"{node}: bias has shape {inputs[2].shape}, needed ({channels},)")
        return [TensorSpec((x.shape[0], channels, *out))]

    def simplify(self, g, node):
        """The kernels take pictures: a row is one, and the planes of a volume spread within themselves, with the kernel's
        planes as channels, before these are added up in depth."""
        x, w = (g.spec(v) for v in node.inputs[:2])
        geo = self.geometry(node, x, w)
        if x.rank == 4:
            return False
        n, channels, depth = x.shape[:3]
        bias = node.inputs[2:]
        if x.rank == 3:
            picture = reshape_to(g, node.inputs[0], (n, channels, 1, depth))
            weights = reshape_to(g, node.inputs[1], (*w.shape[:2], 1, w.shape[2]))
            flat = Spread((1, *geo.kernel), (1, *geo.stride), (1, *geo.dilation), (0, *geo.before), (1, *geo.out))
            y = self.plain(g, [picture, weights, *bias], flat, (1, depth), node)
            y = reshape_to(g, y, g.spec(node.outputs[0]).shape)
        else:
            k = geo.kernel[0]
            weights = reshape_to(g, node.inputs[1], (channels, w.shape[1] * k, *w.shape[3:]))
            flat = Spread(*(f[1:] for f in (geo.kernel, geo.stride, geo.dilation, geo.before, geo.out)))
            y = self.plain(g, [planes_of(g, node.inputs[0]), weights], flat, x.shape[3:], node)
            m = w.shape[1] * self.attr(node, "group")
            y = g.emit("Transpose", [reshape_to(g, y, (n, depth, m, k, *geo.out[1:]))], perm=(0, 2, 1, 3, 4, 5))
            rows: list[list[tuple[int, float]]] = [[] for _ in range(geo.out[0])]
            for i in range(depth):
                for tap in range(k):
                    at = i * geo.stride[0] - geo.before[0] + tap * geo.dilation[0]
                    if 0 <= at < geo.out[0]:
                        rows[at].append((i * k + tap, 1.0))
            y = map_axis(g, reshape_to(g, y, (n, m, depth * k, *geo.out[1:])), 2, rows)
            if bias and bias[0]:
                y = g.emit("Add", [y, reshape_to(g, bias[0], (m, 1, 1, 1))])
        g.replace_value(node.outputs[0], y)
        g.remove([node])
        return True

    def plain(self, g, inputs: list[str], geo: Spread, size: tuple[int, ...], node: Node) -> str:
        """Emits the transposed convolution of pictures of a size, with every attribute said outright."""
        return g.emit(self.name, inputs, strides=geo.stride, dilations=geo.dilation, group=self.attr(node, "group"),
                      pads=(*geo.before, *geo.after(size)))

    def gradient(self, g, node, dy, needs):
        x, w = (g.spec(v) for v in node.inputs[:2])
        geo = self.geometry(node, x, w)
        attrs = {"strides": geo.stride, "dilations": geo.dilation, "group": self.attr(node, "group"),
                 "pads": (*geo.before, *geo.after(x.shape[2:]))}
        rules = (lambda: g.emit("Conv", [dy[0], node.inputs[1]], **attrs),
                 lambda: g.emit("ConvBackwardWeights", [dy[0], node.inputs[0]], shape=w.shape, **attrs),
                 lambda: g.emit("ChannelSum", [dy[0]]))
        return [rule() if need else None for rule, need in zip(rules, needs, strict=False)]

    def absorb_affine(self, g, node, scale, shift):
        arrays = [g.constants.get(i) for i in node.inputs[1:3]]
        if any(a is None for a in arrays):
            return False
        groups, w = self.attr(node, "group"), arrays[0].astype(np.float64)
        by_group = w.reshape(groups, -1, *w.shape[1:])
        w = (by_group * scale.reshape(groups, 1, -1, *[1] * (w.ndim - 2))).reshape(w.shape)
        b = shift + (arrays[1].astype(np.float64) * scale if len(arrays) > 1 else 0.0)
        node.inputs[1:] = [g.constant(a.astype(np.float32), f"{node.outputs[0]}_folded") for a in (w, b)]
        return True

    def lower(self, ctx, node):
        geo = self.geometry(node, *(ctx.spec(v) for v in node.inputs[:2]))
        w = conv.split_groups(ctx.input(node.inputs[1]), self.attr(node, "group"))
        y = ctx.output(node.outputs[0])
        views = ctx.image(node.inputs[0]), w, y, conv.Geometry(geo.stride, geo.before, geo.dilation)
        choose(ctx, BACKWARD_DATA, *views).lower(ctx, *views)
        if len(node.inputs) > 2:
            b = ctx.input(node.inputs[2])
            map_binary(ctx, "add", y, replace(b, shape=(1, *b.shape, 1, 1), strides=(0, *b.strides, 0, 0)), y)

    def flops(self, node, inputs, outputs):
        return 2 * inputs[0].size * inputs[1].size // inputs[1].shape[0]
