"""Pad."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError, UnsupportedError
from .base import REQUIRED, Op, TensorSpec, axis_of, skip


class Pad(Op):
    """A border around the input: constant_value, or copies of its elements (reflect, edge, wrap); negative
    pads cut."""

    name = "Pad"
    inputs = ("data", "pads", "constant_value?", "axes?")
    static = ("pads", "constant_value", "axes")
    attrs = {"pads": REQUIRED, "constant_value": 0.0, "axes": None, "mode": "constant"}

    def from_onnx(self, node, opset):
        if opset < 11 and "value" in node.attrs:
            node.attrs["constant_value"] = node.attrs.pop("value")

    def unsupported(self, node):
        mode = self.attr(node, "mode")
        known = ("constant", *SOURCES)
        return "" if mode in known else f"mode {mode!r} is not known, allowed are {', '.join(known)}"

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
        x = inputs[0]
        shape = tuple(n + b + a for n, (b, a) in zip(x.shape, self.widths(node, x.rank), strict=True))
        limit = {"reflect": -1, "wrap": 0}.get(self.attr(node, "mode"))
        too_wide = limit is not None and any(max(w) > n + limit
                                             for n, w in zip(x.shape, self.widths(node, x.rank), strict=True))
        if min(shape, default=1) < 0 or too_wide:
            pads = np.ravel(self.attr(node, "pads")).tolist()
            raise ShapeError(f"{node}: pads {pads} do not fit the input {x.shape}")
        return [TensorSpec(shape, x.dtype)]

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

    def gradient(self, g, node, dy, needs):
        if self.attr(node, "mode") != "constant":
            raise UnsupportedError(f"{node}: padding by {self.attr(node, 'mode')} has no gradient here, only "
                                   "constant padding has; freeze the network up to this node")
        pads = -np.ravel(self.attr(node, "pads")).astype(np.int64)
        return [g.emit("Pad", [dy[0]], pads=pads, axes=self.attr(node, "axes"))]

    def lower(self, ctx, node):
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0])
        widths, mode = self.widths(node, len(x.shape)), self.attr(node, "mode")
        middle = y
        for axis, (before, after) in enumerate(widths):
            x = x.slice(axis, max(0, -before), x.shape[axis] - max(0, -after))
            middle = middle.slice(axis, max(0, before), y.shape[axis] - max(0, after))
        if mode == "constant":
            ctx.fill(y, float(np.ravel(self.attr(node, "constant_value") or 0.0)[0]))
        ctx.copy(x, middle)
        if mode != "constant":
            for axis in reversed(range(len(widths))):
                self.border(ctx, y, widths, axis, mode)

    @staticmethod
    def border(ctx, y, widths, axis, mode):
        """Fills the border of one axis; those after it are complete, those before it in their middle."""
        for a, (before, after) in enumerate(widths[:axis]):
            y = y.slice(a, max(0, before), y.shape[a] - max(0, after))
        first = max(0, widths[axis][0])
        size = y.shape[axis] - first - max(0, widths[axis][1])
        for i in (*range(first), *range(first + size, y.shape[axis])):
            source = first + SOURCES[mode](i - first, size)
            ctx.copy(y.slice(axis, source, source + 1), y.slice(axis, i, i + 1))


# Which of n elements a place i outside of 0 .. n-1 repeats.
SOURCES = {
    "edge": lambda i, n: min(max(i, 0), n - 1),
    "wrap": lambda i, n: i % n,
    "reflect": lambda i, n: n - 1 - abs(n - 1 - abs(i)),
}
