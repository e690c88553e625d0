"""Convolutions and poolings in one to three dimensions against float64 references written out here, with gradients."""

import math

import numpy as np
import pytest
from helpers import assert_close, build, every_isa, gradients, numeric_gradient, run_optimised

from edgecnn.errors import ShapeError, UnsupportedError

rng = np.random.default_rng(11)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def window(n, k, stride, dilation):
    """Where tap k of each of n windows lies."""
    return slice(k * dilation, k * dilation + (n - 1) * stride + 1, stride)


def settings(attrs, rank):
    return [attrs.get(k, [1] * rank) for k in ("strides", "dilations")] + [attrs.get("pads", [0] * 2 * rank)]


def conv(x, w, b, attrs):
    rank, groups = x.ndim - 2, attrs.get("group", 1)
    stride, dilation, pads = settings(attrs, rank)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    out = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[2:], w.shape[2:], dilation, stride, strict=True)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    for taps in np.ndindex(w.shape[2:]):
        part = x[(..., *(window(*a) for a in zip(out, taps, stride, dilation, strict=True)))]
        part = part.reshape(x.shape[0], groups, w.shape[1], *out)
        weights = w[(..., *taps)].reshape(groups, -1, w.shape[1])
        y += np.einsum("ngc...,gmc->ngm...", part, weights).reshape(y.shape)
    return y + b.reshape(-1, *[1] * rank)


def conv_transpose(x, w, b, attrs):
    rank, groups = x.ndim - 2, attrs.get("group", 1)
    stride, dilation, pads = settings(attrs, rank)
    extra = attrs.get("output_padding", [0] * rank)
    size = [(n - 1) * s + (k - 1) * d + 1 + e
            for n, s, k, d, e in zip(x.shape[2:], stride, w.shape[2:], dilation, extra, strict=True)]
    y = np.zeros((x.shape[0], groups, w.shape[1], *size))
    by_group = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    for taps in np.ndindex(w.shape[2:]):
        weights = w[(..., *taps)].reshape(groups, -1, w.shape[1])
        places = (..., *(window(*a) for a in zip(x.shape[2:], taps, stride, dilation, strict=True)))
        y[places] += np.einsum("ngc...,gcm->ngm...", by_group, weights)
    y = y.reshape(x.shape[0], -1, *size)
    return y[(..., *(slice(p, n - q) for p, q, n in zip(pads[:rank], pads[rank:], size, strict=True)))] + b.reshape(
        -1, *[1] * rank)


CONVOLUTIONS = [  # x, w, attributes
    ("Conv", (2, 6, 11), (8, 3, 3), {"group": 2, "strides": [2], "pads": [2, 0], "dilations": [2]}),
    ("Conv", (1, 3, 7), (5, 3, 4), {"pads": [1, 2]}),
    ("Conv", (2, 2, 4, 3, 4), (3, 2, 3, 3, 3), {"pads": [1, 1, 1, 1, 1, 1]}),
    ("Conv", (1, 4, 6, 5, 3), (2, 2, 2, 3, 1),
     {"group": 2, "strides": [2, 1, 2], "pads": [1, 0, 2, 3, 1, 0], "dilations": [3, 2, 1]}),
    ("Conv", (1, 3, 6, 3, 3), (3, 1, 3, 3, 3), {"group": 3, "strides": [4, 1, 1], "pads": [0, 1, 1, 0, 1, 1]}),
    ("ConvTranspose", (2, 6, 5), (6, 2, 3), {"group": 2, "strides": [2], "pads": [1, 0], "output_padding": [1]}),
    ("ConvTranspose", (2, 3, 4, 5), (3, 7, 3, 3), {"strides": [2, 3], "pads": [1, 0, 1, 1], "output_padding": [1, 2]}),
    ("ConvTranspose", (1, 8, 4, 3), (8, 2, 2, 3), {"group": 4, "dilations": [3, 2], "strides": [2, 1]}),
    ("ConvTranspose", (2, 5, 5, 6), (5, 1, 3, 3), {"group": 5, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("ConvTranspose", (1, 3, 2, 2), (3, 4, 1, 2), {"strides": [3, 4], "output_padding": [2, 1]}),
    ("ConvTranspose", (2, 4, 3, 4, 3), (4, 3, 3, 2, 3),
     {"strides": [2, 1, 2], "pads": [1, 0, 1, 1, 1, 0], "output_padding": [1, 0, 1], "dilations": [1, 2, 1]}),
    ("ConvTranspose", (1, 4, 4, 3, 3), (4, 1, 2, 3, 3), {"group": 4, "strides": [3, 2, 2]}),
]


@every_isa
@pytest.mark.parametrize("op, x, w, attrs", CONVOLUTIONS)
def test_convolution(isa, op, x, w, attrs, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    reference = conv if op == "Conv" else conv_transpose
    channels = w[0] if op == "Conv" else w[1] * attrs.get("group", 1)
    feeds = {"x": normal(*x), "w": normal(*w), "b": normal(channels)}
    g = build(op, feeds, attrs)
    want = reference(*(v.astype(np.float64) for v in feeds.values()), attrs)
    results = [run_optimised(g, feeds, threads)[0] for threads in (1, 2, 3)]
    assert_close(results[0], want)
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
    dy = normal(*want.shape)
    grads = [gradients(build(op, feeds, attrs), feeds, dy, threads) for threads in (1, 3)]
    for name in feeds:
        def loss(value, name=name):
            return reference(*(value if k == name else v.astype(np.float64) for k, v in feeds.items()), attrs) * dy
        assert_close(grads[0][name], numeric_gradient(loss, feeds[name], 1e-4))
        assert grads[0][name].tobytes() == grads[1][name].tobytes()


@pytest.mark.parametrize("attrs, size", [
    ({"strides": [3, 2], "output_shape": [10, 8]}, (10, 8)),
    ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (6, 6)),
    ({"strides": [2, 2], "auto_pad": "SAME_LOWER"}, (6, 6)),
    ({"strides": [3, 2], "auto_pad": "VALID"}, (9, 7)),
])
def test_sizes_of_transposed_convolutions(attrs, size):
    x, w = normal(1, 2, 3, 3), normal(2, 2, 3, 3)
    (y,) = run_optimised(build("ConvTranspose", {"x": x, "w": w}, attrs), {"x": x, "w": w})
    assert y.shape == (1, 2, *size)
    full = conv_transpose(x, w, np.zeros(2), {"strides": attrs["strides"]})
    total = [max(0, f - n) for f, n in zip(full.shape[2:], size, strict=True)]
    lower = attrs.get("auto_pad") != "SAME_UPPER"
    h, v = (t - t // 2 if lower else t // 2 for t in total)
    full = np.pad(full, ((0, 0), (0, 0), (0, 5), (0, 5)))
    assert_close(y, full[:, :, h:h + size[0], v:v + size[1]])


def windows(shape, attrs):
    """Of every output place: the taps inside the image, and how many there are in the padded one."""
    rank = len(shape)
    stride, dilation, pads = settings(attrs, rank)
    axes = []
    for n, k, s, d, before, after in zip(shape, attrs["kernel_shape"], stride, dilation, pads[:rank], pads[rank:],
                                         strict=True):
        room = n + before + after - (k - 1) * d - 1
        starts = [o * s - before for o in range((-(-room // s) if attrs.get("ceil_mode") else room // s) + 1)]
        starts = [b for b in starts if b < n] if attrs.get("ceil_mode") else starts
        axes.append([([t for t in range(b, b + k * d, d) if 0 <= t < n], sum(t < n + after for t in range(b, b + k * d, d)))
                     for b in starts])
    for place in np.ndindex(*map(len, axes)):
        found = [axis[i] for axis, i in zip(axes, place, strict=True)]
        yield place, [t for t, _ in found], math.prod(c for _, c in found)


def pool(op, x, attrs):
    found = list(windows(x.shape[2:], attrs))
    y = np.empty((*x.shape[:2], *(n + 1 for n in found[-1][0])))
    for place, taps, padded in found:
        values = x[np.ix_(range(x.shape[0]), range(x.shape[1]), *taps)].reshape(*x.shape[:2], -1)
        if op == "MaxPool":
            result = values.max(-1)
        elif op == "LpPool":
            result = (np.abs(values) ** attrs.get("p", 2)).sum(-1) ** (1 / attrs.get("p", 2))
        else:
            result = values.sum(-1) / (padded if attrs.get("count_include_pad") else values.shape[-1])
        y[(..., *place)] = result
    return y


POOLINGS = [
    ((2, 5, 11), {"kernel_shape": [3], "strides": [2], "pads": [1, 2]}),
    ((1, 9, 8), {"kernel_shape": [2], "strides": [3], "dilations": [2], "ceil_mode": 1}),
    ((1, 2, 4, 5, 5), {"kernel_shape": [2, 3, 3], "strides": [2, 1, 2], "pads": [0, 1, 1, 1, 1, 2]}),
    ((1, 3, 6, 4, 4), {"kernel_shape": [3, 2, 2], "strides": [2, 2, 2], "ceil_mode": 1, "dilations": [1, 2, 1]}),
]
KINDS = [("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1}), ("LpPool", {}),
         ("LpPool", {"p": 1}), ("LpPool", {"p": 3})]


@every_isa
@pytest.mark.parametrize("op, extra", KINDS)
@pytest.mark.parametrize("shape, attrs", [
    *POOLINGS, ((1, 3, 6, 5), {"kernel_shape": [3, 2], "strides": [2, 1], "ceil_mode": 1})])
def test_pooling(isa, op, extra, shape, attrs, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    attrs = {**attrs, **extra}
    x = normal(*shape)
    feeds = {"x": x}
    want = pool(op, x.astype(np.float64), attrs)
    results = [run_optimised(build(op, feeds, attrs), feeds, threads)[0] for threads in (1, 2, 3)]
    assert_close(results[0], want)
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
    dy = normal(*want.shape)
    (dx,) = gradients(build(op, feeds, attrs), feeds, dy).values()
    assert_close(dx, numeric_gradient(lambda x: pool(op, x, attrs) * dy, x), 2e-5)


def test_the_norm_of_nothing_has_no_gradient():
    x = np.zeros((1, 2, 4, 4), np.float32)
    for p in (1, 2, 3):
        (dx,) = gradients(build("LpPool", {"x": x}, {"kernel_shape": [2, 2], "p": p}), {"x": x},
                          np.ones((1, 2, 3, 3), np.float32)).values()
        assert not dx.any()


@every_isa
@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 19, 4, 5), (1, 3, 3, 4, 5)])
@pytest.mark.parametrize("op, reference", [
    ("GlobalMaxPool", np.max), ("GlobalAveragePool", np.mean),
    ("GlobalLpPool", lambda x, axis, keepdims: np.sqrt((x * x).sum(axis=axis, keepdims=keepdims)))])
def test_global_pooling(isa, op, shape, reference, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, axes = normal(*shape), tuple(range(2, len(shape)))
    (y,) = run_optimised(build(op, {"x": x}), {"x": x})
    want = reference(x.astype(np.float64), axis=axes, keepdims=True)
    assert_close(y, want)
    dy = normal(*want.shape)
    (dx,) = gradients(build(op, {"x": x}), {"x": x}, dy).values()
    assert_close(dx, numeric_gradient(lambda x: reference(x, axis=axes, keepdims=True) * dy, x))


@every_isa
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape, attrs", [*POOLINGS, ((2, 3, 5, 6), {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]})])
def test_indices(isa, shape, attrs, order, monkeypatch):
    """Each place holds the maximum and lies in its window; equal ones: the first."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = rng.integers(-3, 4, shape).astype(np.float32)
    feeds = {"x": x}
    runs = [run_optimised(build("MaxPool", feeds, {**attrs, "storage_order": order}, 2), feeds, n) for n in (1, 2, 3)]
    y, places = runs[0]
    assert places.dtype == np.int64 and all(places.tobytes() == p.tobytes() for _, p in runs)
    numbers = np.arange(x[0, 0].size).reshape(x.shape[2:], order="F" if order else "C")
    want = np.empty(y.shape, np.int64)
    for place, taps, _ in windows(shape[2:], attrs):
        for image in np.ndindex(shape[:2]):
            values, where = x[image][np.ix_(*taps)], numbers[np.ix_(*taps)]
            want[(*image, *place)] = where.flat[values.argmax()] + (image[0] * shape[1] + image[1]) * numbers.size
    np.testing.assert_array_equal(places, want)
    np.testing.assert_array_equal(y, pool("MaxPool", x, attrs))


def test_errors():
    x = np.zeros((1, 3, 5), np.float32)
    with pytest.raises(ShapeError, match="kernel_shape"):
        build("MaxPool", {"x": x}, {"kernel_shape": [2, 2]})
    with pytest.raises(UnsupportedError, match="1 to 3 dimensions"):
        build("Conv", {"x": x[0], "w": x[0]})
    with pytest.raises(ShapeError, match="weights .* take 4"):
        build("ConvTranspose", {"x": x, "w": np.zeros((4, 2, 3), np.float32)})
    with pytest.raises(ShapeError, match="larger"):
        build("ConvTranspose", {"x": x, "w": np.zeros((3, 2, 3), np.float32)}, {"pads": [4, 4]})
    with pytest.raises(ShapeError, match="bias"):
        build("ConvTranspose", {"x": x, "w": np.zeros((3, 2, 3), np.float32), "b": np.zeros(3, np.float32)})
