"""Add, Sub, Mul, Div with broadcasting, against float64."""

import numpy as np
import pytest

from edgecnn.errors import DTypeError, ModelError, ShapeError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import Node, TensorSpec, get_op
from edgecnn.ops.identity import Identity
from tests.helpers import (
    assert_close,
    build,
    every_isa,
    numeric_gradient,
    run_gradient,
    run_graph,
    run_op,
    run_optimised,
)

FUNCTIONS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
SHAPES = [
    ((1,), (1,)), ((37,), (37,)), ((3, 5), (5,)), ((4, 7), (4, 1)), ((5, 1), (1, 6)),
    ((2, 3, 5, 7), (2, 3, 5, 7)), ((2, 19, 5, 7), (19, 1, 1)), ((2, 19, 5, 7), (2, 19, 1, 1)),
    ((2, 19, 5, 7), ()),
    ((2, 33, 5, 7), (1,)), ((2, 3, 5, 7), (7,)), ((2, 3, 5, 7), (5, 7)), ((2, 3, 5, 7), (2, 1, 5, 1)),
    ((3, 1, 5, 1), (1, 4, 1, 7)), ((1, 1, 1), (2, 3, 4)), ((2, 3, 4, 5, 2, 3), (3, 1, 5, 1, 3)), ((), ()),
]
every_op = pytest.mark.parametrize("op", FUNCTIONS)
every_shape = pytest.mark.parametrize("first, second", SHAPES + [s[::-1] for s in SHAPES if s[0] != s[1]])
both_places = pytest.mark.parametrize("within", [False, True])


def values(shape, seed):
    """Away from 0, where Div would magnify rounding."""
    r = np.random.default_rng(seed)
    return (r.uniform(0.5, 2, shape) * r.choice([-1, 1], shape)).astype(np.float32)


def sum_to(x, shape):
    lead = x.ndim - len(shape)
    axes = tuple(a for a in range(x.ndim) if a < lead or shape[a - lead] != x.shape[a])
    return x.sum(axes, keepdims=True).reshape(shape)


def backward(op, a, b, dy):
    a, b, dy = (v.astype(np.float64) for v in (a, b, dy))
    da = {"Add": dy, "Sub": dy, "Mul": dy * b, "Div": dy / b}[op]
    db = {"Add": dy, "Sub": -dy, "Mul": dy * a, "Div": -dy * a / b**2}[op]
    return sum_to(da, a.shape), sum_to(db, b.shape)


@every_op
def test_reference_gradient(op):
    a, b = values((2, 3, 4), 0), values((3, 1), 1)
    dy = values((2, 3, 4), 2).astype(np.float64)
    da, db = backward(op, a, b, dy)
    np.testing.assert_allclose(da, numeric_gradient(lambda v: dy * FUNCTIONS[op](v, b), a), atol=1e-7)
    np.testing.assert_allclose(db, numeric_gradient(lambda v: dy * FUNCTIONS[op](a, v), b), atol=1e-7)


@every_isa
@every_op
@every_shape
@both_places
def test_forward_and_gradient(monkeypatch, isa, op, first, second, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    a, b = values(first, 0), values(second, 1)
    want = FUNCTIONS[op](a, b)
    (c,) = run_op(op, {"a": a, "b": b}, within=within)
    assert c.shape == want.shape
    assert c.tobytes() == np.asarray(want).tobytes()  # one rounding: exactly what numpy has
    dy = values(want.shape, 2)
    grads = run_gradient(op, {"a": a, "b": b}, {}, dy, within=within)
    for got, ref in zip(grads, backward(op, a, b, dy), strict=True):
        assert_close(got, ref, 1e-6)


@every_op
def test_only_needed_gradients(op):
    a, b = values((2, 3), 0), values((3,), 1)
    for needs in ([True, False], [False, True]):
        grads = run_gradient(op, {"a": a, "b": b}, {}, a, needs=needs)
        assert [g is not None for g in grads] == needs


@every_isa
@every_op
@pytest.mark.parametrize("first, second", [
    ((2, 19, 61, 37), (2, 19, 61, 37)), ((2, 19, 61, 37), (19, 1, 1)), ((50_001,), (50_001,)),
    ((3, 20_000), (3, 1)), ((2, 3, 61, 37), (3, 1, 1))])
def test_threads_do_not_change_a_bit(monkeypatch, isa, op, first, second):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    a, b = values(first, 0), values(second, 1)
    runs = []
    for threads in (1, 2, 3):
        results = run_op(op, {"a": a, "b": b}, threads=threads, within=True)
        results += run_gradient(op, {"a": a, "b": b}, {}, a, threads=threads, within=True)
        runs.append([r.tobytes() for r in results])
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] == FUNCTIONS[op](a, b).tobytes()


@every_op
def test_special_values(op):
    special = np.float32([0, -0.0, 1, -2, np.inf, -np.inf, np.nan])
    a, b = (v.ravel() for v in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run_op(op, {"a": a, "b": b})[0], FUNCTIONS[op](a, b))


def graph(shapes, build_nodes):
    g = Graph(inputs={k: TensorSpec(s) for k, s in shapes.items()})
    g.specs.update(g.inputs)
    g.outputs = build_nodes(g)
    return g


@pytest.mark.parametrize("over", [0, 1])
def test_in_place_over_either_operand(over):
    """One operand is read later, the other's memory is reused."""
    def nodes(g):
        x, y = g.emit("Relu", ["x"]), g.emit("Tanh", ["y"])
        c = g.emit("Sub", [x, y])
        return [g.emit("Mul", [c, (x, y)[1 - over]])]
    shape = (2, 16, 8, 8)
    g = graph({"x": shape, "y": shape}, nodes)
    x, y = values(shape, 0), values(shape, 1)
    r, t = np.maximum(x, 0), np.tanh(y)
    plan = Plan(g, 1)
    assert_close(plan.run(x, y)[0], (r - t) * (r, t)[1 - over], 1e-6)
    assert plan.arena_bytes == 2 * 4 * 2 * 16 * 8 * 8


def test_never_over_memory_that_the_other_operand_reads_elsewhere(monkeypatch):
    """One operand is the transpose of the other, a view of the same memory."""
    monkeypatch.setattr(Identity, "lower", lambda _, ctx, node: ctx.alias(
        node.outputs[0], ctx.input(node.inputs[0]).transpose((0, 1, 3, 2))))
    x = values((2, 5, 9, 9), 0)

    def nodes(g):
        y = g.emit("Scale", ["x"], factor=1.0)
        return [g.emit("Sub", [y, g.emit("Identity", [y])])]
    assert_close(run_graph(graph({"x": x.shape}, nodes), {"x": x})[0], x - x.transpose(0, 1, 3, 2), 0)


def test_a_value_with_itself():
    x, dy = values((2, 17, 3, 5), 0), values((2, 17, 3, 5), 1)

    def nodes(g):
        r = g.emit("Scale", ["x"], factor=1.0)
        return [g.emit("Mul", [r, r])]
    g = graph({"x": x.shape}, nodes)
    assert_close(run_graph(g, {"x": x})[0], x * x, 0)
    g.inputs["dy"] = g.specs["dy"] = TensorSpec(dy.shape)
    g.outputs = list(get_op("Mul").gradient(g, g.nodes[-1], ["dy"], [True, True]))
    assert_close(sum(run_graph(g, {"x": x, "dy": dy})), 2 * x * dy, 1e-6)


def test_integer_division_truncates():
    a = np.array([7, -7, 7, -7, 6, -6, 2**62 + 1, 0], np.int64)
    b = np.array([2, 2, -2, -2, 3, 3, 1, 5], np.int64)
    (got,) = get_op("Div").evaluate(Node("Div", ["a", "b"], ["c"]), a, b)
    assert got.dtype == np.int64 and got.tolist() == [3, -3, -3, 3, 2, -2, 2**62 + 1, 0]
    with pytest.raises(ModelError, match="integer division by zero"):
        get_op("Div").evaluate(Node("Div", ["a", "b"], ["c"]), a, a)


@every_op
def test_constants_are_folded(op):
    for a, b in ((np.array([12, -5], np.int64), np.int64(4)), (np.float32([8, 6]), np.float32(2))):
        g = specialise(build(op, {}, constants={"a": np.asarray(a), "b": np.asarray(b)}), {})
        want = np.trunc(FUNCTIONS[op](a, b)).astype(a.dtype)
        assert not g.nodes
        got = g.constants[g.outputs[0]]
        assert got.dtype == want.dtype and got.tolist() == want.tolist()


@every_op
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("x, c", [((2, 5, 3, 4), (5, 1, 1)), ((2, 5, 3, 4), (1, 5, 1, 1)), ((2, 5, 3, 4), ()),
                                  ((2, 5, 3, 4), (1,)), ((2, 5), (5,)), ((2, 5), (1, 5)), ((2, 5), (1,))])
def test_channel_affine_is_the_node(op, swap, x, c):
    x, c = values(x, 0), values(c, 1)
    g = build(op, {"x": x}, constants={"c": c})
    node = g.nodes[0]
    node.inputs = node.inputs[::-1] if swap else node.inputs
    found = get_op(op).as_channel_affine(g, node)
    if op == "Div" and swap:
        assert found is None
        return
    scale, shift = (v.reshape(1, -1, *(1,) * (x.ndim - 2)) for v in found)
    assert scale.dtype == shift.dtype == np.float64 and scale.size == shift.size == 5
    np.testing.assert_allclose(x * scale + shift, FUNCTIONS[op](*((c, x) if swap else (x, c))), rtol=1e-6)


@every_op
@pytest.mark.parametrize("x, c", [
    ((2, 5, 3, 4), (4,)), ((2, 5, 3, 4), (2, 5, 1, 1)), ((2, 1, 3, 4), (5, 1, 1)),
    ((2, 5, 3, 4), (1, 1, 5, 1, 1)), ((5,), (5,)), ((2, 5), (2, 5))])
def test_other_constants_are_no_channel_affine(op, x, c):
    g = build(op, {"x": values(x, 0)}, constants={"c": values(c, 1)})
    assert get_op(op).as_channel_affine(g, g.nodes[0]) is None


def test_division_by_zero_is_no_channel_affine():
    g = build("Div", {"x": values((2, 3), 0)}, constants={"c": np.float32([1, 0, 2])})
    assert get_op("Div").as_channel_affine(g, g.nodes[0]) is None


def test_residual_add_joins_computed_values_of_one_shape():
    g = Graph(inputs={"x": TensorSpec((2, 3)), "y": TensorSpec((2, 3)), "z": TensorSpec((3,))},
              params={"p": np.zeros((2, 3), np.float32)})
    g.specs.update(g.inputs)
    for second, want in (("y", True), ("z", False), ("p", False)):
        g.emit("Add", ["x", second])
        assert get_op("Add").is_residual_add(g, g.nodes[-1]) is want


def test_scale_and_shift_after_a_convolution_are_folded():
    r = np.random.default_rng(0)
    x = values((2, 3, 6, 5), 0)
    g = Graph(inputs={"x": TensorSpec(x.shape)}, constants={
        "w": r.standard_normal((4, 3, 3, 3)).astype(np.float32), "b": values((4,), 1),
        "c": values((4, 1, 1), 2), "d": values((1, 4, 1, 1), 3), "e": np.array(0.5, np.float32)})
    g.specs.update(g.inputs)
    y = g.emit("Conv", ["x", "w", "b"])
    for op, value in (("Mul", "c"), ("Add", "d"), ("Div", "e"), ("Sub", "d")):
        y = g.emit(op, [y, value])
    g.outputs = [g.emit("Relu", [y])]
    (want,) = run_graph(g, {"x": x})
    optimise(g)
    assert [n.op for n in g.nodes] == ["Conv"]
    assert_close(run_graph(g, {"x": x})[0], want, 1e-5)


@every_op
@pytest.mark.parametrize("shape, axis", [((3,), 1), ((3, 5), 1), ((5, 7), -2), ((2,), 0), ((7,), 3)], ids=str)
def test_axis_of_old_opsets(op, shape, axis):
    """B begins at this axis of A."""
    a, b = values((2, 3, 5, 7), 0), values(shape, 1)
    right = b.reshape(*shape, *[1] * (4 - axis % 4 - len(shape)))
    g = build(op, {"a": a, "b": b}, {"axis": axis})
    assert_close(run_optimised(g, {"a": a, "b": b})[0], FUNCTIONS[op](a, right), 1e-6)
    folded = specialise(build(op, {}, {"axis": axis}, constants={"a": a, "b": b}), {})
    assert_close(folded.constants[folded.outputs[0]], FUNCTIONS[op](a, right), 1e-6)


def test_axis_that_leaves_no_room():
    with pytest.raises(ShapeError, match=r"\(3, 5\) does not fit into \(2, 3, 5, 7\) from axis 3 on"):
        build("Add", {"a": values((2, 3, 5, 7), 0), "b": values((3, 5), 1)}, {"axis": 3})


def test_a_bias_of_old_opsets_goes_into_the_convolution():
    """The convolution of an old file has its bias in an Add with axis 1."""
    x = values((2, 3, 6, 5), 0)
    g = Graph(inputs={"x": TensorSpec(x.shape)}, constants={"w": values((4, 3, 3, 3), 1), "b": values((4,), 2)})
    g.specs.update(g.inputs)
    z = g.emit("Conv", ["x", "w"])
    g.outputs = [g.emit("Add", [z, "b"], axis=1), z]
    y, z = run_optimised(g, {"x": x})
    assert_close(y, z + g.constants["b"][:, None, None], 1e-6)
    g.outputs.pop()
    assert [n.op for n in optimise(specialise(g, {"x": x.shape})).nodes] == ["Conv"]
    assert_close(run_optimised(g, {"x": x})[0], y, 1e-5)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"Add\(add\): shapes \(2, 3\), \(4,\) cannot be broadcast"):
        run_op("Add", {"a": values((2, 3), 0), "b": values((4,), 1)})


def test_integers_at_run_time():
    with pytest.raises(DTypeError, match="'a' is int64; Add computes float32"):
        run_op("Add", {"a": np.arange(3), "b": np.arange(3)})
