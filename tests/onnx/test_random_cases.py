"""Random convolutions, poolings, normalisations and resizes against onnxruntime: 2,000 in the full run."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import edgecnn as ec

onnxruntime = pytest.importorskip("onnxruntime")
onnxruntime.set_default_logger_severity(4)

MANY = 500 if os.environ.get("EDGECNN_TEST_FULL") else 40  # of each of the four kinds
many = settings(max_examples=MANY, deadline=None, derandomize=True, database=None,
                suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
OPSET = 18


def array(seed, shape, low=-1.0):
    return np.random.default_rng(seed).uniform(low, 1.0, shape).astype(np.float32)


def compare(op, x, weights, tolerance=1e-5, **attrs):
    """What onnxruntime refuses is no case; what it computes must agree."""
    inputs = ["x", *(name if w is not None else "" for name, w in weights.items())]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **{k: v for k, v in attrs.items() if v is not None})], "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, name) for name, w in weights.items() if w is not None])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8).SerializeToString()
    try:
        want = onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
    except Exception:  # it has an exception of its own for every reason
        assume(False)
    assume(want.size)
    want = np.where(want == np.finfo(np.float32).min, -np.inf, want)  # the maximum of a window that lies in the border
    got = ec.load(data)(x)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1.0, np.abs(want[np.isfinite(want)]).max(initial=0)))


def sizes(rank, low, high):
    return st.lists(st.integers(low, high), min_size=rank, max_size=rank)


@st.composite
def windows(draw, most_dilation=2):
    """Size of a picture of 1 to 3 axes, and the attributes of a window on it."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3]))
    kernel, size = draw(sizes(rank, 1, 4)), draw(sizes(rank, 1, 11 if rank < 3 else 6))
    attrs = {"kernel_shape": kernel, "strides": draw(sizes(rank, 1, 3)), "dilations": draw(sizes(rank, 1, most_dilation))}
    attrs["auto_pad"] = draw(st.sampled_from([None, None, "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if attrs["auto_pad"] is None:
        attrs["pads"] = [draw(st.integers(0, k - 1)) for k in kernel + kernel]
    pads = attrs.get("pads", [0 if attrs["auto_pad"] == "VALID" else 9] * (2 * rank))
    fits = [n + pads[i] + pads[rank + i] > (k - 1) * d
            for i, (n, k, d) in enumerate(zip(size, kernel, attrs["dilations"], strict=True))]
    assume(all(fits))
    if attrs["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):  # onnxruntime leaves the standard, and its own convolutions, where
        attrs["dilations"] = [1] * rank                    # taps lie apart, and crops where windows do
        assume(all(k >= s for k, s in zip(kernel, attrs["strides"], strict=True)))
    return size, attrs


@many
@given(windows(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans(),
       st.integers(0, 99))
def test_convolutions(window, n, groups, per, out, bias, transposed, seed):
    size, attrs = window
    channels, features = groups * per, groups * out
    shape = (channels, out, *attrs["kernel_shape"]) if transposed else (features, per, *attrs["kernel_shape"])
    weights = {"w": array(seed + 1, shape), "b": array(seed + 2, (features,)) if bias else None}
    compare("ConvTranspose" if transposed else "Conv", array(seed, (n, channels, *size)), weights, group=groups, **attrs)


@many
@given(windows(), st.integers(1, 3), st.integers(1, 20), st.sampled_from(["MaxPool", "AveragePool", "LpPool"]),
       st.booleans(), st.booleans(), st.integers(0, 99))
def test_poolings(window, n, channels, op, ceil_mode, include_pad, seed):
    size, attrs = window
    if op != "MaxPool":
        del attrs["dilations"]
    if op == "LpPool":
        attrs["p"] = 1 + int(include_pad)
    else:
        attrs["ceil_mode"] = int(ceil_mode and attrs["auto_pad"] is None)
    if op == "AveragePool":
        attrs["count_include_pad"] = int(include_pad)
    compare(op, array(seed, (n, channels, *size)), {}, **attrs)


@many
@given(sizes(2, 1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(0, 99),
       st.sampled_from(["BatchNormalization", "InstanceNormalization", "LayerNormalization", "LRN", "LpNormalization"]))
def test_normalisations(size, n, groups, per, seed, op):
    channels = groups * per
    x = array(seed, (n, channels, *size))
    gamma, beta, mean = (array(seed + i, (channels,)) for i in (1, 2, 3))
    if op == "BatchNormalization":
        compare(op, x, {"gamma": gamma, "beta": beta, "mean": mean, "var": array(seed + 4, (channels,), 0.1)}, epsilon=1e-3)
    elif op == "InstanceNormalization":
        compare(op, x, {"gamma": gamma, "beta": beta}, 1e-4, epsilon=1e-2)
    elif op == "LayerNormalization":
        axis = -1 - seed % 3
        shape = x.shape[axis:]
        compare(op, x, {"gamma": array(seed + 1, shape), "beta": array(seed + 2, shape)}, 1e-4, axis=axis, epsilon=1e-2)
    elif op == "LRN":
        compare(op, x, {}, size=1 + 2 * (seed % 3), alpha=0.02, beta=0.6, bias=1.5)
    else:
        compare(op, array(seed, x.shape, 0.1), {}, axis=1, p=1 + seed % 2)


@many
@given(sizes(2, 1, 9), sizes(2, 1, 14), st.integers(1, 2), st.integers(1, 9),
       st.sampled_from(["nearest", "linear", "cubic"]),
       st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
       st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]), st.booleans(), st.booleans(),
       st.integers(0, 99))
def test_resizes(size, out, n, channels, mode, coordinates, nearest, exclude, by_scale, seed):
    x = array(seed, (n, channels, *size))
    target = {"roi": None, "scales": None, "sizes": np.array([n, channels, *out])}
    if by_scale:  # whole multiples: else rounding decides about pixels that lie exactly between two
        target = {"roi": None, "scales": np.array([1, 1, 1 + out[0] % 4, 1 + out[1] % 4], np.float32)}
    compare("Resize", x, target, 1e-4, mode=mode, coordinate_transformation_mode=coordinates,
            nearest_mode=nearest if mode == "nearest" else None,
            exclude_outside=int(exclude) if mode == "cubic" and coordinates != "align_corners" else None)


def test_a_case_can_fail(monkeypatch):
    monkeypatch.setattr(ec, "load", lambda data: lambda x: x + 1e-3)
    with pytest.raises(AssertionError):
        compare("Relu", array(0, (1, 2, 5, 5), 0.1), {})
