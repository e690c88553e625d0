"""Shape arithmetic is done when a plan is compiled; simplification and errors of operators that move elements."""

import numpy as np
import pytest
from helpers import assert_close, build, run_graph, run_op, run_optimised

from edgecnn.errors import DTypeError, ModelError, ShapeError, UnsupportedError
from edgecnn.graph.autodiff import differentiate
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import Node, TensorSpec, get_op

rng = np.random.default_rng(4)


def numbers(*shape):
    return rng.normal(size=shape).astype(np.float32)


def free(*shape):
    """A graph with an input x of which some sizes are None: nothing is inferred yet."""
    return Graph(inputs={"x": TensorSpec(shape)})


def evaluate(op, *arrays, **attrs):
    (result,) = get_op(op).evaluate(Node(op, ["x"], ["y"], attrs), *arrays)
    return result


def optimised(g, **shapes):
    return optimise(specialise(g, shapes or {k: s.shape for k, s in g.inputs.items()}))


def test_flatten_as_exporters_write_it():
    """Shape -> Gather -> Unsqueeze -> Concat -> Reshape leaves one reshape, for any batch."""
    g = free(None, 3, 2, 2)
    n = g.emit("Gather", [g.emit("Shape", ["x"]), g.constant(np.array(0))], axis=0)
    n = g.emit("Unsqueeze", [n, g.constant(np.array([0]))])
    wanted = g.emit("Concat", [n, g.constant(np.array([-1]))], axis=0)
    g.outputs = [g.emit("Reshape", [g.emit("Relu", ["x"]), wanted])]
    for batch in (1, 4):
        x = numbers(batch, 3, 2, 2)
        assert [n.op for n in optimised(g, x=x.shape).nodes] == ["Relu", "Reshape"]
        np.testing.assert_array_equal(run_optimised(g, {"x": x})[0], np.maximum(x, 0).reshape(batch, 12))


def test_shape_arithmetic_of_other_operators():
    """Size, Range, ConstantOfShape, Expand, Cast, Slice and Split follow from the input's shape too."""
    g = free(None, 3)
    shape = g.emit("Shape", ["x"])
    rows, columns = g.emit("Split", [shape], 2, axis=0)
    count = g.emit("Range", [g.constant(np.array(0)), g.emit("Squeeze", [rows]), g.constant(np.array(1))])
    column = g.emit("Unsqueeze", [g.emit("Cast", [count], to=1), g.constant(np.array([1]))])
    ones = g.emit("ConstantOfShape", [shape], value=np.ones(1, np.float32))
    size = g.emit("Cast", [g.emit("Size", ["x"])], to=1)
    last = g.emit("Slice", [shape], starts=(1,), ends=(2,))
    row = g.emit("Expand", [size, last])
    terms = [g.emit("Mul", [ones, column]), row, g.emit("Cast", [columns], to=1)]
    y = "x"
    for term in terms:
        y = g.emit("Add", [y, term])
    g.outputs = [y]
    x = numbers(4, 3)
    specialised = specialise(g, {"x": x.shape})
    assert {n.op for n in specialised.nodes} == {"Add"}
    assert_close(run_graph(g, {"x": x})[0], x + np.arange(4)[:, None] + 12 + 3)


def test_values():
    np.testing.assert_array_equal(evaluate("Shape", np.zeros((2, 3, 4)), start=-2, end=9), [3, 4])
    assert evaluate("Size", np.zeros((2, 3, 4))) == 24
    np.testing.assert_array_equal(evaluate("Range", start=np.array(5), limit=np.array(-2), delta=np.array([-3])), [5, 2, -1])
    assert evaluate("Range", start=np.float32(0), limit=np.float32(1), delta=np.float32(0.5)).dtype == np.float32
    np.testing.assert_array_equal(evaluate("ConstantOfShape", input=np.array([2, 1])), np.zeros((2, 1), np.float32))
    filled = evaluate("ConstantOfShape", input=np.array([], np.int64), value=np.array([7]))
    assert filled.shape == () and filled == 7 and filled.dtype == np.int64


@pytest.mark.parametrize("to, dtype", [(1, "float32"), (11, "float32"), (10, "float32"), (7, "int64"), (6, "int32"),
                                       (9, "bool")])
def test_cast_of_constants(to, dtype):
    x = np.array([0.0, 2.9, -2.9])
    result = evaluate("Cast", x, to=to)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, x.astype(dtype))


def test_cast_between_floats_is_nothing():
    x = numbers(2, 3)
    np.testing.assert_array_equal(run_op("Cast", {"x": x}, {"to": 11})[0], x)
    g = free(2, 3)
    g.outputs = [g.emit("Relu", [g.emit("Cast", ["x"], to=10)])]
    assert [n.op for n in optimised(g).nodes] == ["Relu"]
    assert "cast to ONNX data type 8" in get_op("Cast").unsupported(Node("Cast", ["x"], ["y"], {"to": 8}))
    with pytest.raises(UnsupportedError, match="casting data from float32 to int64"):
        build("Cast", {"x": x}, {"to": 7})


def test_one_index_is_a_view_and_several_are_copied():
    x = numbers(2, 3, 4, 5)
    for indices, copies in ((np.array(1), 1), (np.array([2]), 1), (np.array([2, 0]), 3)):
        g = build("Gather", {"x": x}, {"axis": 1, "indices": indices})
        g.outputs = [g.emit("Tanh", [g.outputs[0]])]
        (got,) = run_graph(g, {"x": x})
        assert_close(got, np.tanh(np.take(x, indices, 1)), 1e-6)
        steps = Plan(specialise(g, {"x": x.shape}), 1).steps
        assert sum(s.kernel == "copy" for s in steps) == copies  # one is the output's


def test_gather_has_no_gradient():
    g = free(2, 3)
    g.specs.update(g.inputs)
    total = g.emit("ReduceSum", [g.emit("Gather", ["x"], indices=np.array([0]))], keepdims=0)
    loss = g.emit("Reshape", [total], shape=(1,))
    with pytest.raises(UnsupportedError, match=r"Gather\(gather\) has no gradient.*freeze"):
        differentiate(g, loss, ["x"])


@pytest.mark.parametrize("op, attrs, plain", [
    ("Identity", {}, "Identity"), ("Dropout", {}, "Dropout"), ("Cast", {"to": 1}, "Cast"),
    ("Reshape", {"shape": (0, -1)}, "Reshape"), ("Transpose", {"perm": (0, 1)}, "Transpose"),
    ("Concat", {"axis": 0}, "Concat"), ("Pad", {"pads": (0, 0, 0, 0)}, "Pad"), ("Flatten", {}, "Identity"),
    ("Squeeze", {"axes": ()}, "Identity"),
])
def test_operators_that_do_nothing(op, attrs, plain):
    """They vanish between others; not when the input or two outputs of the network are joined by them."""
    x = numbers(2, 3)
    tanh = np.tanh(x)
    g = free(2, 3)
    y = g.emit(op, [g.emit("Tanh", ["x"])], **attrs)
    g.outputs = [g.emit("Relu", [y])]
    assert [n.op for n in optimised(g).nodes] == ["Tanh", "Relu"]
    g.outputs = [y]
    assert [n.op for n in optimised(g).nodes] == ["Tanh"]
    assert_close(run_optimised(g, {"x": x})[0], tanh, 1e-6)
    g.outputs = [g.nodes[0].outputs[0], y]
    assert [n.op for n in optimised(g).nodes] == ["Tanh", plain]
    for got in run_optimised(g, {"x": x}):
        assert_close(got, tanh, 1e-6)
    alone = free(2, 3)
    alone.outputs = [alone.emit(op, ["x"], **attrs)]
    assert [n.op for n in optimised(alone).nodes] == [plain]
    np.testing.assert_array_equal(run_optimised(alone, {"x": x})[0], x)


def test_chains_of_views_become_one():
    x = numbers(2, 3, 4, 5)
    g = free(2, 3, 4, 5)
    y = g.emit("Relu", ["x"])
    y = g.emit("Transpose", [g.emit("Transpose", [y], perm=(0, 2, 3, 1))], perm=(2, 0, 1, 3))
    y = g.emit("Flatten", [g.emit("Unsqueeze", [g.emit("Reshape", [y], shape=(5, 2, -1))], axes=(1,))], axis=2)
    g.outputs = [y]
    assert [n.op for n in optimised(g).nodes] == ["Relu", "Transpose", "Reshape"]
    want = np.maximum(x, 0).transpose(0, 2, 3, 1).transpose(2, 0, 1, 3).reshape(5, 24)
    np.testing.assert_array_equal(run_optimised(g, {"x": x})[0], want)


def test_there_and_back_again_is_nothing():
    """A network kept channels-last by TensorFlow's exporter."""
    g = free(2, 3, 4, 5)
    y = g.emit("Transpose", [g.emit("Relu", ["x"])], perm=(0, 2, 3, 1))
    g.outputs = [g.emit("Tanh", [g.emit("Transpose", [y], perm=(0, 3, 1, 2))])]
    assert [n.op for n in optimised(g).nodes] == ["Relu", "Tanh"]


@pytest.mark.parametrize("op, attrs", [
    ("Concat", {"axis": 0}), ("Pad", {"pads": (1, 0)}), ("Gather", {"indices": np.array([0, 1])}),
    ("Expand", {"shape": (2, 3)}), ("Tile", {"repeats": (2,)}),
])
def test_integers_are_not_moved_at_run_time(op, attrs):
    with pytest.raises(DTypeError, match=rf"{op}.*'x' is int64; {op} computes float32"):
        run_op(op, {"x": np.arange(3)}, attrs)


@pytest.mark.parametrize("op, attrs, want", [("Reshape", {"shape": (3, 1)}, [[0], [1], [2]]),
                                             ("Slice", {"starts": (1,), "ends": (3,)}, [1, 2])])
def test_integers_keep_their_type(op, attrs, want):
    g = build(op, {"x": np.arange(3)}, attrs)
    assert g.spec(g.outputs[0]).dtype == "int64"
    (array,) = get_op(op).evaluate(g.nodes[0], np.arange(3))
    np.testing.assert_array_equal(array, want)


def test_a_static_input_must_not_depend_on_data():
    g = Graph(inputs={"x": TensorSpec((2, 3)), "shape": TensorSpec((1,), "int64")})
    g.outputs = [g.emit("Reshape", ["x", "shape"])]
    with pytest.raises(UnsupportedError, match=r"'shape'.*depends on the data"):
        specialise(g, {"x": (2, 3), "shape": (1,)})


@pytest.mark.parametrize("op, attrs, error, message", [
    ("Reshape", {"shape": (4, -1)}, ShapeError, r"6 elements of shape \(2, 3\) do not fit into shape \[4, -1\]"),
    ("Reshape", {"shape": (-1, -1)}, ShapeError, r"do not fit into shape \[-1, -1\]"),
    ("Reshape", {"shape": (-2, -3)}, ShapeError, r"do not fit into shape \[-2, -3\]"),
    ("Reshape", {"shape": (0, 3), "allowzero": 1}, ShapeError, r"do not fit into shape \[0, 3\]"),
    ("Reshape", {"shape": (2, 3, 0)}, ShapeError, r"shape \[2, 3, 0\] keeps an axis that the input \(2, 3\) has not"),
    ("Reshape", {}, ModelError, r"attribute 'shape' is missing"),
    ("Flatten", {"axis": 3}, ShapeError, r"axis 3 does not exist, allowed are -2 to 1"),
    ("Flatten", {"axis": -3}, ShapeError, r"axis -3 does not exist"),
    ("Squeeze", {"axes": (0,)}, ShapeError, r"axes \[0\] of shape \(2, 3\) are not all of size 1"),
    ("Squeeze", {"axes": (2,)}, ShapeError, r"axis 2 does not exist"),
    ("Unsqueeze", {"axes": (0, -4)}, ShapeError, r"axes \[0, -4\] name a place twice"),
    ("Unsqueeze", {"axes": (3,)}, ShapeError, r"axis 3 does not exist, allowed are -3 to 2"),
    ("Transpose", {"perm": (0, 0)}, ShapeError, r"perm \[0, 0\] is no permutation of the 2 axes of \(2, 3\)"),
    ("Transpose", {"perm": (0, -1)}, ShapeError, r"perm \[0, -1\] is no permutation"),
    ("Slice", {"starts": (0, 1), "ends": (1,)}, ShapeError, r"starts \[0, 1\], ends \[1\].*do not fit together"),
    ("Slice", {"starts": (0,), "ends": (1,), "steps": (0,)}, ShapeError, r"steps \[0\] do not fit together"),
    ("Slice", {"starts": (0,), "ends": (1,), "axes": (2,)}, ShapeError, r"axis 2 does not exist"),
    ("Gather", {"indices": np.array([0, 2])}, ShapeError, r"indices from 0 to 2 on axis 0, allowed are -2 to 1"),
    ("Gather", {"indices": np.array([0]), "axis": 2}, ShapeError, r"axis 2 does not exist"),
    ("Expand", {"shape": (2, 4)}, ShapeError, r"\(2, 3\), \(2, 4\) cannot be broadcast"),
    ("Tile", {"repeats": (2,)}, ShapeError, r"repeats \[2\].*needed 2 numbers of at least 1"),
    ("Tile", {"repeats": (2, 0)}, ShapeError, r"repeats \[2, 0\]"),
])
def test_errors(op, attrs, error, message):
    with pytest.raises(error, match=message):
        build(op, {"x": np.zeros((2, 3), np.float32)}, attrs)
