"""Instance, group, layer, mean-variance, Lp and local response normalisation, against float64."""

import numpy as np
import pytest

from edgecnn.errors import ModelError, ShapeError, UnsupportedError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import TensorSpec
from tests.helpers import assert_close, build, every_isa, gradients, numeric_gradient, run_gradient, run_op, run_optimised


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def standardized(x, axes, epsilon=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def per_channel(v, x):
    return np.reshape(v, (-1, *[1] * (x.ndim - 2)))


def instance(x, scale, shift, epsilon=1e-5):
    return standardized(x, tuple(range(2, x.ndim)), epsilon) * per_channel(scale, x) + per_channel(shift, x)


def group(x, scale, shift, num_groups, epsilon=1e-5, per_group=0):
    n, c, *rest = x.shape
    split = x.reshape(n, num_groups, c // num_groups, *rest)
    y = standardized(split, tuple(range(2, split.ndim)), epsilon)
    if per_group:
        return (y * per_channel(scale, split) + per_channel(shift, split)).reshape(x.shape)
    return y.reshape(x.shape) * per_channel(scale, x) + per_channel(shift, x)


def layer(x, scale, shift=0.0, axis=-1, epsilon=1e-5):
    return standardized(x, tuple(range(axis % x.ndim, x.ndim)), epsilon) * scale + shift


def mean_variance(x, axes=(0, 2, 3)):
    return standardized(x, tuple(axes), 1e-18)


def lp(x, axis=-1, p=2):
    return x / (np.abs(x)**p).sum(axis, keepdims=True)**(1 / p)


def lrn(x, size, alpha=1e-4, beta=0.75, bias=1.0):
    total = np.zeros_like(x)
    for c in range(x.shape[1]):
        total[:, c] = (x[:, max(0, c - (size - 1) // 2):c + size // 2 + 1]**2).sum(1)
    return x / (bias + alpha / size * total)**beta


# operator, reference, attributes, shapes of the inputs
CASES = [
    ("InstanceNormalization", instance, {}, [(2, 3, 4, 5), (3,), (3,)]),
    ("InstanceNormalization", instance, {"epsilon": 0.1}, [(1, 17, 3, 2), (17,), (17,)]),
    ("InstanceNormalization", instance, {}, [(3, 2, 7), (2,), (2,)]),
    ("InstanceNormalization", instance, {}, [(2, 2, 2, 3, 2), (2,), (2,)]),
    ("GroupNormalization", group, {"num_groups": 2}, [(2, 6, 3, 4), (6,), (6,)]),
    ("GroupNormalization", group, {"num_groups": 5, "epsilon": 0.1}, [(1, 20, 2, 3), (20,), (20,)]),
    ("GroupNormalization", group, {"num_groups": 2, "per_group": 1}, [(2, 6, 3, 4), (2,), (2,)]),
    ("GroupNormalization", group, {"num_groups": 1}, [(2, 4, 5), (4,), (4,)]),
    ("GroupNormalization", group, {"num_groups": 2}, [(3, 8), (8,), (8,)]),
    ("LayerNormalization", layer, {}, [(2, 3, 5), (5,), (5,)]),
    ("LayerNormalization", layer, {"axis": 1, "epsilon": 0.1}, [(2, 3, 4, 5), (3, 4, 5), (3, 4, 5)]),
    ("LayerNormalization", layer, {"axis": 2}, [(2, 3, 4, 5), (4, 5), (5,)]),
    ("LayerNormalization", layer, {"axis": -2}, [(4, 3, 37), (3, 37)]),
    ("LayerNormalization", layer, {"axis": 0}, [(3, 7), (3, 7), (3, 7)]),
    ("MeanVarianceNormalization", mean_variance, {}, [(2, 3, 4, 5)]),
    ("MeanVarianceNormalization", mean_variance, {"axes": (1, -1)}, [(2, 3, 4, 5)]),
    ("LpNormalization", lp, {}, [(2, 3, 5)]),
    ("LpNormalization", lp, {"axis": 1}, [(2, 19, 2, 3)]),
    ("LpNormalization", lp, {"axis": 0, "p": 1}, [(4, 7)]),
    ("LRN", lrn, {"size": 5, "alpha": 0.5}, [(2, 37, 2, 2)]),
    ("LRN", lrn, {"size": 4, "alpha": 0.3, "beta": 0.5, "bias": 2.0}, [(2, 6, 3, 2)]),
    ("LRN", lrn, {"size": 3, "alpha": 1.0, "beta": 1.2}, [(2, 20, 5)]),
    ("LRN", lrn, {"size": 30, "alpha": 1.0}, [(1, 7, 2, 3)]),
]
every_case = pytest.mark.parametrize("op, reference, attrs, shapes", CASES, ids=[f"{c[0]}{c[3][0]}" for c in CASES])


def network(op, attrs, arrays):
    """The operator between two others, so that its input lies as within a network."""
    g = Graph(inputs={"x": TensorSpec(arrays["x"].shape)}, params={k: v for k, v in arrays.items() if k != "x"})
    g.specs.update(g.inputs)
    y = g.emit(op, [g.emit("Scale", ["x"], factor=1.0), *g.params], **attrs)
    g.outputs = [g.emit("Scale", [y], factor=1.0)]
    return g


@every_isa
@every_case
def test_forward_and_gradient(monkeypatch, isa, op, reference, attrs, shapes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    arrays = {name: values(shape, i) for i, (name, shape) in enumerate(zip(("x", "scale", "shift"), shapes, strict=False))}
    x = arrays["x"]
    want = reference(*(v.astype(np.float64) for v in arrays.values()), **attrs)
    assert_close(run_optimised(network(op, attrs, arrays), {"x": x})[0], want, 2e-6)
    if len(shapes) == 1:
        assert_close(run_optimised(build(op, {"x": x}, attrs), {"x": x})[0], want, 2e-6)
    dy = values(x.shape, 9)
    for name, got in gradients(network(op, attrs, arrays), {"x": x}, dy).items():
        def loss(v, name=name):
            given = {k: v if k == name else a.astype(np.float64) for k, a in arrays.items()}
            return dy * reference(*given.values(), **attrs)
        assert_close(got, numeric_gradient(loss, arrays[name]), 2e-5)


@every_isa
@pytest.mark.parametrize("op, attrs, shapes", [
    ("InstanceNormalization", {}, [(2, 19, 61, 37), (19,), (19,)]), ("LRN", {"size": 5}, [(2, 35, 41, 23)]),
    ("GroupNormalization", {"num_groups": 8}, [(2, 32, 41, 23), (32,), (32,)]),
    ("LayerNormalization", {"axis": 1}, [(2, 19, 61, 37), (37,), (37,)]), ("LpNormalization", {}, [(300, 301)])])
def test_threads_do_not_change_a_bit(monkeypatch, isa, op, attrs, shapes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    arrays = {name: values(shape, i) for i, (name, shape) in enumerate(zip(("x", "scale", "shift"), shapes, strict=False))}
    x, dy = arrays["x"], values(shapes[0], 9)
    runs = []
    for threads in (1, 2, 3):
        results = run_optimised(network(op, attrs, arrays), {"x": x}, threads=threads)
        results += list(gradients(network(op, attrs, arrays), {"x": x}, dy, threads).values())
        runs.append([r.tobytes() for r in results])
    assert runs[0] == runs[1] == runs[2]


@every_isa
@pytest.mark.parametrize("shape, axes", [((2, 16, 9, 11), (2, 3)), ((2, 3, 500), (2,)), ((2, 4, 8, 5, 7), (2, 3, 4))])
def test_a_large_mean_costs_few_digits(monkeypatch, isa, shape, axes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = values(shape) + np.float32(1000)
    got = run_op("Standardize", {"x": x}, {"axes": axes}, outputs=3, within=True)[0]
    error = np.abs(got - standardized(x.astype(np.float64), axes)).max()
    assert error < 3e-4  # a few float32 roundings of the mean; the variance as a difference of squares would lose 0.06


def test_mean_and_deviation_of_a_layer():
    x, scale = values((2, 3, 5)), values((3, 5), 1)
    g = build("LayerNormalization", {"x": x}, {"axis": 1}, outputs=3, constants={"scale": scale})
    y, mean, inv_std = run_optimised(g, {"x": x})
    assert_close(y, layer(x, scale, axis=1), 1e-6)
    assert_close(mean, x.mean((1, 2), keepdims=True), 1e-6)
    assert_close(inv_std, 1 / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5), 1e-6)
    with pytest.raises(UnsupportedError, match="its mean and deviation are used as results of their own"):
        run_gradient("Standardize", {"x": x}, {"axes": (1,)}, [x, x[:, :1], None], outputs=3)


def test_a_norm_of_zero_gives_zero():
    x = np.float32([[0, 0], [3, 4]])
    assert_close(run_optimised(build("LpNormalization", {"x": x}), {"x": x})[0], np.array([[0, 0], [0.6, 0.8]]), 1e-7)


def test_groups_read_the_picture_where_it_lies():
    """Splitting the channels of a channels-last value and joining them again moves nothing."""
    x = values((2, 8, 5, 5))
    arrays = {"x": x, "scale": values((8,), 1), "shift": values((8,), 2)}
    g = optimise(specialise(network("GroupNormalization", {"num_groups": 2}, arrays), {"x": x.shape}))
    assert max(s.args["x"].view.size for s in Plan(g, 1).steps if s.kernel == "copy" and s.node) < x.size


@pytest.mark.parametrize("op, attrs, shapes, error, message", [
    ("InstanceNormalization", {}, [(2, 3, 4), (4,), (3,)], ShapeError, r"scale has shape \(4,\), needed \(3,\)"),
    ("InstanceNormalization", {}, [(2, 3), (3,), (3,)], ShapeError, r"at least one more axis"),
    ("GroupNormalization", {"num_groups": 2}, [(2, 3, 4), (3,), (3,)], ShapeError, r"cannot be split into 2 groups"),
    ("GroupNormalization", {"num_groups": 2}, [(2, 4, 4), (2,), (4,)], ShapeError, r"scale has shape \(2,\), needed \(4,\)"),
    ("LayerNormalization", {}, [(2, 3), (2, 2, 3)], ShapeError, r"Scale \(2, 2, 3\) cannot be broadcast to the input's"),
    ("LayerNormalization", {"axis": 2}, [(2, 3), (3,)], ShapeError, r"axis 2 does not exist"),
    ("LpNormalization", {"p": 3}, [(2, 3)], ModelError, r"p is 3, allowed are 1 and 2"),
    ("LRN", {"size": 0}, [(2, 3, 4, 4)], ModelError, r"size is 0"),
    ("LRN", {"size": 3}, [(2, 3)], ShapeError, r"at least one more axis"),
    ("MeanVarianceNormalization", {}, [(2, 3)], ShapeError, r"axis 2 does not exist")])
def test_errors(op, attrs, shapes, error, message):
    with pytest.raises(error, match=message):
        build(op, {f"x{i}": np.zeros(s, np.float32) for i, s in enumerate(shapes)}, attrs)
