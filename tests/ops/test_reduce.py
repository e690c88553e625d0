"""Reductions, ChannelSum and SumTo against float64."""

import itertools
import warnings

import numpy as np
import pytest

from edgecnn.errors import DTypeError, ShapeError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.ops import TensorSpec, get_op
from tests.helpers import assert_close, build, every_isa, numeric_gradient, run_gradient, run_graph, run_op

FUNCTIONS = {"ReduceSum": np.sum, "ReduceMean": np.mean}
every_op = pytest.mark.parametrize("op", FUNCTIONS)
both_places = pytest.mark.parametrize("within", [False, True])


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_sums(got, reduce, x):
    """got equals reduce(x) within a few float32 roundings of what it is made of."""
    want = reduce(x.astype(np.float64))
    assert got.shape == want.shape
    assert (np.abs(got - want) / reduce(np.abs(x.astype(np.float64)))).max() <= 2.0**-22


def subsets(rank):
    return [list(c) for n in range(1, rank + 1) for c in itertools.combinations(range(rank), n)]


def backward(op, x, axes, dy):
    """dy has the reduced axes with size 1."""
    count = np.prod([x.shape[a] for a in axes])
    return np.broadcast_to(dy / (count if op == "ReduceMean" else 1), x.shape)


@every_op
def test_reference_gradient(op):
    x = values((2, 3, 4))
    for axes in subsets(3):
        dy = FUNCTIONS[op](values((2, 3, 4), 1).astype(np.float64), axis=tuple(axes), keepdims=True)
        want = numeric_gradient(lambda v, a=tuple(axes), w=dy: w * FUNCTIONS[op](v, axis=a, keepdims=True), x)
        np.testing.assert_allclose(backward(op, x, axes, dy), want, atol=1e-7)


@every_isa
@every_op
@both_places
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (3, 37, 9, 11), (1, 70, 1, 5), (2, 1, 20, 33)])
@pytest.mark.parametrize("axes", subsets(4), ids=str)
def test_images(monkeypatch, isa, op, within, shape, axes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = values(shape)
    for keepdims in (0, 1):
        attrs = {"axes": axes, "keepdims": keepdims}
        (y,) = run_op(op, {"x": x}, attrs, within=within)
        assert_sums(y, lambda v, keep=bool(keepdims): FUNCTIONS[op](v, axis=tuple(axes), keepdims=keep), x)
        dy = values(y.shape, 1)
        (dx,) = run_gradient(op, {"x": x}, attrs, dy, within=within)
        assert_close(dx, backward(op, x, axes, np.expand_dims(dy, axes) if not keepdims else dy), 1e-6)


def over(f, after=lambda y: y, before=lambda x: x):
    return lambda x, axis, keepdims: after(f(before(x), axis=axis, keepdims=keepdims))


OTHERS = {
    "ReduceL1": over(np.sum, before=np.abs), "ReduceL2": over(np.sum, np.sqrt, np.square),
    "ReduceSumSquare": over(np.sum, before=np.square),
    "ReduceLogSum": over(np.sum, np.log), "ReduceLogSumExp": over(np.sum, np.log, np.exp), "ReduceProd": over(np.prod),
    "ReduceMax": over(np.max), "ReduceMin": over(np.min)}


def others_values(op, shape, seed=0):
    """Positive for a logarithm, near 1 for a product."""
    x = values(shape, seed)
    return np.abs(x) + 0.1 if op == "ReduceLogSum" else 1 + x / 8 if op == "ReduceProd" else x


@every_isa
@both_places
@pytest.mark.parametrize("op", OTHERS)
@pytest.mark.parametrize("shape, axes", [
    ((2, 3, 5, 7), [2, 3]), ((2, 3, 5, 7), [1]), ((2, 3, 5, 7), [0, 2]), ((2, 37, 3, 4), [1, 2, 3]),
    ((2, 37, 3, 4), [0, 2, 3]), ((2, 3, 5, 7), None), ((300,), [0]), ((5, 67), [1]),
    ((67, 5), [0]), ((2, 3, 2, 3, 2, 2), [0, 2, 4])], ids=str)
def test_others(monkeypatch, isa, within, op, shape, axes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, axis = others_values(op, shape), None if axes is None else tuple(axes)
    for keepdims in (0, 1):
        attrs = {"axes": axes, "keepdims": keepdims}
        want = OTHERS[op](x.astype(np.float64), axis, bool(keepdims))
        assert_close(run_op(op, {"x": x}, attrs, within=within)[0], want, 1e-5 if op == "ReduceProd" else 1e-6)
        dy = np.asarray(values(want.shape, 1))
        (dx,) = run_gradient(op, {"x": x}, attrs, dy, within=within)
        reference = numeric_gradient(lambda v, k=bool(keepdims), w=dy: w * OTHERS[op](v, axis, k), x)
        assert_close(dx, reference, 1e-5)


@every_isa
@pytest.mark.parametrize("op", OTHERS)
@pytest.mark.parametrize("shape, axes", [((100_003,), [0]), ((2, 70, 61, 53), [0, 2, 3]), ((3, 5, 61, 153), [1, 3])])
def test_others_threads_and_many_terms(monkeypatch, isa, op, shape, axes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = others_values(op, shape) if op != "ReduceProd" else 1 + values(shape) / 1000
    runs = [run_op(op, {"x": x}, {"axes": axes}, threads=t, within=True)[0] for t in (1, 2, 3)]
    want = OTHERS[op](x.astype(np.float64), tuple(axes), True)
    np.testing.assert_allclose(runs[0], want, rtol=1e-4 if op == "ReduceProd" else 3e-7)  # a product rounds at each factor
    assert len({r.tobytes() for r in runs}) == 1


@pytest.mark.parametrize("op, x, want", [
    ("ReduceL2", [0, 0], [0, 0]), ("ReduceProd", [2, 0, 3], [0, 6, 0]), ("ReduceProd", [0, 0, 3], [0, 0, 0]),
    ("ReduceMax", [1, 3, 3], [0, 0.5, 0.5]), ("ReduceMin", [1, 3, 1], [0.5, 0, 0.5]), ("ReduceL1", [0, -2], [0, -1])])
def test_gradient_where_it_is_a_choice(op, x, want):
    x = np.float32(x)
    assert run_gradient(op, {"x": x}, {"keepdims": 0}, np.float32(1).reshape(()))[0].tolist() == want


@every_isa
@pytest.mark.parametrize("shape, axis", [((3, 40), 1), ((40, 3), 0)])
def test_extremes_of_nan_and_infinity(monkeypatch, isa, shape, axis):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.arange(120, dtype=np.float32).reshape(shape)
    np.moveaxis(x, axis, 1)[0, 3], np.moveaxis(x, axis, 1)[1, 39] = np.nan, -np.inf
    for op, f in (("ReduceMax", np.max), ("ReduceMin", np.min)):
        np.testing.assert_array_equal(run_op(op, {"x": x}, {"axes": [axis], "keepdims": 0})[0], f(x, axis=axis))
    rows = np.float32([[-np.inf] * 3, [1e30, 0, 0], [np.inf, 0, 0], [-100, -101, -np.inf]])
    got = run_op("ReduceLogSumExp", {"x": rows}, {"axes": [1], "keepdims": 0})[0]
    np.testing.assert_allclose(got, [-np.inf, 1e30, np.inf, -100 + np.log1p(np.exp(-1))], rtol=1e-6)


@pytest.mark.parametrize("op", [*FUNCTIONS, *OTHERS])
def test_no_axes_and_no_elements(op):
    x = np.abs(values((2, 3))) + 1
    alone = {"ReduceSumSquare": x * x, "ReduceLogSum": np.log(x)}.get(op, x)
    assert_close(run_op(op, {"x": x}, {"noop_with_empty_axes": 1})[0], alone, 1e-6)
    nothing = {"ReduceProd": 1, "ReduceMax": -np.inf, "ReduceMin": np.inf, "ReduceLogSum": -np.inf,
               "ReduceLogSumExp": -np.inf, "ReduceMean": np.nan}.get(op, 0)
    empty = np.zeros((2, 0, 4), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of nothing
        np.testing.assert_array_equal(run_op(op, {"x": empty}, {"axes": [1]})[0], np.full((2, 1, 4), nothing))
        assert run_op(op, {"x": empty}, {"axes": [2]})[0].shape == (2, 0, 1)


@every_isa
@pytest.mark.parametrize("shape", [(7,), (5, 67), (1000, 3), (2, 3, 4), (2, 3, 4, 5, 6), (2, 2, 3, 2, 3, 2)])
def test_other_ranks(monkeypatch, isa, shape):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = values(shape)
    for axes in subsets(len(shape)):
        for within in (False, True):
            got = run_op("ReduceSum", {"x": x}, {"axes": [a - len(shape) for a in axes]}, within=within)[0]
            assert_sums(got, lambda v, axes=tuple(axes): v.sum(axes, keepdims=True), x)


@every_op
def test_which_axes(op):
    x, function = values((2, 3, 4)), FUNCTIONS[op]
    assert_close(run_op(op, {"x": x})[0], function(x, keepdims=True), 1e-6)
    assert_close(run_op(op, {"x": x}, {"axes": [], "keepdims": 0})[0], function(x), 1e-6)
    assert_close(run_op(op, {"x": x}, {"noop_with_empty_axes": 1})[0], x, 0)
    assert_close(run_gradient(op, {"x": x}, {"noop_with_empty_axes": 1}, x)[0], x, 0)
    axes = {"axes": np.array([-1, 0], np.int64)}
    assert_close(run_op(op, {"x": x}, constants=axes)[0], function(x, axis=(0, 2), keepdims=True), 1e-6)


@every_isa
@both_places
@pytest.mark.parametrize("shape", [
    (1, 1), (5, 67), (300, 10), (2, 3, 5, 7), (3, 37, 9, 11), (2, 300, 30, 31), (2, 1100, 3, 3), (4, 5, 6)])
def test_channel_sum(monkeypatch, isa, within, shape):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = values(shape)
    (y,) = run_op("ChannelSum", {"x": x}, within=within)
    assert_sums(y, lambda v: v.sum(tuple(a for a in range(v.ndim) if a != 1)), x)


@every_isa
@both_places
@pytest.mark.parametrize("shape, to", [
    ((2, 3, 5, 7), (3, 1, 1)), ((2, 3, 5, 7), ()), ((2, 3, 5, 7), (5, 1)),
    ((2, 33, 5, 7), (2, 33, 1, 1)), ((4, 9), (9,)), ((2, 3), (1, 1)), ((6,), (1,))])
def test_sum_to(monkeypatch, isa, within, shape, to):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = values(shape)
    lead = len(shape) - len(to)
    axes = tuple(a for a in range(len(shape)) if a < lead or to[a - lead] != shape[a])
    (y,) = run_op("SumTo", {"x": x}, {"shape": to}, within=within)
    assert_sums(y, lambda v: v.sum(axes, keepdims=True).reshape(to), x)


@every_isa
@pytest.mark.parametrize("shape, axes", [
    ((1_000_003,), [0]), ((1_000_003, 1), [0]), ((3, 1_000_003), [1]),
    ((250_001, 5), [0]), ((1, 5, 500, 501), [2, 3]), ((40, 9, 160, 161), [0, 2, 3])])
def test_a_million_terms(monkeypatch, isa, shape, axes):
    """All of one sign, where a plain float32 loop loses three digits."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    got = run_op("ReduceSum", {"x": x}, {"axes": axes}, within=True)[0]
    np.testing.assert_allclose(got, x.astype(np.float64).sum(tuple(axes), keepdims=True), rtol=1.2e-7)


@every_isa
@pytest.mark.parametrize("shape, axes", [
    ((100_003,), [0]), ((700, 301), [0]), ((700, 301), [1]), ((2, 70, 61, 53), [0, 2, 3]),
    ((3, 70, 61, 53), [2, 3]), ((3, 5, 61, 153), [1]), ((3, 5, 61, 153), [1, 3])])
def test_threads_do_not_change_a_bit(monkeypatch, isa, shape, axes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = values(shape)
    for within in (False, True):
        runs = [run_op("ReduceMean", {"x": x}, {"axes": axes}, threads=t, within=within)[0].tobytes()
                for t in (1, 2, 3)]
        assert runs[0] == runs[1] == runs[2]


@every_isa
def test_nan_and_infinity_stay_in_their_channel(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.zeros((2, 35, 6, 7), np.float32)
    x[1, 3, 2, 2], x[0, 34, 5, 6] = np.nan, np.inf
    want = np.zeros(35)
    want[[3, 34]] = np.nan, np.inf
    np.testing.assert_array_equal(run_op("ChannelSum", {"x": x}, within=True)[0], want)


def test_the_gradient_of_a_mean_is_a_view_that_others_can_read():
    """Squeeze and excite: the repeated gradient goes on into arithmetic without being written out."""
    x, dy = values((2, 19, 5, 7)), values((2, 19, 5, 7), 1)
    g = Graph(inputs={"x": TensorSpec(x.shape), "dy": TensorSpec(dy.shape)})
    g.specs.update(g.inputs)
    scale = g.emit("ReduceMean", ["x"], axes=[2, 3])
    g.emit("Mul", ["x", scale])
    dx, dscale = get_op("Mul").gradient(g, g.nodes[1], ["dy"], [True, True])
    g.outputs = [g.emit("Add", [dx, get_op("ReduceMean").gradient(g, g.nodes[0], [dscale], [True])[0]])]

    def loss(v):
        return dy * v * v.mean((2, 3), keepdims=True)
    assert_close(run_graph(g, {"x": x, "dy": dy})[0], numeric_gradient(loss, x), 1e-6)


@every_op
def test_constants_are_folded(op):
    x = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    g = specialise(build(op, {}, constants={"x": x, "axes": np.array([1, 2])}), {})
    got = g.constants[g.outputs[0]]
    want = FUNCTIONS[op](x, axis=(1, 2), keepdims=True).astype(np.int64)
    assert got.dtype == np.int64 and got.tolist() == want.tolist()


def test_errors():
    with pytest.raises(ShapeError, match=r"axes \[3\] do not fit an input of shape \(2, 3\)"):
        run_op("ReduceSum", {"x": values((2, 3))}, {"axes": [3]})
    with pytest.raises(ShapeError, match=r"needs \(N, C, ...\), got shape \(4,\)"):
        run_op("ChannelSum", {"x": values((4,))})
    with pytest.raises(DTypeError, match="'x' is int64"):
        run_op("ReduceSum", {"x": np.arange(4)})
