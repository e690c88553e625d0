"""AxisMap: a sparse linear map along one axis. What resizes, takes windows or puts them together along an axis becomes one,
and so do their gradients: the transposed map."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .base import REQUIRED, Op, TensorSpec
from .view import Arg

LOOPS = 5


def table(rows: Iterable[Iterable[tuple[int, float]]], size: int) -> dict[str, Any]:
    """Attributes of the map whose output o is the sum of weight * x[index] over the (index, weight) of rows[o], x having
    `size` elements along the axis."""
    taps = [list(row) for row in rows]
    entries = [entry for row in taps for entry in row]
    return {"starts": np.cumsum([0, *map(len, taps)], dtype=np.int64),
            "index": np.array([i for i, _ in entries], np.int64),
            "weight": np.array([w for _, w in entries], np.float32), "size": size}


def map_axis(g: Any, value: str, axis: int, rows: Iterable[Iterable[tuple[int, float]]]) -> str:
    """Emits the map of `rows` along an axis of a value."""
    return g.emit("AxisMap", [value], axis=axis, **table(rows, g.spec(value).shape[axis]))


class AxisMap(Op):
    """y[.., o, ..] = sum of weight[t] * x[.., index[t], ..] over starts[o] <= t < starts[o + 1]; size is x's along the
    axis."""

    name = "AxisMap"
    onnx = False
    attrs = {"axis": REQUIRED, "starts": REQUIRED, "index": REQUIRED, "weight": REQUIRED, "size": REQUIRED}

    def infer(self, node, inputs):
        shape = list(inputs[0].shape)
        shape[node.attrs["axis"]] = len(node.attrs["starts"]) - 1
        return [TensorSpec(tuple(shape))]

    def by_image(self, node, rank):
        return node.attrs["axis"] != 0

    def gradient(self, g, node, dy, needs):
        starts, index, weight = (node.attrs[k] for k in ("starts", "index", "weight"))
        rows: list[list[tuple[int, float]]] = [[] for _ in range(node.attrs["size"])]
        for o, i, w in zip(np.repeat(np.arange(len(starts) - 1), np.diff(starts)), index, weight, strict=True):
            rows[i].append((o, w))
        return [map_axis(g, dy[0], node.attrs["axis"], rows)]

    def lower(self, ctx, node):
        axis = node.attrs["axis"]
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0])
        others = [a for a in range(len(x.shape)) if a != axis]
        dims, (xs, ys) = ctx.loops(LOOPS, x.transpose(others), y.transpose(others))
        starts, index, weight = (ctx.constant(node.attrs[k]) for k in ("starts", "index", "weight"))
        cost = self.flops(node, [], [ctx.spec(node.outputs[0])]) + 2 * y.size
        ctx.emit("axis_map", cost, x=Arg(x, (*xs, x.strides[axis])),
                 y=Arg(y, (*ys, y.strides[axis])), starts=starts, index=index, weight=weight, dims=dims, out=y.shape[axis])

    def flops(self, node, inputs, outputs):
        return 2 * len(node.attrs["index"]) * outputs[0].size // max(1, outputs[0].shape[node.attrs["axis"]])
