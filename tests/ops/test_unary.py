"""Exp, Log, Sqrt, Reciprocal and the steps, against float64."""

import numpy as np
import pytest

from edgecnn.graph.ir import specialise
from tests.helpers import assert_close, build, every_isa, numeric_gradient, run_gradient, run_op

SMOOTH = {"Exp": (np.exp, np.exp), "Log": (np.log, np.reciprocal), "Sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
          "Reciprocal": (np.reciprocal, lambda x: -1 / x**2)}
STEPS = {"Sign": np.sign, "Floor": np.floor, "Ceil": np.ceil, "Round": np.rint}
SHAPES = [(), (1,), (3, 5), (2, 3, 5, 7), (2, 33, 3, 4), (7, 1, 4)]


def positive(shape, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("op", SMOOTH)
def test_reference_slope_is_the_derivative(op):
    f, df = SMOOTH[op]
    np.testing.assert_allclose(df(positive(50).astype(np.float64)), numeric_gradient(f, positive(50)), rtol=1e-6)


@every_isa
@pytest.mark.parametrize("op", SMOOTH)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("within", [False, True])
def test_forward_and_gradient(monkeypatch, isa, op, shape, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    f, df = SMOOTH[op]
    x, dy = positive(shape), positive(shape, 1)
    assert_close(run_op(op, {"x": x}, within=within)[0], f(x.astype(np.float64)), 1e-6)
    assert_close(run_gradient(op, {"x": x}, {}, dy, within=within)[0], dy * df(x.astype(np.float64)), 1e-6)


@every_isa
def test_log_everywhere(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.concatenate([np.geomspace(1.2e-38, 3.4e38, 200_001), np.linspace(0.5, 2, 100_001)]).astype(np.float32)
    want = np.log(x.astype(np.float64))
    ulp = np.abs(run_op("Log", {"x": x})[0] - want) / np.spacing(np.abs(want).astype(np.float32))
    assert ulp.max() < 3
    special = np.float32([0, -0.0, -1, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(run_op("Log", {"x": special})[0], [-np.inf, -np.inf, np.nan, np.inf, np.nan, np.nan])


@every_isa
@pytest.mark.parametrize("op", STEPS)
def test_steps(monkeypatch, isa, op):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.concatenate([np.linspace(-5, 5, 41), [1e9, -1e9, np.inf, -np.inf, np.nan, -0.0, 2.5, 3.5]]).astype(np.float32)
    np.testing.assert_array_equal(run_op(op, {"x": x})[0], STEPS[op](x))
    assert run_gradient(op, {"x": x}, {}, x) == [None]


@every_isa
@pytest.mark.parametrize("op", [*SMOOTH, *STEPS])
def test_threads_do_not_change_a_bit(monkeypatch, isa, op):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = positive((2, 19, 61, 37))
    assert len({run_op(op, {"x": x}, threads=t, within=True)[0].tobytes() for t in (1, 2, 3)}) == 1


@pytest.mark.parametrize("op, x, want", [
    ("Neg", np.array([3, -4]), [-3, 4]), ("Abs", np.array([3, -4]), [3, 4]), ("Sign", np.array([3, 0, -4]), [1, 0, -1]),
    ("Floor", np.float32([1.5, -1.5]), [1, -2]), ("Sqrt", np.float32([4]), [2])])
def test_constants_are_folded(op, x, want):
    g = specialise(build(op, {}, constants={"x": x}), {})
    got = g.constants[g.outputs[0]]
    assert got.dtype == x.dtype and got.tolist() == want
