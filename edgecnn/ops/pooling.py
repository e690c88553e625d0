"""Pooling of 2-D images with gradients: MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import ShapeError, UnsupportedError
from .base import REQUIRED, Node, Op, TensorSpec
from .conv import padding

WINDOW: dict[str, Any] = {"kernel_shape": REQUIRED, "strides": None, "pads": None, "dilations": None,
                          "ceil_mode": 0, "auto_pad": "NOTSET"}


@dataclass(frozen=True)
class Window:
    """Geometry of a pooling; pad is (top, left, bottom, right), out the output's (height, width)."""

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
        stride = tuple(self.attr(node, "strides") or (1, 1))
        dilation = tuple(self.attr(node, "dilations") or (1, 1))
        if {len(kernel), len(stride), len(dilation)} != {2}:
            raise UnsupportedError(f"{node}: only 2-D pooling is supported, got kernel_shape {kernel}, "
                                   f"strides {stride}, dilations {dilation}")
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
            raise ShapeError(f"{node}: an input of {size[0]}x{size[1]} pixels is smaller than the kernel "
                             f"{kernel} with padding {before + after}; use larger pictures")
        return Window(kernel, stride, (*before, *after), dilation, tuple(out))

    @staticmethod
    def image_size(node: Node, x: TensorSpec) -> tuple[int, ...]:
        if x.rank != 4:
            raise UnsupportedError(f"{node}: only 2-D pooling is supported, of inputs (N, C, H, W), "
                                   f"got shape {x.shape}")
        return x.shape[2:]

    def by_image(self, node, rank):
        return True

    def infer(self, node, inputs):
        x = inputs[0]
        if any(node.outputs[1:]):
            raise UnsupportedError(f"{node}: the output Indices ({node.outputs[1]!r}) is not supported")
        return [TensorSpec((*x.shape[:2], *self.window(node, x).out))]

    def gradient(self, g, node, dy, needs):
        x = g.spec(node.inputs[0])
        w = self.window(node, x)
        inputs = [dy[0]] if self.average else [dy[0], node.inputs[0]]
        return [g.emit("PoolBackward", inputs, shape=x.shape, window=w, average=self.average,
                       count_include_pad=self.include_pad(node))]

    def include_pad(self, node: Node) -> bool:
        return bool(node.attrs.get("count_include_pad", 0))

    def lower(self, ctx, node):
        x = ctx.image(node.inputs[0])
        y = ctx.output(node.outputs[0])
        ctx.emit("pool", 4 * (x.size + y.size), x=x.nhw, y=y.nhw, average=self.average,
                 include_pad=self.include_pad(node),
                 **geometry(x.shape, self.window(node, ctx.spec(node.inputs[0]))))

    def flops(self, node, inputs, outputs):
        kernel = self.window(node, inputs[0]).kernel
        return outputs[0].size * kernel[0] * kernel[1]


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


class AveragePool(Pool):
    """Mean of each window: over the pixels inside the image, or with count_include_pad over those inside the
    padded image (never those that ceil_mode adds beyond)."""

    name = "AveragePool"
    attrs = {**WINDOW, "count_include_pad": 0}
    average = True


class GlobalPool(Pool):
    """A pooling whose only window is the image."""

    def window(self, node, x):
        return Window(self.image_size(node, x), (1, 1), (0, 0, 0, 0), (1, 1), (1, 1))


class GlobalMaxPool(GlobalPool):
    name = "GlobalMaxPool"
    average = False


class GlobalAveragePool(GlobalPool):
    """Mean over the image, summed in double precision over blocks of pixels."""

    name = "GlobalAveragePool"
    average = True

    def lower(self, ctx, node):
        x, y = ctx.image(node.inputs[0]), ctx.output(node.outputs[0])
        n, c, h, w = x.shape
        if x.strides[2] == w * x.strides[3] or w == 1:  # rows without gaps: one long row
            x = replace(x, shape=(n, c, 1, h * w), strides=(*x.strides[:2], 0, x.strides[2 if w == 1 else 3]))
        ctx.emit("global_average", 4 * x.size, x=x.nhw, y=y.arg(0), N=n, C=c, H=x.shape[2], W=x.shape[3])


class PoolBackward(Op):
    """dX of a pooling, of which X is needed for maxima only; `shape` is that of X."""

    name = "PoolBackward"
    onnx = False
    inputs = ("dY", "X?")
    attrs = {"shape": REQUIRED, "window": REQUIRED, "average": REQUIRED, "count_include_pad": False}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec(tuple(node.attrs["shape"]))]

    def lower(self, ctx, node):
        average = node.attrs["average"]
        dy, dx = ctx.image(node.inputs[0]), ctx.output(node.outputs[0])
        ctx.emit("pool_backward", 4 * (dy.size + dx.size), dy=dy.nhw, dx=dx.nhw,
                 x=None if average else ctx.image(node.inputs[1]).nhw, average=average,
                 include_pad=self.attr(node, "count_include_pad"), **geometry(dx.shape, node.attrs["window"]))
