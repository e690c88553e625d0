"""Pad and its gradient."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ._elementwise import map_binary, require_float
from .base import REQUIRED, Op, TensorSpec, axis_of, skip


class Pad(Op):
    """A border around the input: constant_value, or copies of its elements (reflect, edge, wrap); negative
    pads cut."""

    name = "Pad"
    inputs: tuple[str, ...] = ("data", "pads", "constant_value?", "axes?")
    static: tuple[str, ...] = ("pads", "constant_value", "axes")
    attrs = {"pads": REQUIRED, "constant_value": 0.0, "axes": None, "mode": "constant"}

    def from_onnx(self, node, opset):
        if opset < 11 and "value" in node.attrs:
            node.attrs["constant_value"] = node.attrs.pop("value")

    def unsupported(self, node):
        mode = self.attr(node, "mode")
        return "" if mode in LIMITS else f"mode {mode!r} is not known, allowed are {', '.join(LIMITS)}"

    def export_form(self, g, node, opset):
        axes, mode = self.attr(node, "axes"), self.attr(node, "mode")
        oldest = 19 if mode == "wrap" else 18 if axes is not None else 0
        if opset < oldest:
            raise UnsupportedError(f"export: {node} with mode {mode}{', axes' if axes is not None else ''} is not in "
                                   f"ONNX opset {opset}; use opset {oldest}")
        return False

    def widths(self, node, rank):
        """(before, after) of every axis."""
        pads = [int(p) for p in np.ravel(self.attr(node, "pads"))]
        axes = self.attr(node, "axes")
        axes = range(rank) if axes is None else [axis_of(node, a, rank) for a in np.ravel(axes)]
        if len(pads) != 2 * len(axes):
            raise ShapeError(f"{node}: {len(pads)} pads for {len(axes)} axes, needed two for each")
        both = dict(zip(axes, zip(pads[:len(axes)], pads[len(axes):], strict=True), strict=True))
        return [both.get(a, (0, 0)) for a in range(rank)]

    def infer(self, node, inputs):
        x, shape, fits = inputs[0], [], True
        for n, (before, after) in zip(x.shape, self.widths(node, x.rank), strict=True):
            kept = n + min(before, 0) + min(after, 0)
            fits = fits and kept >= 0 and max(before, after) <= LIMITS[self.attr(node, "mode")](kept)
            shape.append(n + before + after)
        if not fits:
            pads = np.ravel(self.attr(node, "pads")).tolist()
            raise ShapeError(f"{node}: pads {pads} do not fit the input {x.shape}")
        return [TensorSpec(tuple(shape), x.dtype)]

    def simplify(self, g, node):
        """No border is nothing; a zero border of a picture goes into the convolution that alone reads it."""
        widths = self.widths(node, g.spec(node.inputs[0]).rank)
        if not any(map(any, widths)):
            return skip(g, node)
        value = self.attr(node, "constant_value")
        zero = self.attr(node, "mode") == "constant" and (value is None or float(np.ravel(value)[0]) == 0.0)
        readers = [n for n in g.nodes if node.outputs[0] in n.inputs]
        before, after = ([w[i] for w in widths[2:]] for i in (0, 1))
        if not zero or len(widths) != 4 or any(map(any, widths[:2])) or min(before + after) < 0:
            return False
        if len(readers) != 1 or g.uses()[node.outputs[0]] != 1 or readers[0].inputs[0] != node.outputs[0]:
            return False
        if not g.op(readers[0]).absorb_padding(g, readers[0], before, after):
            return False
        readers[0].inputs[0] = node.inputs[0]
        g.remove([node])
        return True

    def before_transpose(self, g, node, perm):
        widths = self.widths(node, len(perm))
        node.attrs["pads"] = np.array([widths[a][side] for side in (0, 1) for a in np.argsort(perm)])
        node.attrs["axes"] = None
        return perm

    def gradient(self, g, node, dy, needs):
        attrs = {k: node.attrs[k] for k in ("axes", "mode") if node.attrs.get(k) is not None}
        pads = np.ravel(self.attr(node, "pads")).astype(np.int64)
        if self.attr(node, "mode") == "constant":
            return [g.emit("Pad", [dy[0]], pads=-pads, **attrs)]
        return [g.emit("PadBackward", [dy[0]], pads=pads, shape=g.spec(node.inputs[0]).shape, **attrs)]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0])
        widths, mode = self.widths(node, len(x.shape)), self.attr(node, "mode")
        if mode == "constant":
            ctx.fill(y, float(np.ravel(self.attr(node, "constant_value") or 0.0)[0]))
        ctx.copy(*shared(x, y, widths))
        for axis in reversed(range(len(widths) if mode != "constant" else 0)):
            for border, source in lines(y, widths, mode, axis):
                ctx.copy(source, border)

    def flops(self, node, inputs, outputs):
        return 0


class PadBackward(Pad):
    """dX of a Pad that copies elements: each gets the gradients of its copies. `shape` is that of X."""

    name = "PadBackward"
    onnx = False
    inputs = ("dY",)
    static = ()
    attrs = {**Pad.attrs, "shape": REQUIRED}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec(tuple(node.attrs["shape"]))]

    def simplify(self, g, node):
        return False

    def lower(self, ctx, node):
        dy, dx = ctx.input(node.inputs[0]), ctx.output(node.outputs[0])
        widths, mode = self.widths(node, len(dx.shape)), self.attr(node, "mode")
        dy = ctx.copy(dy, ctx.temp(dy.shape))
        for axis in range(len(widths)):
            for border, source in lines(dy, widths, mode, axis):
                map_binary(ctx, "add", source, border, source)
        if min(map(min, widths)) < 0:
            ctx.fill(dx, 0.0)
        inner, middle = shared(dx, dy, widths)
        ctx.copy(middle, inner)

    def flops(self, node, inputs, outputs):
        return inputs[0].size


def shared(x, y, widths):
    """The part of x that y, which is x with borders, has too, and its place in y."""
    for axis, (before, after) in enumerate(widths):
        x = x.slice(axis, max(0, -before), x.shape[axis] - max(0, -after))
        y = y.slice(axis, max(0, before), y.shape[axis] - max(0, after))
    return x, y


def lines(y, widths, mode, axis):
    """Every line of the border of one axis, with the line inside that it repeats. Lines have the borders of the axes
    after this one, not those of the axes before it: the last axis is filled first."""
    for a, (before, after) in enumerate(widths[:axis]):
        y = y.slice(a, max(0, before), y.shape[a] - max(0, after))
    first = max(0, widths[axis][0])
    size = y.shape[axis] - first - max(0, widths[axis][1])
    for i in (*range(first), *range(first + size, y.shape[axis])):
        source = first + SOURCES[mode](i - first, size)
        yield y.slice(axis, i, i + 1), y.slice(axis, source, source + 1)


# How wide a border of n elements may be.
LIMITS = {
    "constant": lambda n: math.inf,
    "edge": lambda n: math.inf if n else 0,
    "wrap": lambda n: n,
    "reflect": lambda n: n - 1 if n else 0,
}
# Which of n elements a place i outside of 0 .. n-1 repeats.
SOURCES = {
    "edge": lambda i, n: min(max(i, 0), n - 1),
    "wrap": lambda i, n: i % n,
    "reflect": lambda i, n: n - 1 - abs(n - 1 - abs(i)),
}
