"""Operators that only move elements: numpy says where to, and the gradient is the transposed map."""

import numpy as np
import pytest
from helpers import assert_close, every_isa, numeric_gradient, run_gradient, run_graph, run_op

from edgecnn.errors import UnsupportedError
from edgecnn.graph.ir import Graph
from edgecnn.onnx import export_model, import_model
from edgecnn.ops import Node, TensorSpec, get_op

onnxruntime = pytest.importorskip("onnxruntime")  # not there under emulation

rng = np.random.default_rng(5)


def pad(shape, pads, mode="constant", **attrs):
    widths = list(zip(pads[:len(shape)], pads[len(shape):], strict=True))
    filling = {"constant_values": attrs["constant_value"]} if "constant_value" in attrs else {}
    return "Pad", {"pads": np.array(pads), "mode": mode, **attrs}, shape, lambda x: np.pad(x, widths, mode, **filling)


def crop_and_repeat(x):
    return np.pad(x[:, 1:], ((0, 0), (0, 2), (0, 0)), "edge")


def crop_and_pad(x):
    return np.pad(x[:, :, 1:], ((0, 0), (2, 0), (0, 3)))


CASES = [
    ("Reshape", {"shape": np.array([6, 4])}, (2, 3, 4), lambda x: x.reshape(6, 4)),
    ("Reshape", {"shape": np.array([0, -1])}, (2, 3, 4, 5), lambda x: x.reshape(2, 60)),
    ("Reshape", {"shape": np.array([0, 6, 2, 0])}, (2, 3, 4, 5), lambda x: x.reshape(2, 6, 2, 5)),
    ("Reshape", {"shape": np.array([2, 2, 3, 4, 5])}, (2, 6, 4, 5), lambda x: x.reshape(2, 2, 3, 4, 5)),
    ("Reshape", {"shape": np.array([1, 7, 1])}, (7,), lambda x: x.reshape(1, 7, 1)),
    ("Reshape", {"shape": np.array([], np.int64)}, (1, 1), lambda x: x.reshape(())),
    ("Reshape", {"shape": np.array([5, 4, 3, 2])}, (2, 3, 4, 5), lambda x: x.reshape(5, 4, 3, 2)),
    ("Flatten", {}, (2, 3, 4, 5), lambda x: x.reshape(2, 60)),
    ("Flatten", {"axis": 0}, (2, 3, 4), lambda x: x.reshape(1, 24)),
    ("Flatten", {"axis": 3}, (2, 3, 4), lambda x: x.reshape(24, 1)),
    ("Flatten", {"axis": -1}, (2, 3, 4), lambda x: x.reshape(6, 4)),
    ("Squeeze", {}, (2, 1, 3, 1), lambda x: x.squeeze()),
    ("Squeeze", {"axes": (-1,)}, (2, 1, 3, 1), lambda x: x.squeeze(3)),
    ("Unsqueeze", {"axes": np.array([-1, 0])}, (2, 3), lambda x: x.reshape(1, 2, 3, 1)),
    ("Transpose", {}, (2, 3, 4), lambda x: x.T),
    ("Transpose", {"perm": (0, 2, 3, 1)}, (2, 3, 4, 5), lambda x: x.transpose(0, 2, 3, 1)),
    ("Transpose", {"perm": (3, 1, 0, 2)}, (2, 3, 4, 5), lambda x: x.transpose(3, 1, 0, 2)),
    ("Identity", {}, (2, 3, 4, 5), lambda x: x),
    ("Slice", {"starts": np.array([1]), "ends": np.array([2**63 - 1]), "axes": np.array([-1])}, (2, 3, 4, 5),
     lambda x: x[..., 1:]),
    ("Slice", {"starts": (-1, 4), "ends": (-100, 0), "axes": (1, 3), "steps": (-1, -2)}, (2, 3, 4, 5),
     lambda x: x[:, ::-1, :, 4:0:-2]),
    ("Slice", {"starts": (0, 1, 0), "ends": (2, -1, 9), "steps": (1, 1, 3)}, (2, 5, 7), lambda x: x[:2, 1:-1, ::3]),
    ("Gather", {"axis": 1, "indices": np.array(-1)}, (2, 3, 4, 5), lambda x: x[:, -1]),
    ("Gather", {"axis": 2, "indices": np.array([[3, 0], [1, 1]])}, (2, 3, 4, 5), lambda x: x.take([[3, 0], [1, 1]], 2)),
    ("Gather", {"indices": np.array([1])}, (2, 3), lambda x: x[1:2]),
    ("Expand", {"shape": np.array([2, 1, 4])}, (3, 1), lambda x: np.broadcast_to(x, (2, 3, 4))),
    ("Expand", {"shape": np.array([2, 3, 4, 5])}, (1, 3, 1, 1), lambda x: np.broadcast_to(x, (2, 3, 4, 5))),
    ("Tile", {"repeats": np.array([2, 1, 3])}, (2, 3, 4), lambda x: np.tile(x, (2, 1, 3))),
    ("Tile", {"repeats": np.array([2, 3, 2, 2])}, (2, 3, 4, 2), lambda x: np.tile(x, (2, 3, 2, 2))),
    ("Tile", {"repeats": np.array([1, 1])}, (2, 3), lambda x: x),
    pad((2, 3, 4, 5), (0, 0, 1, 2, 0, 0, 3, 1)),
    pad((2, 3, 4), (1, 0, 2, 0, 1, 0), constant_value=np.float32(-2.5)),
    ("Pad", {"pads": np.array([2, -1, 0, 3]), "axes": np.array([1, -1])}, (2, 3, 5), crop_and_pad),
    ("Pad", {"pads": (0, -1, 0, 0, 2, 0), "mode": "edge"}, (2, 3, 5), crop_and_repeat),
    pad((2, 3, 4, 5), (0, 2, 2, 3, 1, 0, 3, 4), "reflect"),
    pad((2, 3, 4, 5), (0, 1, 2, 3, 1, 0, 3, 4), "wrap"),
    pad((2, 3, 4, 5), (0, 1, 2, 7, 1, 0, 3, 9), "edge"),
]


MORE = [
    ("Split", {"axis": 1}, (2, 6, 3), lambda x: np.split(x, 3, 1)),
    ("Split", {"axis": -1, "split": (1, 2, 4)}, (2, 3, 7), lambda x: np.split(x, (1, 3), 2)),
    ("Concat", {"axis": 0}, (2, 3), lambda x: x),
    ("Dropout", {"ratio": 0.3}, (2, 3), lambda x: x),
    ("Cast", {"to": 1}, (2, 3), lambda x: x),
]


def each(cases):
    return pytest.mark.parametrize("op, attrs, shape, reference", cases, ids=[c[0] for c in cases])


def numbers(shape):
    return rng.normal(size=shape).astype(np.float32)


@each(CASES)
@every_isa
@pytest.mark.parametrize("within", [False, True])
def test_forward(op, attrs, shape, reference, isa, within, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = numbers(shape)
    (y,) = run_op(op, {"x": x}, attrs, within=within)
    np.testing.assert_array_equal(y, reference(x))


@each([c for c in CASES if c[0] != "Gather"])
@pytest.mark.parametrize("within", [False, True])
def test_gradient(op, attrs, shape, reference, within):
    x = numbers(shape)
    dy = numbers(reference(x).shape)
    (dx,) = run_gradient(op, {"x": x}, attrs, dy, within=within)
    assert_close(dx, numeric_gradient(lambda x: reference(x) * dy, x))


@each(CASES)
def test_evaluate(op, attrs, shape, reference):
    """Constants are moved when a plan is made; integers too."""
    node, x = Node(op, ["x"], ["y"], dict(attrs)), numbers(shape)
    results = get_op(op).evaluate(node, x)
    if op == "Pad":
        assert results is None  # no shape arithmetic pads
        return
    np.testing.assert_array_equal(results[0], reference(x))
    integers = np.arange(x.size).reshape(shape)
    (moved,) = get_op(op).evaluate(node, integers)
    assert moved.dtype == integers.dtype
    np.testing.assert_array_equal(moved, reference(integers))


@each([*CASES, *MORE])
@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_export(op, attrs, shape, reference, opset):
    """What is written to a file means the same to onnxruntime, and to edgecnn."""
    g = Graph(inputs={"x": TensorSpec(shape)})
    outputs = 3 if op == "Split" else 1
    names = g.emit(op, ["x"], outputs, **attrs)
    g.outputs = [names] if outputs == 1 else names
    x = numbers(shape)
    wanted = reference(x) if outputs > 1 else [reference(x)]
    if op == "Pad" and opset < 18 and "axes" in attrs or attrs.get("mode") == "wrap" and opset < 19:
        with pytest.raises(UnsupportedError, match=f"ONNX opset {opset}; use opset 1[89]"):
            export_model(g, opset)
        return
    model = export_model(g, opset)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    again, _ = import_model(model, "exported", None)
    for results in session.run(None, {"x": x}), run_graph(again, {"x": x}):
        for got, want in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("op, attrs, shape", [
    ("Reshape", {"shape": (4, 30 * 40 * 16)}, (4, 16, 30, 40)),
    ("Tile", {"repeats": (1, 2, 3, 1)}, (4, 16, 30, 40)),
    ("Pad", {"pads": (0, 0, 3, 3, 0, 0, 3, 3), "mode": "reflect"}, (4, 16, 60, 80)),
])
def test_threads_do_not_matter(op, attrs, shape):
    """Large enough to be shared between threads."""
    x = numbers(shape)
    one, two, three = (run_op(op, {"x": x}, attrs, threads=n, within=True)[0].tobytes() for n in (1, 2, 3))
    assert one == two == three


def test_nan_and_infinity_are_moved_like_numbers():
    x = np.array([[np.nan, np.inf], [-np.inf, -0.0]], np.float32)
    (y,) = run_op("Transpose", {"x": x})
    assert y.tobytes() == np.ascontiguousarray(x.T).tobytes()
    (y,) = run_op("Pad", {"x": x}, {"pads": (1, 0, 0, 0)})
    assert y.tobytes() == np.pad(x, ((1, 0), (0, 0))).tobytes()
