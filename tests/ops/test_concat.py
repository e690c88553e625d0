"""Concat, Split and the gradient of Slice: what is computed in place, and what cannot be."""

import numpy as np
import pytest
from helpers import assert_close, build, every_isa, inside, run_gradient, run_graph, run_op, run_optimised

from edgecnn.errors import ShapeError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import TensorSpec

rng = np.random.default_rng(3)


def numbers(*shape):
    return rng.normal(size=shape).astype(np.float32)


def graph(**arrays):
    g = Graph(inputs={k: TensorSpec(v.shape) for k, v in arrays.items()})
    g.specs.update(g.inputs)
    return g


def copies(g, feeds):
    """How many values a plan copies from one place to another."""
    plan = Plan(optimise(specialise(g, {k: v.shape for k, v in feeds.items()})), 1)
    return sum(s.kernel == "copy" for s in plan.steps)


@every_isa
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("shape, axis", [((2, 3, 4, 5), 0), ((2, 3, 4, 5), 1), ((2, 3, 4, 5), 2), ((2, 3, 4, 5), -1),
                                         ((3, 4), 1), ((3, 4), 0), ((5,), 0), ((2, 3, 4), 1), ((2, 3, 2, 2, 3), 1)])
def test_concat(isa, shape, axis, within, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    arrays = {}
    for i, n in enumerate((2, 1, 4)):
        size = list(shape)
        size[axis] = n
        arrays[f"x{i}"] = numbers(*size)
    want = np.concatenate(list(arrays.values()), axis)
    (y,) = run_op("Concat", arrays, {"axis": axis}, within=within)
    np.testing.assert_array_equal(y, want)
    dy = numbers(*want.shape)
    grads = run_gradient("Concat", arrays, {"axis": axis}, dy, within=within)
    for got, part in zip(grads, np.split(dy, [2, 3], axis), strict=True):
        np.testing.assert_array_equal(got, part)
    assert run_gradient("Concat", arrays, {"axis": axis}, dy, needs=[False, True, False])[::2] == [None, None]


def test_branches_are_computed_in_place():
    """An inception block: three branches, one of them itself a concatenation, and a value with another reader.
    Without Concat's copies only the result is turned from channels-last to the user's NCHW."""
    x = numbers(2, 4, 6, 5)
    g = graph(x=x)
    a, b, c, d = (g.emit(op, [g.emit("Scale", ["x"], factor=f)]) for op, f in (
        ("Relu", 1.0), ("Sigmoid", 2.0), ("Tanh", 3.0), ("Relu", -1.0)))
    inner = g.emit("Concat", [b, c], axis=1)
    outer = g.emit("Concat", [a, inner, d], axis=1)
    g.outputs = [g.emit("Add", [outer, g.emit("Concat", [g.emit("Tanh", [a]), inner, a], axis=1)])]
    one, two = np.maximum(x, 0), np.maximum(-x, 0)
    middle = np.concatenate([1 / (1 + np.exp(-2 * x)), np.tanh(3 * x)], 1)
    want = np.concatenate([one, middle, two], 1) + np.concatenate([np.tanh(one), middle, one], 1)
    assert_close(run_optimised(g, {"x": x})[0], want, 1e-6)
    # `inner` and `a` can lie in one of the two concatenations only; the last copy is the output
    assert copies(g, {"x": x}) == 3


def test_dense_block():
    """Each layer reads the concatenation of all before it (DenseNet): nested concatenations need no copy."""
    x = numbers(1, 3, 5, 5)
    g = graph(x=x)
    features, want = g.emit("Relu", ["x"]), np.maximum(x, 0)
    for i in range(4):
        features = g.emit("Concat", [features, g.emit("Relu", [g.emit("Scale", [features], factor=0.5 - i)])], axis=1)
        want = np.concatenate([want, np.maximum(want * np.float32(0.5 - i), 0)], 1)
    g.outputs = [features]
    np.testing.assert_array_equal(run_optimised(g, {"x": x})[0], want)
    assert copies(g, {"x": x}) == 1


def test_inputs_that_cannot_be_placed():
    """The same value twice, a graph input, a constant, a view, an output of the graph, a slice of the result."""
    x, k = numbers(2, 3, 4, 4), numbers(2, 1, 4, 4)
    g = graph(x=x)
    g.constants["k"] = k
    r = g.emit("Relu", ["x"])
    turned = g.emit("Transpose", [r], perm=(0, 1, 3, 2))
    y = g.emit("Concat", ["x", r, "k", r, turned], axis=1)
    g.outputs = [y, r, g.emit("Slice", [y], starts=(2,), ends=(5,), axes=(1,))]
    relu = np.maximum(x, 0)
    want = np.concatenate([x, relu, k, relu, relu.swapaxes(2, 3)], 1)
    for got, array in zip(run_optimised(g, {"x": x}), (want, relu, want[:, 2:5]), strict=True):
        np.testing.assert_array_equal(got, array)


def test_a_placed_value_is_not_overwritten():
    """Operators that work in place must leave alone what lies inside a concatenation."""
    x = numbers(2, 4, 3, 3)
    g = graph(x=x)
    a = g.emit("Scale", ["x"], factor=2.0)
    b = g.emit("Relu", [a])  # the last reader of `a` but for the concatenation
    joined = g.emit("Concat", [a, b], axis=0)
    g.outputs = [g.emit("Relu", [joined]), g.emit("Tanh", [joined])]
    want = np.concatenate([2 * x, np.maximum(2 * x, 0)])
    (relu, tanh) = run_graph(g, {"x": x})
    np.testing.assert_array_equal(relu, np.maximum(want, 0))
    assert_close(tanh, np.tanh(want), 1e-6)


def test_concat_of_one_value_is_nothing():
    x = numbers(2, 3, 4, 4)
    g = graph(x=x)
    g.outputs = [g.emit("Relu", [g.emit("Concat", [g.emit("Tanh", ["x"])], axis=1)])]
    assert [n.op for n in optimise(specialise(g, {"x": x.shape})).nodes] == ["Tanh", "Relu"]


@every_isa
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("shape, axis, sizes, attrs", [
    ((2, 6, 3, 4), 1, (2, 2, 2), {}), ((2, 6, 3, 4), 1, (1, 2, 3), {"split": np.array([1, 2, 3])}),
    ((2, 7), -1, (3, 3, 1), {"num_outputs": 3}), ((4, 3, 2), 0, (4,), {}), ((2, 3, 5, 2), 2, (4, 1), {"split": (4, 1)}),
])
def test_split(isa, shape, axis, sizes, attrs, within, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = numbers(*shape)
    parts = np.split(x, np.cumsum(sizes)[:-1], axis)
    for got, want in zip(run_op("Split", {"x": x}, {"axis": axis, **attrs}, len(sizes), within=within), parts,
                         strict=True):
        np.testing.assert_array_equal(got, want)
    dys = [numbers(*p.shape) for p in parts]
    (dx,) = run_gradient("Split", {"x": x}, {"axis": axis, **attrs}, dys, len(sizes), within=within)
    np.testing.assert_array_equal(dx, np.concatenate(dys, axis))


def test_gradient_of_a_split_whose_parts_are_not_all_used():
    x, dy = numbers(2, 6, 3, 4), numbers(2, 2, 3, 4)
    (dx,) = run_gradient("Split", {"x": x}, {"axis": 1}, [None, dy, None], 3)
    np.testing.assert_array_equal(dx, np.concatenate([0 * dy, dy, 0 * dy], 1))


def test_split_and_concat_undo_each_other():
    """Channel shuffle by halves, as ShuffleNet v2 does."""
    x = numbers(2, 8, 3, 4)
    g = graph(x=x)
    a, b = g.emit("Split", [g.emit("Relu", ["x"])], 2, axis=1)
    g.outputs = [g.emit("Concat", [b, g.emit("Tanh", [a])], axis=1)]
    relu = np.maximum(x, 0)
    assert_close(run_graph(inside(g), {"x": x})[0], np.concatenate([relu[:, 4:], np.tanh(relu[:, :4])], 1), 1e-6)


def test_threads_do_not_matter():
    x = numbers(4, 16, 40, 40)
    g = graph(x=x)
    a, b = g.emit("Split", ["x"], 2, axis=1)
    g.outputs = [g.emit("Concat", [g.emit("Tanh", [b]), a, "x"], axis=1)]
    one, two, three = (run_graph(g, {"x": x}, n)[0].tobytes() for n in (1, 2, 3))
    assert one == two == three


@pytest.mark.parametrize("op, shapes, attrs, outputs, message", [
    ("Concat", [(2, 3), (2, 4)], {"axis": 0}, 1, r"\(2, 3\), \(2, 4\) may differ in axis 0 only"),
    ("Concat", [(2, 3), (2, 3, 1)], {"axis": 1}, 1, r"may differ in axis 1 only"),
    ("Concat", [(2, 3), (2, 3)], {"axis": 2}, 1, r"axis 2 does not exist, allowed are -2 to 1"),
    ("Split", [(2, 6)], {"axis": 1, "split": (2, 3)}, 2, r"6 elements cannot be split into 2 parts of sizes \[2, 3\]"),
    ("Split", [(2, 6)], {"axis": 1, "split": (6,)}, 2, r"into 2 parts of sizes \[6\]"),
    ("Split", [(2, 2)], {"axis": 1}, 4, r"2 elements cannot be split into 4 parts"),
    ("Split", [(2, 6)], {"axis": -3}, 2, r"axis -3 does not exist"),
])
def test_errors(op, shapes, attrs, outputs, message):
    with pytest.raises(ShapeError, match=message):
        build(op, {f"x{i}": np.zeros(s, np.float32) for i, s in enumerate(shapes)}, attrs, outputs)
