"""Poolings against float64 references written out here, and against onnxruntime over a random sweep."""

import numpy as np
import pytest

from edgecnn.errors import ShapeError, UnsupportedError
from edgecnn.ops import TensorSpec, get_op
from tests.helpers import assert_close, build, every_isa, numeric_gradient, run_gradient, run_op, run_placed

CASES = [  # N, C, H, W and attributes
    ((2, 16, 8, 8), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((2, 5, 9, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 67, 7, 6), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ((1, 1, 5, 7), {"kernel_shape": [3, 2], "strides": [2, 1], "ceil_mode": 1}),
    ((3, 130, 6, 5), {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [0, 1, 1, 2], "ceil_mode": 1}),
    ((1, 33, 9, 10), {"kernel_shape": [3, 2], "strides": [1, 2], "dilations": [2, 3], "pads": [1, 0, 2, 1]}),
    ((2, 20, 6, 6), {"kernel_shape": [2, 2], "strides": [3, 4]}),  # pixels that no window reaches
    ((2, 6, 4, 4), {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 0, 1, 1]}),  # and the last windows hang over
    ((1, 8, 5, 5), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((1, 8, 6, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
]
KINDS = [("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1})]
every_case = pytest.mark.parametrize("shape, attrs", CASES)
every_kind = pytest.mark.parametrize("op, extra", KINDS)


def pads_of(shape, attrs):
    """(top, left, bottom, right), auto_pad resolved by its definition: output = ceil(input / stride)."""
    if "auto_pad" not in attrs:
        return attrs.get("pads", [0, 0, 0, 0])
    total = [max(0, (-(-n // s) - 1) * s + k - n)
             for n, s, k in zip(shape[2:], attrs["strides"], attrs["kernel_shape"], strict=True)]
    less, more = [t // 2 for t in total], [-(-t // 2) for t in total]
    return less + more if attrs["auto_pad"] == "SAME_UPPER" else more + less


def windows(shape, attrs):
    """Of every output pixel: the taps inside the image, row-major, and how many the padded one has."""
    (kh, kw), stride = attrs["kernel_shape"], attrs.get("strides", [1, 1])
    d, pads = attrs.get("dilations", [1, 1]), pads_of(shape, attrs)
    axes = []
    for axis, k in ((0, kh), (1, kw)):
        n, before, after = shape[2 + axis], pads[axis], pads[2 + axis]
        room = n + before + after - (k - 1) * d[axis] - 1
        count = (-(-room // stride[axis]) if attrs.get("ceil_mode") else room // stride[axis]) + 1
        starts = [o * stride[axis] - before for o in range(count)]
        if attrs.get("ceil_mode"):
            starts = [s for s in starts if s < n]
        taps = [[s + i * d[axis] for i in range(k)] for s in starts]
        axes.append([([t for t in w if 0 <= t < n], sum(t < n + after for t in w)) for w in taps])
    return {(i, j): ([(h, w) for h in rows for w in cols], a * b)
            for i, (rows, a) in enumerate(axes[0]) for j, (cols, b) in enumerate(axes[1])}


def reference(x, average, attrs):
    found = windows(x.shape, attrs)
    y = np.empty((*x.shape[:2], max(i for i, _ in found) + 1, max(j for _, j in found) + 1))
    for (i, j), (taps, padded) in found.items():
        values = np.stack([x[:, :, h, w] for h, w in taps])
        count = padded if attrs.get("count_include_pad") else len(taps)
        y[:, :, i, j] = values.sum(0) / count if average else values.max(0)
    return y


def reference_backward(x, dy, average, attrs):
    dx = np.zeros(x.shape)
    for (i, j), (taps, padded) in windows(x.shape, attrs).items():
        values = np.stack([x[:, :, h, w] for h, w in taps])
        count = padded if attrs.get("count_include_pad") else len(taps)
        for t, (h, w) in enumerate(taps):
            share = 1 / count if average else values.argmax(0) == t  # argmax: the first
            dx[:, :, h, w] += dy[:, :, i, j] * share
    return dx


def sample(shape, attrs, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 9, shape).astype(np.float32)  # small integers: ties in nearly every window
    y_shape = reference(x, False, attrs).shape
    return x, rng.normal(size=y_shape).astype(np.float32)


@every_isa
@every_case
@every_kind
def test_forward_and_backward(isa, shape, attrs, op, extra, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    attrs = {**attrs, **extra}
    x, dy = sample(shape, attrs)
    average = op == "AveragePool"
    (y,) = run_op(op, {"x": x}, attrs)
    assert_close(y, reference(x, average, attrs), 1e-6 if average else 0.0)
    (dx,) = run_gradient(op, {"x": x}, attrs, dy)
    assert_close(dx, reference_backward(x, dy.astype(np.float64), average, attrs), 1e-6)


@every_case
@every_kind
def test_reference_backward_by_finite_differences(shape, attrs, op, extra):
    shape, attrs = (1, 2, *shape[2:]), {**attrs, **extra}
    x = np.random.default_rng(1).permutation(np.prod(shape)).reshape(shape) / 7.0  # no ties
    dy = sample(shape, attrs)[1].astype(np.float64)
    average = op == "AveragePool"
    numeric = numeric_gradient(lambda v: dy * reference(v, average, attrs), x)
    assert np.allclose(reference_backward(x, dy, average, attrs), numeric, atol=1e-6)


@every_isa
@pytest.mark.parametrize("shape", [(2, 37, 7, 7), (1, 64, 5, 1), (3, 200, 13, 11), (1, 3, 1, 1)])
def test_global(isa, shape, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    dy = np.random.default_rng(1).normal(size=(*shape[:2], 1, 1)).astype(np.float32)
    attrs = {"kernel_shape": shape[2:]}
    for op, average in (("GlobalAveragePool", True), ("GlobalMaxPool", False)):
        assert_close(run_op(op, {"x": x})[0], reference(x.astype(np.float64), average, attrs), 1e-7)
        (dx,) = run_gradient(op, {"x": x}, {}, dy)
        assert_close(dx, reference_backward(x, dy.astype(np.float64), average, attrs), 1e-7)


def test_global_average_of_many_large_values():
    """A running sum in single precision would lose 1e-4 of this."""
    x = (np.random.default_rng(0).uniform(0, 1, (1, 40, 250, 260)) + 1000).astype(np.float32)
    want = x.astype(np.float64).mean((2, 3), keepdims=True)
    assert_close(run_op("GlobalAveragePool", {"x": x})[0], want, 1e-7)


@every_isa
@every_kind
@pytest.mark.parametrize("attrs", [{"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
                                   {"kernel_shape": [2, 2], "strides": [2, 2]}])
def test_threads_give_the_same_bytes(isa, op, extra, attrs, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    attrs = {**attrs, **extra}
    x, dy = sample((1, 70, 56, 56), attrs)
    results = [[a.tobytes() for a in (*run_op(op, {"x": x}, attrs, threads=t),
                                      *run_gradient(op, {"x": x}, attrs, dy, threads=t))] for t in (1, 2, 3)]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_threads_give_the_same_bytes(op):
    x = np.random.default_rng(0).normal(size=(2, 333, 31, 33)).astype(np.float32)
    assert len({run_op(op, {"x": x}, threads=t)[0].tobytes() for t in (1, 2, 3)}) == 1


@every_isa
def test_nan_and_infinities(isa, monkeypatch):
    """NaN in a window gives NaN and takes the gradient; minus infinity is an ordinary smallest value."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    attrs = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    x = np.full((1, 19, 4, 4), -np.inf, np.float32)
    x[..., 1, 2], x[..., 3, 3] = np.nan, np.inf
    (y,) = run_op("MaxPool", {"x": x}, attrs)
    want = np.full((3, 3), -np.inf)
    want[1, 1], want[2, 2] = np.nan, np.inf
    assert np.array_equal(y, np.broadcast_to(want, y.shape), equal_nan=True)
    dy = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3).repeat(19, 1)
    (dx,) = run_gradient("MaxPool", {"x": x}, attrs, dy)
    assert np.array_equal(dx[0, 0], [[1, 2, 0, 3], [4, 0, 5, 6], [0, 0, 0, 0], [7, 8, 0, 9]])
    assert (dx == dx[:, :1]).all()


@every_isa
@pytest.mark.parametrize("shape, start", [((2, 50, 5, 6), (0, 3, 0, 0)), ((3, 22, 9, 8), (1, 0, 2, 1))])
@every_kind
def test_inside_a_larger_value(isa, shape, start, op, extra, monkeypatch):
    """As in a concatenation: strides exceed sizes, and nothing beside the value is touched."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    attrs = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], **extra}
    x, dy = sample((2, 21, 5, 6), attrs)
    average = op == "AveragePool"
    g = build(op, {"x": x}, attrs)
    g.inputs["dy"] = g.specs["dy"] = TensorSpec(dy.shape)
    (dx,) = get_op(op).gradient(g, g.nodes[0], ["dy"], [True])
    y = g.outputs[0]
    g.outputs.append(dx)
    want = [reference(x, average, attrs), reference_backward(x, dy.astype(np.float64), average, attrs)]
    got, wholes = run_placed(g, {"x": x, "dy": dy}, [y, dx], shape, start)
    inside = tuple(slice(at, at + n) for at, n in zip(start, x.shape, strict=True))
    for a, b, whole in zip(got, want, wholes, strict=True):
        assert_close(a, b, 1e-6)
        assert np.array_equal(whole[inside], a)
        whole[inside] = 7
        assert (whole == 7).all()


def test_gradient_is_zero_where_no_window_looks():
    attrs = {"kernel_shape": [1, 1], "strides": [4, 4]}
    x, dy = np.ones((1, 3, 9, 9), np.float32), np.ones((1, 3, 3, 3), np.float32)
    for op in ("MaxPool", "AveragePool"):
        (dx,) = run_gradient(op, {"x": x}, attrs, dy)
        assert dx[0, 0, ::4, ::4].sum() == dx[0, 0].sum() == 9


def test_errors():
    x = np.zeros((1, 3, 5, 5), np.float32)
    with pytest.raises(ShapeError, match="kernel_shape"):
        build("AveragePool", {"x": x}, {"kernel_shape": [2]})
    with pytest.raises(UnsupportedError, match="1 to 3 more axes"):
        build("GlobalAveragePool", {"x": x[0, 0]})
    with pytest.raises(ShapeError, match="5x5 pixels is smaller than the kernel"):
        build("MaxPool", {"x": x}, {"kernel_shape": [7, 2]})
    with pytest.raises(ShapeError, match="must be smaller than the kernel"):
        build("MaxPool", {"x": x}, {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]})


def random_case(rng):
    kernel = rng.integers(1, 5, 2).tolist()
    strides = rng.integers(1, 4, 2).tolist()
    attrs = {"kernel_shape": kernel, "strides": strides, "ceil_mode": int(rng.integers(2))}
    if rng.random() < 0.25:  # onnxruntime ignores dilation here and wants no stride beyond the kernel
        attrs["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        attrs["strides"] = [min(s, k) for s, k in zip(strides, kernel, strict=True)]
    else:
        attrs["pads"] = [int(rng.integers(0, kernel[i % 2])) for i in range(4)]
        if rng.random() < 0.4:
            attrs["dilations"] = rng.integers(1, 4, 2).tolist()
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 40)), *rng.integers(3, 14, 2).tolist())
    return rng.normal(size=shape).astype(np.float32), attrs


@pytest.mark.parametrize("op, extra", KINDS)
def test_against_onnxruntime(op, extra):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    rng = np.random.default_rng(len(op) + len(extra))
    compared = 0
    while compared < 60:
        x, attrs = random_case(rng)
        attrs.update(extra)
        try:
            (y,) = run_op(op, {"x": x}, attrs)
        except ShapeError:  # the kernel does not fit
            continue
        if not np.isfinite(y).all():  # a dilated window in the padding alone: onnxruntime gives -FLT_MAX
            continue
        graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], **attrs)], "pool",
                                  [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (want,) = session.run(None, {"x": x})
        assert y.shape == want.shape, (x.shape, attrs)
        assert np.abs(y - want).max(initial=0.0) < 1e-5, (x.shape, attrs)
        compared += 1


def test_flops_count_the_taps():
    x = np.zeros((1, 3, 6, 6), np.float32)
    g = build("MaxPool", {"x": x}, {"kernel_shape": [3, 3], "strides": [3, 3]})
    node = g.nodes[0]
    assert get_op("MaxPool").flops(node, [g.spec("x")], [g.spec(node.outputs[0])]) == 3 * 4 * 9
