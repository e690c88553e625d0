"""Pow against float64, and the simpler operators that simple exponents become."""

import numpy as np
import pytest

from edgecnn.graph.ir import specialise
from edgecnn.graph.passes import optimise
from tests.helpers import assert_close, build, every_isa, numeric_gradient, run_gradient, run_op, run_optimised


def values(shape, seed=0):
    return np.random.default_rng(seed).uniform(0.3, 2, shape).astype(np.float32)


@every_isa
@pytest.mark.parametrize("first, second", [((2, 3, 5, 7), ()), ((2, 19, 3, 4), (19, 1, 1)), ((5,), (4, 5)), ((3, 1), (1, 6)),
                                           ((2, 3, 5, 7), (2, 3, 5, 7))], ids=str)
def test_forward_and_gradient(monkeypatch, isa, first, second):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, e = values(first), 3 * values(second, 1) - 3
    want = np.power(x.astype(np.float64), e)
    runs = [run_op("Pow", {"x": x, "e": e}, threads=t)[0] for t in (1, 2, 3)]
    assert_close(runs[0], want, 1e-6)
    assert len({r.tobytes() for r in runs}) == 1
    dy = values(want.shape, 2)
    dx, de = run_gradient("Pow", {"x": x, "e": e}, {}, dy)
    assert_close(dx, numeric_gradient(lambda v: dy * np.power(v, e), x), 1e-5)
    assert_close(de, numeric_gradient(lambda v: dy * np.power(x.astype(np.float64), v), e), 1e-5)


@every_isa
def test_special_values(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    special = np.float32([0, -0.0, 1, -1, 2, -2, 0.5, -3, np.inf, -np.inf, np.nan])
    a, b = (v.ravel() for v in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        want = np.power(a.astype(np.float64), b)
    np.testing.assert_allclose(run_op("Pow", {"a": a, "b": b})[0], want, rtol=1e-6)


@pytest.mark.parametrize("exponent, nodes", [
    (1, []), (2, ["Mul"]), (2.0, ["Mul"]), (3, ["Mul", "Mul"]), (0.5, ["Sqrt"]), (-1, ["Reciprocal"]), (2.5, ["Pow"]),
    ([2, 3], ["Pow"])])
def test_constant_exponents(exponent, nodes):
    x, e = values((3, 2)), np.array(exponent)
    g = build("Pow", {"x": x}, constants={"e": e if e.dtype.kind == "i" else e.astype(np.float32)})
    assert_close(run_optimised(g, {"x": x})[0], x.astype(np.float64)**e, 1e-6)
    assert [n.op for n in optimise(specialise(g, {"x": x.shape})).nodes if n.op != "Identity"] == nodes


def test_a_base_of_zero_or_below():
    """The slope for the exponent has the logarithm of the base; where that does not exist it is taken as small."""
    x, e = np.float32([0, -2]), np.float32([2, 3])
    dx, de = run_gradient("Pow", {"x": x, "e": e}, {}, np.ones_like(x))
    assert dx.tolist() == [0, 12] and np.isfinite(de).all()
