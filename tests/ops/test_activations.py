"""Activations against float64 formulas, whose derivatives are checked by finite differences."""

import math

import numpy as np
import pytest

from edgecnn.errors import ModelError, UnsupportedError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.plan import Plan
from edgecnn.ops import Node, TensorSpec, get_op
from tests.helpers import assert_close, build, every_isa, numeric_gradient, run_gradient, run_op

INF, NAN = np.inf, np.nan
ALPHA, GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # of Selu in ONNX


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def mish(x):
    return x * np.tanh(softplus(x))


def normal(x):
    return 0.5 * np.vectorize(math.erfc)(-x / np.sqrt(2))


def tanh_gelu(x):
    return np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)


erf = np.vectorize(math.erf, otypes=[np.float64])


def clamp(lo, hi):
    return lambda x: np.minimum(np.maximum(x, lo), hi), lambda x: (lo < x) & (x < hi)


# operator, attributes, y(x), dy/dx (x)
CASES = [
    ("Relu", {}, *clamp(0, INF)),
    ("Clip", {}, *clamp(-INF, INF)),
    ("Clip", {"min": 0.0, "max": 6.0}, *clamp(0, 6)),
    ("Clip", {"min": -0.5}, *clamp(-0.5, INF)),
    ("Clip", {"max": np.float32(1.5)}, *clamp(-INF, 1.5)),
    ("LeakyRelu", {}, lambda x: np.where(x >= 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    ("LeakyRelu", {"alpha": 0.3}, lambda x: np.where(x >= 0, x, 0.3 * x), lambda x: np.where(x > 0, 1, 0.3)),
    ("LeakyRelu", {"alpha": -0.5}, lambda x: np.where(x >= 0, x, -0.5 * x),
     lambda x: np.where(x > 0, 1, -0.5)),
    ("Sigmoid", {}, sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    ("Tanh", {}, np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    ("Elu", {}, lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1, np.exp(x))),
    ("Elu", {"alpha": 0.7}, lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)),
     lambda x: np.where(x > 0, 1, 0.7 * np.exp(x))),
    ("HardSigmoid", {}, lambda x: np.clip(0.2 * x + 0.5, 0, 1), lambda x: np.where(np.abs(x) < 2.5, 0.2, 0)),
    ("HardSigmoid", {"alpha": 0.5, "beta": 0.25}, lambda x: np.clip(0.5 * x + 0.25, 0, 1),
     lambda x: np.where((-0.5 < x) & (x < 1.5), 0.5, 0)),
    ("HardSwish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
     lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5))),
    ("Swish", {}, lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    ("Swish", {"alpha": 1.702}, lambda x: x * sigmoid(1.702 * x),
     lambda x: sigmoid(1.702 * x) * (1 + 1.702 * x * sigmoid(-1.702 * x))),
    ("Selu", {}, lambda x: GAMMA * np.where(x > 0, x, ALPHA * np.expm1(x)),
     lambda x: GAMMA * np.where(x > 0, 1, ALPHA * np.exp(x))),
    ("Selu", {"alpha": 2.0, "gamma": 3.0}, lambda x: np.where(x > 0, 3 * x, 6 * np.expm1(x)),
     lambda x: np.where(x > 0, 3, 6 * np.exp(x))),
    ("Celu", {}, lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1, np.exp(x))),
    ("Celu", {"alpha": 2.5}, lambda x: np.where(x > 0, x, 2.5 * np.expm1(x / 2.5)),
     lambda x: np.where(x > 0, 1, np.exp(x / 2.5))),
    ("Softplus", {}, softplus, sigmoid),
    ("Softsign", {}, lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2),
    ("ThresholdedRelu", {}, lambda x: np.where(x <= 1, 0, x), lambda x: x > 1),
    ("ThresholdedRelu", {"alpha": -1.5}, lambda x: np.where(x <= -1.5, 0, x), lambda x: x > -1.5),
    ("Mish", {}, mish, lambda x: np.tanh(softplus(x)) + x * sigmoid(x) / np.cosh(softplus(x)) ** 2),
    ("Gelu", {}, lambda x: x * normal(x), lambda x: normal(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)),
    ("Gelu", {"approximate": "tanh"}, lambda x: x * sigmoid(2 * tanh_gelu(x)), lambda x: sigmoid(2 * tanh_gelu(x)) * (
        1 + x * sigmoid(-2 * tanh_gelu(x)) * 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x))),
    ("Erf", {}, erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x)),
    ("Neg", {}, np.negative, lambda x: -np.ones_like(x)),
    ("Abs", {}, np.abs, np.sign),
]
NAMES = [f"{op}{list(attrs.values())}" for op, attrs, *_ in CASES]
every_case = pytest.mark.parametrize("op, attrs, f, df", CASES, ids=NAMES)
every_shape = pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 5, 7), (2, 33, 3, 4), (7, 1, 4)])
both_places = pytest.mark.parametrize("within", [False, True])


def values(shape, seed=0):
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@every_case
def test_reference_slope_is_the_derivative(op, attrs, f, df):
    x = np.linspace(-7.03, 7.01, 97)  # no kink among them
    np.testing.assert_allclose(df(x) * np.ones_like(x), numeric_gradient(f, x), atol=1e-6)


@every_isa
@every_case
@every_shape
@both_places
def test_forward_and_gradient(monkeypatch, isa, op, attrs, f, df, shape, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, dy = values(shape), values(shape, 1)
    (y,) = run_op(op, {"x": x}, attrs, within=within)
    assert_close(y, f(x.astype(np.float64)), 1e-6)
    (dx,) = run_gradient(op, {"x": x}, attrs, dy, within=within)
    assert_close(dx, dy * df(x.astype(np.float64)), 1e-6)


@every_isa
@pytest.mark.parametrize("op, f", [
    ("Sigmoid", sigmoid), ("Tanh", np.tanh), ("Swish", lambda x: x * sigmoid(x)),
    ("Elu", lambda x: np.where(x > 0, x, np.expm1(x))), ("Softplus", softplus), ("Erf", erf), ("Exp", np.exp)])
def test_few_ulp_everywhere(monkeypatch, isa, op, f):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    tiny = np.geomspace(1e-30, 1, 20_000)
    x = np.concatenate([np.linspace(-87, 87, 100_001), tiny, -tiny]).astype(np.float32)
    (y,) = run_op(op, {"x": x})
    want = f(x.astype(np.float64))
    normal = np.abs(want) > 1.2e-38  # smaller results are denormal: flushed to 0
    ulp = np.abs(y - want)[normal] / np.spacing(np.abs(want).astype(np.float32))[normal]
    assert ulp.max() < 5


@every_isa
@every_case
def test_special_values(monkeypatch, isa, op, attrs, f, df):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.float32([NAN, INF, -INF, 1e30, -1e30, 200, -200, 89, -89, 0, -0.0, NAN, 3, -3, 6, 1e-45, NAN])
    with np.errstate(all="ignore"):
        want = f(x.astype(np.float64))
    (y,) = run_op(op, {"x": x}, attrs)
    atol = 1e-7 if op == "Gelu" else 1e-36  # exp overflows at 88.7: Swish(-89) is 0; Gelu is 1 + erf(x), which cancels
    np.testing.assert_allclose(y, want, rtol=1e-6, atol=atol)
    assert np.isnan(y[[0, 11, 16]]).all()


@every_isa
def test_slopes_far_out(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.array([100, -100, 1000, -1000, 1e30, -1e30], np.float32)
    limits = {"Sigmoid": 0, "Tanh": 0, "HardSigmoid": 0, "Elu": 1, "Swish": 1, "HardSwish": 1}
    for op, high in limits.items():
        (dx,) = run_gradient(op, {"x": x}, {}, np.ones_like(x))
        np.testing.assert_allclose(dx, [high, 0] * 3, atol=1e-30)


def test_slope_at_the_kinks():
    x = np.array([0, -0.0, 6, -3, 3, 2.5], np.float32)
    one = np.ones_like(x)
    assert run_gradient("Relu", {"x": x}, {}, one)[0].tolist() == [0, 0, 1, 0, 1, 1]
    assert run_gradient("Clip", {"x": x}, {"min": 0.0, "max": 6.0}, one)[0].tolist() == [0, 0, 0, 0, 1, 1]
    assert run_gradient("HardSwish", {"x": x}, {}, one)[0][:5].tolist() == [0.5, 0.5, 1, 0, 1]


@every_isa
@every_case
def test_threads_do_not_change_a_bit(monkeypatch, isa, op, attrs, f, df):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    for shape in ((2, 19, 37, 23), (1, 1, 151, 173), (40_001,)):
        x, dy = values(shape), values(shape, 1)
        runs = [(run_op(op, {"x": x}, attrs, threads=t, within=True)[0].tobytes(),
                 run_gradient(op, {"x": x}, attrs, dy, threads=t, within=True)[0].tobytes())
                for t in (1, 2, 3)]
        assert runs[0] == runs[1] == runs[2]


def chain(shape, ops):
    g = Graph(inputs={"x": TensorSpec(shape)})
    g.specs.update(g.inputs)
    last, made = "x", []
    for op in ops:
        last = g.emit(op, [last])
        made.append(last)
    return g, made


def test_a_chain_needs_one_buffer():
    g, made = chain((2, 16, 8, 8), ["Relu", "Sigmoid", "Tanh", "Elu"])
    g.outputs = [made[-1]]
    assert Plan(g, 1).arena_bytes == 4 * 2 * 16 * 8 * 8


def test_a_value_read_later_is_not_overwritten():
    g, made = chain((2, 16, 8, 8), ["Relu", "Sigmoid", "Tanh"])
    g.outputs = made[::-1]
    x = values((2, 16, 8, 8))
    tanh, sigm, relu = Plan(g, 1).run(x)
    assert_close(relu, np.maximum(x, 0), 0)
    assert_close(sigm, sigmoid(np.maximum(x, 0.0).astype(np.float64)), 1e-6)
    assert_close(tanh, np.tanh(sigmoid(np.maximum(x, 0.0).astype(np.float64))), 1e-6)


def test_negative_coefficients_without_a_gradient():
    x = values((4,))
    with pytest.raises(UnsupportedError, match="gamma > 0 only, not for alpha 1.0 and gamma -2.0"):
        run_gradient("Selu", {"x": x}, {"alpha": 1.0, "gamma": -2.0}, x)
    with pytest.raises(ModelError, match="alpha is -1.0, it must be positive"):
        run_op("Celu", {"x": x}, {"alpha": -1.0})
    with pytest.raises(ModelError, match="approximate is 'cubic', allowed are"):
        run_op("Gelu", {"x": x}, {"approximate": "cubic"})


def test_clip_bounds_as_inputs():
    x = values((2, 3, 4, 5))
    bounds = {"lo": np.float32(-1), "hi": np.array([2], np.float32)}
    assert_close(run_op("Clip", {"x": x}, constants=bounds)[0], np.clip(x, -1, 2), 0)
    (dx,) = run_gradient("Clip", {"x": x}, {}, x, constants=bounds)
    assert_close(dx, np.where((x > -1) & (x < 2), x, 0), 0)


def test_clip_of_constants_is_folded():
    for x in (np.array([-3, 2, 9]), np.float32([-3, 2, 9])):
        g = specialise(build("Clip", {}, {"min": np.array(0, x.dtype)}, constants={"x": x}), {})
        got = g.constants[g.outputs[0]]
        assert got.dtype == x.dtype and got.tolist() == [0, 2, 9]


def test_clip_with_crossed_bounds_gives_max():
    x = values((9,))
    assert run_op("Clip", {"x": x}, {"min": 3.0, "max": 1.0})[0].tolist() == [1.0] * 9


def test_clip_bound_must_be_a_scalar():
    with pytest.raises(ModelError, match=r"min must be a scalar, got shape \(2,\)"):
        run_op("Clip", {"x": values((4,))}, {"min": np.zeros(2, np.float32)})


def test_elu_with_negative_alpha_has_no_gradient():
    x = values((4,))
    assert_close(run_op("Elu", {"x": x}, {"alpha": -1.0})[0], np.where(x > 0, x, -np.expm1(x)), 1e-6)
    with pytest.raises(UnsupportedError, match="alpha >= 0"):
        run_gradient("Elu", {"x": x}, {"alpha": -1.0}, x)


@pytest.mark.parametrize("op, attrs, want", [
    ("Relu", {}, (0, INF)), ("Clip", {"min": 0.0, "max": 6.0}, (0, 6)),
    ("Clip", {"max": np.float32(1)}, (-INF, 1)),
    ("Clip", {"min": 3.0, "max": 1.0}, None), ("Sigmoid", {}, None), ("LeakyRelu", {}, None)])
def test_as_clamp(op, attrs, want):
    assert get_op(op).as_clamp(Node(op, ["x"], ["y"], attrs)) == want


@every_isa
def test_clamp_backward_of_a_fused_clamp(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    y, dy = np.clip(values((2, 5, 3, 7)), -1, 2), values((2, 5, 3, 7), 1)
    for lo, hi in ((-1, 2), (-1, INF), (-INF, 2), (-INF, INF)):
        (dx,) = run_op("ClampBackward", {"dy": dy, "y": y}, {"lo": lo, "hi": hi}, within=True)
        assert_close(dx, np.where((y > lo) & (y < hi), dy, 0), 0)
