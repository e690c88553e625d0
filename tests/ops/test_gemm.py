"""Gemm and MatMul, which are simplified to convolutions: products, gradients and what becomes of the graph."""

import itertools

import numpy as np
import pytest
from helpers import assert_close, build, every_isa, gradients, numeric_gradient, run_gradient, run_optimised

from edgecnn.errors import ShapeError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import TensorSpec

rng = np.random.default_rng(11)


def numbers(*shape):
    return rng.normal(size=shape).astype(np.float32)


def gemm(a, b, c=None, alpha=1.0, beta=1.0, transA=0, transB=0):
    a, b = (np.asarray(v, np.float64) for v in (a, b))
    y = alpha * (a.T if transA else a) @ (b.T if transB else b)
    return y if c is None else y + beta * np.asarray(c, np.float64)


def layer(op, attrs, x, **weights):
    """A graph op(x, *weights) with the weights as parameters."""
    g = Graph(inputs={"x": TensorSpec(x.shape)}, params=dict(weights))
    g.specs.update(g.inputs)
    g.outputs = [g.emit(op, ["x", *weights], **attrs)]
    return g


@every_isa
@pytest.mark.parametrize("transA, transB", list(itertools.product((0, 1), (0, 1))))
@pytest.mark.parametrize("alpha, beta", [(1.0, 1.0), (0.5, -2.0), (1.0, 0.0), (3.0, 1.0)])
@pytest.mark.parametrize("c_shape", [None, (), (1,), (7,), (1, 7), (5, 7), (5, 1)], ids=str)
def test_gemm(isa, transA, transB, alpha, beta, c_shape, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    attrs = {"alpha": alpha, "beta": beta, "transA": transA, "transB": transB}
    a, b = numbers(*((13, 5) if transA else (5, 13))), numbers(*((7, 13) if transB else (13, 7)))
    weights = {"b": b} if c_shape is None else {"b": b, "c": np.asarray(numbers(*c_shape))}
    g = layer("Gemm", attrs, a, **weights)
    (y,) = run_optimised(g, {"x": a})
    assert_close(y, gemm(a, *weights.values(), **attrs))


@pytest.mark.parametrize("transA, transB", list(itertools.product((0, 1), (0, 1))))
@pytest.mark.parametrize("alpha, beta, c_shape", [(1.0, 1.0, (4,)), (2.0, -0.5, (1, 4)), (1.0, 2.0, (3, 1)),
                                                  (1.0, 3.0, (4,)), (1.0, 1.0, (1,)), (1.0, 1.0, ())], ids=str)
def test_gemm_gradient(transA, transB, alpha, beta, c_shape):
    attrs = {"alpha": alpha, "beta": beta, "transA": transA, "transB": transB}
    values = {"x": numbers(*((6, 3) if transA else (3, 6))), "b": numbers(*((4, 6) if transB else (6, 4))),
              "c": np.asarray(numbers(*c_shape))}
    dy = numbers(3, 4)
    got = gradients(layer("Gemm", attrs, values["x"], b=values["b"], c=values["c"]), {"x": values["x"]}, dy)
    for name, value in values.items():
        want = numeric_gradient(lambda v, name=name: gemm(*({**values, name: v}).values(), **attrs) * dy, value)
        assert_close(got[name], want)


def test_gemm_of_one_output_feature():
    """Then the shapes (1,), (N,) and (1, N) of C are the same."""
    for c in (numbers(1), numbers(1, 1), np.asarray(numbers()), numbers(5, 1)):
        a, b = numbers(5, 3), numbers(3, 1)
        assert_close(run_optimised(layer("Gemm", {}, a, b=b, c=c), {"x": a})[0], gemm(a, b, c))


@every_isa
@pytest.mark.parametrize("view", ["Flatten", "Reshape"])
@pytest.mark.parametrize("transB", [0, 1])
def test_a_flattened_picture_is_not_copied(isa, view, transB, monkeypatch):
    """Conv with a kernel as large as the picture reads the picture where it lies, and its gradient is right."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, dy = numbers(2, 6, 3, 4), numbers(2, 5)
    w, b = numbers(*((5, 72) if transB else (72, 5))), numbers(5)
    g = Graph(inputs={"x": TensorSpec(x.shape)}, params={"w": w, "b": b})
    g.specs.update(g.inputs)
    flat = g.emit(view, [g.emit("Relu", ["x"])], **({"shape": (0, -1)} if view == "Reshape" else {}))
    g.outputs = [g.emit("Gemm", [flat, "w", "b"], transB=transB)]
    optimised = optimise(specialise(g, {"x": x.shape}))
    (conv,) = [n for n in optimised.nodes if n.op == "Conv"]
    assert optimised.spec(conv.inputs[0]).shape == x.shape and optimised.spec(conv.inputs[1]).shape == (5, 6, 3, 4)
    copies = [s.args["x"].view.size for s in Plan(optimised, 1).steps if s.kernel == "copy"]
    assert x.size not in copies and w.size not in copies

    def forward(x, w):
        return gemm(np.maximum(x, 0).reshape(2, 72), w, b, transB=transB)

    assert_close(run_optimised(g, {"x": x})[0], forward(x, w))
    got = gradients(g, {"x": x}, dy)
    assert_close(got["x"], numeric_gradient(lambda v: forward(v, w) * dy, x))
    assert_close(got["w"], numeric_gradient(lambda v: forward(x, v) * dy, w))
    assert_close(got["b"], dy.sum(0))


def test_a_flattened_value_with_other_readers():
    """The first reader takes the picture, another one the rows; a reshape that mixes pictures is no flattening."""
    x, w, v = numbers(2, 3, 2, 2), numbers(4, 12), numbers(4, 6)
    g = Graph(inputs={"x": TensorSpec(x.shape)}, params={"w": w, "v": v})
    g.specs.update(g.inputs)
    flat = g.emit("Flatten", [g.emit("Relu", ["x"])])
    mixed = g.emit("Reshape", [flat], shape=(4, 6))
    g.outputs = [g.emit("Gemm", [flat, "w"], transB=1), g.emit("Sigmoid", [flat]), g.emit("Gemm", [mixed, "v"], transB=1)]
    relu = np.maximum(x, 0).astype(np.float64)
    for got, want in zip(run_optimised(g, {"x": x}), (
            gemm(relu.reshape(2, 12), w.T), 1 / (1 + np.exp(-relu.reshape(2, 12))), gemm(relu.reshape(4, 6), v.T)),
            strict=True):
        assert_close(got, want)


@every_isa
@pytest.mark.parametrize("a_shape", [(5, 13), (2, 3, 13), (2, 3, 4, 13), (13,), (2, 1, 1, 13)], ids=str)
def test_matmul(isa, a_shape, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    a, b = numbers(*a_shape), numbers(13, 7)
    g = layer("MatMul", {}, a, b=b)
    assert_close(run_optimised(g, {"x": a})[0], a.astype(np.float64) @ b)
    dy = numbers(*a_shape[:-1], 7)
    got = gradients(g, {"x": a}, dy)
    assert_close(got["x"], numeric_gradient(lambda v: v @ b.astype(np.float64) * dy, a))
    assert_close(got["b"], numeric_gradient(lambda v: a.astype(np.float64) @ v * dy, b))


@every_isa
@pytest.mark.parametrize("first, second", [
    ((2, 5, 13), (2, 13, 7)), ((2, 3, 5, 13), (2, 3, 13, 7)), ((2, 3, 5, 13), (3, 13, 7)), ((5, 13), (2, 13, 7)),
    ((2, 1, 5, 13), (1, 3, 13, 7)), ((2, 5, 13), (1, 13, 7)), ((13,), (2, 13, 7)), ((2, 3, 5, 13), (13,)), ((13,), (13,)),
    ((13,), (13, 7)), ((2, 5, 1), (2, 1, 40))], ids=str)
def test_products_of_many_matrices(isa, first, second, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    feeds = {"a": numbers(*first), "b": numbers(*second)}
    wide = {k: v.astype(np.float64) for k, v in feeds.items()}
    want = np.matmul(*wide.values())
    g = build("MatMul", feeds)
    assert_close(run_optimised(g, feeds)[0], want)
    dy = np.asarray(rng.normal(size=want.shape), np.float32)
    for name, got in gradients(build("MatMul", feeds), feeds, dy).items():
        assert_close(got, numeric_gradient(lambda v, name=name: dy * np.matmul(*{**wide, name: v}.values()), feeds[name]))


def test_many_matrices_within_a_network():
    """Attention: values that lie channels-last and a transposed one."""
    x = numbers(2, 4, 6, 5)
    g = Graph(inputs={"x": TensorSpec(x.shape)})
    g.specs.update(g.inputs)
    r = g.emit("Relu", ["x"])
    g.outputs = [g.emit("MatMul", [r, g.emit("Transpose", [r], perm=(0, 1, 3, 2))])]
    relu = np.maximum(x, 0).astype(np.float64)
    runs = [run_optimised(g, {"x": x}, threads=t)[0] for t in (1, 2, 3)]
    assert_close(runs[0], relu @ relu.swapaxes(2, 3))
    assert len({y.tobytes() for y in runs}) == 1


@pytest.mark.parametrize("op, attrs", [("Gemm", {}), ("Gemm", {"transB": 1, "alpha": 0.5}), ("MatMul", {})])
@pytest.mark.parametrize("picture", [False, True])
def test_a_batch_norm_behind_it_is_folded(op, attrs, picture):
    x = numbers(4, 3, 2, 2) if picture else numbers(4, 12)
    w, b = numbers(*((5, 12) if attrs.get("transB") else (12, 5))), numbers(5)
    statistics = {"scale": numbers(5), "shift": numbers(5), "mean": numbers(5), "var": numbers(5)**2 + 0.5}
    g = Graph(inputs={"x": TensorSpec(x.shape)}, constants={"w": w, "b": b, **statistics})
    g.specs.update(g.inputs)
    y = g.emit("Flatten", ["x"]) if picture else "x"
    y = g.emit("Gemm", [y, "w", "b"], **attrs) if op == "Gemm" else g.emit("Add", [g.emit("MatMul", [y, "w"]), "b"])
    g.outputs = [g.emit("Relu", [g.emit("BatchNormalization", [y, *statistics])])]
    optimised = optimise(specialise(g, {"x": x.shape}))
    assert [n.op for n in optimised.nodes if n.op not in ("Reshape", "Transpose")] == ["Conv"]
    scale, shift, mean, var = (v.astype(np.float64) for v in statistics.values())
    z = gemm(x.reshape(4, 12), w, b, **attrs)
    assert_close(run_optimised(g, {"x": x})[0], np.maximum((z - mean) / np.sqrt(var + 1e-5) * scale + shift, 0))


@pytest.mark.parametrize("op, attrs", [("Gemm", {"transB": 1}), ("Gemm", {}), ("MatMul", {})])
def test_the_second_factor_may_be_data(op, attrs):
    a, b = numbers(5, 13), numbers(*((7, 13) if attrs else (13, 7)))
    g = build(op, {"a": a, "b": b}, attrs)
    assert_close(run_optimised(g, {"a": a, "b": b})[0], gemm(a, b, **attrs))


def test_threads_do_not_matter():
    x, w, b = numbers(16, 32, 7, 7), numbers(200, 32 * 49), numbers(200)
    g = Graph(inputs={"x": TensorSpec(x.shape)}, params={"w": w, "b": b})
    g.specs.update(g.inputs)
    g.outputs = [g.emit("Gemm", [g.emit("Flatten", [g.emit("Relu", ["x"])]), "w", "b"], transB=1)]
    one, two, three = (run_optimised(g, {"x": x}, threads=n)[0].tobytes() for n in (1, 2, 3))
    assert one == two == three


@pytest.mark.parametrize("op, shapes, attrs, error, message", [
    ("Gemm", [(2, 3, 4), (4, 5)], {}, ShapeError, r"must be matrices; flatten"),
    ("Gemm", [(2, 3), (4, 5)], {}, ShapeError, r"3 features.*take 4; the pictures have another size"),
    ("Gemm", [(2, 3), (3, 5)], {"transB": 1}, ShapeError, r"3 features.*take 5"),
    ("Gemm", [(2, 3), (3, 5), (4,)], {}, ShapeError, r"\(4,\), \(2, 5\) cannot be broadcast"),
    ("Gemm", [(2, 3), (3, 5), (1, 2, 5)], {}, ShapeError, r"C \(1, 2, 5\) cannot be broadcast"),
    ("Gemm", [(1, 3), (3, 5), (2, 5)], {}, ShapeError, r"C \(2, 5\) cannot be broadcast.*\(1, 5\)"),
    ("MatMul", [(2, 3), (4, 5)], {}, ShapeError, r"\(2, 3\) times \(4, 5\): the columns of the first do not meet"),
    ("MatMul", [(2, 3, 4), (3, 4, 5)], {}, ShapeError, r"shapes \(2,\), \(3,\) cannot be broadcast"),
    ("MatMul", [(), (4, 5)], {}, ShapeError, r"the columns of the first do not meet"),
])
def test_errors(op, shapes, attrs, error, message):
    with pytest.raises(error, match=message):
        build(op, {f"x{i}": np.zeros(s, np.float32) for i, s in enumerate(shapes)}, attrs)


def test_gemm_has_no_gradient_before_it_is_simplified():
    with pytest.raises(NotImplementedError):
        run_gradient("Gemm", {"a": numbers(2, 3), "b": numbers(3, 4)}, {}, numbers(2, 4))
