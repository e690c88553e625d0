"""Resize and Upsample: one sparse linear map for each axis, so that the gradient is the transposed map."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from .axis_map import map_axis
from .base import Node, Op, TensorSpec, axis_of, skip

NEAREST = {
    "round_prefer_floor": lambda x, scale: ceil(x - 0.5),
    "round_prefer_ceil": lambda x, scale: floor(x + 0.5),
    "floor": lambda x, scale: floor(x),
    "ceil": lambda x, scale: ceil(x),
    "simple": lambda x, scale: floor(x) if scale >= 1 else ceil(x),  # of opset 10, as onnxruntime reads it
}
# Where in n input elements the output element x of `out` lies; wide is scale * n, not rounded, roi (start, end).
COORDINATES = {
    "half_pixel": lambda x, scale, n, out, wide, roi: (x + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda x, scale, n, out, wide, roi: n / 2 * (1 - out / wide) + (x + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda x, scale, n, out, wide, roi: (x + 0.5) / scale - 0.5 if out > 1 else 0.0,
    "tf_half_pixel_for_nn": lambda x, scale, n, out, wide, roi: (x + 0.5) / scale,
    "align_corners": lambda x, scale, n, out, wide, roi: x * (n - 1) / (wide - 1) if wide != 1 else 0.0,
    "asymmetric": lambda x, scale, n, out, wide, roi: x / scale,
    "tf_crop_and_resize": lambda x, scale, n, out, wide, roi: roi[0] * (n - 1) + (
        x * (roi[1] - roi[0]) * (n - 1) / (wide - 1) if wide != 1 else (roi[1] - roi[0]) * (n - 1) / 2),
}
POLICIES = {"stretch": None, "not_larger": min, "not_smaller": max}


def linear(t: float, a: float) -> float:
    """Weight of an element at a distance t >= 0."""
    return max(0.0, 1 - t)


def cubic(t: float, a: float) -> float:
    """The same of cubic convolution (Keys 1981, equation 4)."""
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a if t < 2 else 0.0


SUPPORT = {"linear": (1, linear), "cubic": (2, cubic)}


class Resize(Op):
    """Images of another size, by `scales` or to `sizes`, of all axes or of `axes`; modes nearest, linear, cubic."""

    name = "Resize"
    inputs: tuple[str, ...] = ("X", "roi?", "scales?", "sizes?")
    static: tuple[str, ...] = ("roi", "scales", "sizes")
    attrs: dict[str, Any] = {
        "mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor",
        "cubic_coeff_a": -0.75, "exclude_outside": 0, "extrapolation_value": 0.0, "antialias": 0, "axes": None,
        "keep_aspect_ratio_policy": "stretch", "roi": None, "scales": None, "sizes": None}

    def from_onnx(self, node, opset):
        if opset < 11:  # (X, scales)
            if "roi" in node.attrs:
                node.attrs["scales"] = node.attrs.pop("roi")
            node.inputs[1:1] = [""] * (len(node.inputs) - 1)
            node.attrs |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "simple"}
        if node.attrs.get("mode") == "bilinear":
            node.attrs["mode"] = "linear"
        for key in self.static:  # an input without elements is an absent one
            if np.size(node.attrs.get(key, 1)) == 0:
                del node.attrs[key]

    def unsupported(self, node):
        allowed = {"mode": ["nearest", *SUPPORT], "coordinate_transformation_mode": list(COORDINATES),
                   "nearest_mode": list(NEAREST), "keep_aspect_ratio_policy": list(POLICIES)}
        return "; ".join(f"{key} {self.attr(node, key)!r} is not known, allowed are {', '.join(values)}"
                         for key, values in allowed.items() if self.attr(node, key) not in values)

    def export_form(self, g, node, opset):
        mode, scales = self.attr(node, "nearest_mode"), self.attr(node, "scales")
        if mode == "simple" and (self.attr(node, "mode") != "nearest" or scales is not None and np.min(scales) >= 1):
            mode = node.attrs["nearest_mode"] = "floor"
        transformation = self.attr(node, "coordinate_transformation_mode")
        if mode == "simple" or transformation == "tf_half_pixel_for_nn":
            raise UnsupportedError(f"export: {node} means what ONNX had in opset 10 and 11 only ({mode}, {transformation})")
        if transformation == "half_pixel_symmetric" and opset < 19:
            raise UnsupportedError(f"export: {node} with {transformation} is not in ONNX opset {opset}; use opset 19")
        return False

    def axes(self, node: Node, shape: tuple[int, ...]) -> dict[int, tuple[float, int, tuple[float, float]]]:
        """Scale, output size and region of each axis that is resized."""
        given = self.attr(node, "axes")
        axes = [axis_of(node, a, len(shape)) for a in (range(len(shape)) if given is None else given)]
        roi, scales, sizes = (np.ravel(v) if v is not None and np.size(v) else None
                              for v in (self.attr(node, k) for k in self.static))
        values = scales if scales is not None else sizes
        if values is None or scales is not None and sizes is not None:
            raise ShapeError(f"{node}: needs scales or sizes, and not both")
        if len(values) != len(axes) or np.min(values, initial=1) <= 0:
            raise ShapeError(f"{node}: scales or sizes {values.tolist()} do not fit an input of shape {shape} and axes "
                             f"{axes}")
        regions = [(0.0, 1.0)] * len(axes) if roi is None else [*zip(*np.split(roi.astype(float), 2), strict=True)]
        if scales is not None:
            single = scales.astype(np.float32)  # ONNX multiplies in single precision
            return {a: (float(s), floor(s * np.float32(shape[a])), r)
                    for a, s, r in zip(axes, single, regions, strict=True)}
        wanted = [int(s) for s in values]
        ratios = [s / max(1, shape[a]) for s, a in zip(wanted, axes, strict=True)]
        policy = POLICIES[self.attr(node, "keep_aspect_ratio_policy")]
        if policy:
            ratios = [policy(ratios)] * len(axes)
            wanted = [floor(r * shape[a] + 0.5) for r, a in zip(ratios, axes, strict=True)]
        return {a: (r, s, region) for a, r, s, region in zip(axes, ratios, wanted, regions, strict=True)}

    def infer(self, node, inputs):
        shape = list(inputs[0].shape)
        for axis, (_, size, _) in self.axes(node, inputs[0].shape).items():
            shape[axis] = size
        return [TensorSpec(tuple(shape), inputs[0].dtype)]

    def simplify(self, g, node):
        x = g.spec(node.inputs[0])
        crop = self.attr(node, "coordinate_transformation_mode") == "tf_crop_and_resize"
        todo = {a: plan for a, plan in self.axes(node, x.shape).items() if plan[:2] != (1, x.shape[a]) or
                crop and plan[2] != (0, 1)}
        if not todo:
            if not skip(g, node):
                g.replace_value(node.outputs[0], g.emit("Identity", node.inputs[:1]))
                g.remove([node])
            return True
        y, outside = node.inputs[0], np.zeros((1,) * x.rank, bool)
        for axis, (scale, out, roi) in sorted(todo.items(), key=lambda item: item[1][1] / x.shape[item[0]]):
            rows = self.rows(node, x.shape[axis], scale, out, roi)
            y = map_axis(g, y, axis, rows)
            empty = np.array([not row for row in rows])
            outside = outside | empty.reshape([-1 if a == axis else 1 for a in range(x.rank)])
        value = self.attr(node, "extrapolation_value")
        if value and outside.any():
            y = g.emit("Add", [y, g.constant(outside * np.float32(value), "extrapolated")])
        g.replace_value(node.outputs[0], y)
        g.remove([node])
        return True

    def rows(self, node: Node, n: int, scale: float, out: int, roi: tuple[float, float]) -> list[list[tuple[int, float]]]:
        """For every output element the input elements along the axis with their weights; none outside a cropped region."""
        name = self.attr(node, "coordinate_transformation_mode")
        places = [COORDINATES[name](x, scale, n, out, scale * n, roi) for x in range(out)]
        if name != "tf_crop_and_resize":
            return [self.taps(node, x, n, scale) for x in places]
        return [self.taps(node, x, n, scale) if 0 <= x <= n - 1 else [] for x in places]

    def taps(self, node: Node, x: float, n: int, scale: float) -> list[tuple[int, float]]:
        """The input elements around place x, those outside replaced by the last ones or left out."""
        mode = self.attr(node, "mode")
        if mode == "nearest":
            i = NEAREST[self.attr(node, "nearest_mode")](x, scale)
            return [(min(max(i, 0), n - 1), 1.0)]
        reach, weight = SUPPORT[mode]
        narrow = min(1.0, scale) if self.attr(node, "antialias") else 1.0  # a shrunk image is averaged over more elements
        first, last = floor(x - reach / narrow) + 1, ceil(x + reach / narrow) - 1
        sums: dict[int, float] = {}
        for i in range(first, last + 1):
            if 0 <= i < n or not self.attr(node, "exclude_outside"):
                at = min(max(i, 0), n - 1)
                sums[at] = sums.get(at, 0.0) + weight(abs(i - x) * narrow, self.attr(node, "cubic_coeff_a"))
        total = sum(sums.values()) or 1.0
        return [(i, w / total) for i, w in sums.items() if w]

    def flops(self, node, inputs, outputs):
        reach = SUPPORT.get(self.attr(node, "mode"), (0.5, None))[0]
        return int(2 * (2 * reach) ** len(self.axes(node, inputs[0].shape)) * outputs[0].size)


class Upsample(Resize):
    """What Resize was called up to opset 9; becomes one when it is read."""

    name = "Upsample"
    inputs = ("X", "scales?")
    static = ("scales",)

    def from_onnx(self, node, opset):
        node.op = "Resize"
        if len(node.inputs) > 1:
            node.inputs[1:1] = [""]
        node.attrs |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if node.attrs.get("mode") == "bilinear":
            node.attrs["mode"] = "linear"
