"""Sum, Mean, Max and Min of several values, against float64."""

from functools import reduce

import numpy as np
import pytest

from edgecnn.errors import ShapeError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.ops import TensorSpec
from tests.helpers import assert_close, build, every_isa, gradients, numeric_gradient, run_gradient, run_op, run_optimised

FUNCTIONS = {
    "Sum": lambda *v: reduce(np.add, v), "Mean": lambda *v: reduce(np.add, v) / len(v),
    "Max": lambda *v: reduce(np.maximum, v), "Min": lambda *v: reduce(np.minimum, v)}
SHAPES = [[(2, 3, 5, 7)], [(2, 3, 5, 7)] * 2, [(2, 19, 3, 4), (19, 1, 1), (2, 1, 3, 1)], [(4, 1), (1, 5), (), (1,)],
          [(3, 4)] * 5]
every_op = pytest.mark.parametrize("op", FUNCTIONS)
every_shapes = pytest.mark.parametrize("shapes", SHAPES, ids=str)


def values(shapes):
    return {f"x{i}": np.asarray(np.random.default_rng(i).standard_normal(s), np.float32) for i, s in enumerate(shapes)}


@every_isa
@every_op
@every_shapes
def test_forward(monkeypatch, isa, op, shapes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = values(shapes)
    runs = [run_optimised(build(op, x), x, threads=t)[0] for t in (1, 2, 3)]
    assert_close(runs[0], FUNCTIONS[op](*(v.astype(np.float64) for v in x.values())), 1e-6)
    assert len({r.tobytes() for r in runs}) == 1


@every_isa
@every_op
@every_shapes
def test_gradient(monkeypatch, isa, op, shapes):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = values(shapes)
    dy = np.asarray(np.random.default_rng(9).standard_normal(np.broadcast_shapes(*shapes)), np.float32)
    for k, got in gradients(build(op, x), x, dy).items():
        want = numeric_gradient(lambda v, k=k: dy * FUNCTIONS[op](*({**x, k: v}).values()), x[k])
        assert_close(got, want, 1e-5)


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_equal_operands_nan_and_infinity(op):
    a = np.float32([1, np.nan, 2, np.nan, np.inf, -np.inf, 3])
    b = np.float32([1, 1, np.nan, np.nan, 0, 0, np.inf])
    np.testing.assert_array_equal(run_op(op, {"a": a, "b": b})[0], FUNCTIONS[op](a, b))
    da, db = run_gradient(op, {"a": a, "b": b}, {}, np.ones_like(a))
    assert (da[0], db[0]) == (1, 0)


@pytest.mark.parametrize("op, number, nodes", [
    ("Max", np.float32(0), ["Clip"]), ("Min", np.float32([6]), ["Clip"]), ("Max", np.float32([0, 1]), ["Max"])])
def test_an_extreme_with_a_number_is_a_clip(op, number, nodes):
    x = values([(3, 2)])["x0"]
    g = build(op, {"x": x}, constants={"c": number})
    for swap in (False, True):
        g.nodes[0].inputs = g.nodes[0].inputs[::-1] if swap else g.nodes[0].inputs
        assert_close(run_optimised(g, {"x": x})[0], FUNCTIONS[op](x, number), 0)
        assert [n.op for n in optimise(specialise(g, {"x": x.shape})).nodes] == nodes


def test_a_clamp_spelled_as_maximum_goes_into_the_convolution():
    g = Graph(inputs={"x": TensorSpec((1, 3, 4, 4))}, constants={"w": np.ones((2, 3, 1, 1), np.float32), "z": np.float32(0)})
    g.specs.update(g.inputs)
    g.outputs = [g.emit("Max", [g.emit("Conv", ["x", "w"]), "z"])]
    assert [n.op for n in optimise(g).nodes] == ["Conv"]


@every_op
def test_integers_are_folded(op):
    arrays = {"a": np.array([7, -7]), "b": np.array([2, 2]), "c": np.array([[1], [9]])}
    g = specialise(build(op, {}, constants=arrays), {})
    got = g.constants[g.outputs[0]]
    want = FUNCTIONS[op](*arrays.values()).astype(np.int64)
    assert got.dtype == np.int64 and got.tolist() == want.tolist()


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"Sum\(sum\): shapes \(2, 3\), \(3,\), \(4,\) cannot be broadcast"):
        build("Sum", values([(2, 3), (3,), (4,)]))
