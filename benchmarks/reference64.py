"""A float64 evaluation of an ONNX file: onnx's reference evaluator with quick convolutions and poolings in numpy."""

from itertools import product
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


def evaluate(path: Path, x: np.ndarray) -> np.ndarray:
    """The first output for input x, all weights and all arithmetic in float64."""
    session = ReferenceEvaluator(in_float64(onnx.load(path)), new_ops=[Conv, MaxPool, AveragePool])
    y = session.run(None, {session.input_names[0]: x.astype(np.float64)})[0]
    if y.dtype != np.float64:
        raise TypeError(f"the reference computed {y.dtype}")
    return y


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with every float32 constant, input and output as float64."""
    graph = model.graph
    constants = (a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value")
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]
    casts = [n for n in graph.node if n.op_type == "Cast" and helper.get_node_attr_value(n, "to") == TensorProto.FLOAT]
    if casts:
        raise ValueError(f"{casts[0].name}: a cast to float32 cannot be evaluated in float64")
    return model


class Conv(OpRun):
    """Tap by tap: a matrix product of all channels with one pixel of each window."""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, pads=None, strides=None):
        if auto_pad not in (None, "", "NOTSET"):
            raise NotImplementedError(f"auto_pad={auto_pad}")
        (oc, per, *kernel), groups = w.shape, group or 1
        strides, dilations = strides or (1, 1), dilations or (1, 1)
        x = bordered(x, pads or (0, 0, 0, 0), 0.0)
        out = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[2:], kernel, dilations, strides, strict=True)]
        y = np.zeros((len(x), groups, oc // groups, out[0] * out[1]))
        for taps in product(*map(range, kernel)):
            rows, cols = (slice(t * d, t * d + (o - 1) * s + 1, s)
                          for t, d, o, s in zip(taps, dilations, out, strides, strict=True))
            pixels = x[:, :, rows, cols].reshape(len(x), groups, per, -1)
            y += w[(..., *taps)].reshape(groups, oc // groups, per) @ pixels
        y = y.reshape(len(x), oc, *out)
        return (y if b is None else y + b[:, None, None],)


class MaxPool(OpRun):
    def _run(self, x, **attributes):
        return (windows(x, -np.inf, **attributes).max((-2, -1)),)


class AveragePool(OpRun):
    def _run(self, x, count_include_pad=None, **attributes):
        if count_include_pad:
            return (windows(x, 0.0, **attributes).mean((-2, -1)),)
        return (np.nanmean(windows(x, np.nan, **attributes), (-2, -1)),)


def windows(x, filling, auto_pad=None, ceil_mode=None, dilations=None, kernel_shape=None, pads=None, storage_order=None,
            strides=None):
    """(N, C, OH, OW, KH, KW)"""
    if auto_pad not in (None, "", "NOTSET") or any(d != 1 for d in dilations or ()):
        raise NotImplementedError("auto_pad and dilations of poolings")
    strides, pads = strides or (1, 1), list(pads or (0, 0, 0, 0))
    for axis, (k, s) in enumerate(zip(kernel_shape, strides, strict=True)):
        if ceil_mode:  # the last window may hang over, but must begin within the picture or the border before it
            size = x.shape[2 + axis] + pads[axis]
            rest = -(size + pads[2 + axis] - k) % s
            begins = size + pads[2 + axis] + rest - k
            pads[2 + axis] += rest if begins < size else 0
    view = sliding_window_view(bordered(x, pads, filling), kernel_shape, (2, 3))
    return view[:, :, ::strides[0], ::strides[1]]


def bordered(x, pads, filling):
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=filling)
