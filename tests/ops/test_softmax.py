"""Softmax and its logarithm against float64."""

import numpy as np
import pytest

from edgecnn.errors import ShapeError
from tests.helpers import assert_close, every_isa, numeric_gradient, run_gradient, run_op

both_places = pytest.mark.parametrize("within", [False, True])
CASES = [((3, 10), -1), ((2, 1), 1), ((1, 1000), 1), ((5, 37), 0), ((2, 33, 3, 5), 1), ((2, 33, 3, 5), 2),
         ((2, 33, 3, 5), 3), ((2, 3, 4, 5), 0), ((4, 6, 17), 2), ((19,), 0)]
every_case = pytest.mark.parametrize("shape, axis", CASES)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def backward(x, dy, axis):
    y = softmax(x, axis)
    return y * (dy - (dy * y).sum(axis, keepdims=True))


def values(shape, seed=0):
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_reference_gradient():
    x, dy = values((3, 4, 5)), values((3, 4, 5), 1).astype(np.float64)
    for axis in range(3):
        want = numeric_gradient(lambda v, axis=axis: dy * softmax(v, axis), x)
        np.testing.assert_allclose(backward(x.astype(np.float64), dy, axis), want, atol=1e-7)


@every_isa
@every_case
@both_places
def test_forward_and_gradient(monkeypatch, isa, shape, axis, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, dy = values(shape), values(shape, 1)
    (y,) = run_op("Softmax", {"x": x}, {"axis": axis}, within=within)
    assert_close(y, softmax(x.astype(np.float64), axis), 1e-6)
    (dx,) = run_gradient("Softmax", {"x": x}, {"axis": axis}, dy, within=within)
    assert_close(dx, backward(x.astype(np.float64), dy.astype(np.float64), axis), 2e-6)


@every_isa
@every_case
@both_places
def test_logarithm(monkeypatch, isa, shape, axis, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, dy = values(shape), values(shape, 1)
    (y,) = run_op("LogSoftmax", {"x": x}, {"axis": axis}, within=within)
    want = softmax(x.astype(np.float64), axis)
    assert_close(y, np.log(want), 1e-6)
    (dx,) = run_gradient("LogSoftmax", {"x": x}, {"axis": axis}, dy, within=within)
    assert_close(dx, dy - want * dy.astype(np.float64).sum(axis, keepdims=True), 2e-6)


def test_reference_gradient_of_the_logarithm():
    x, dy = values((3, 4)), values((3, 4), 1).astype(np.float64)
    want = numeric_gradient(lambda v: dy * np.log(softmax(v, 1)), x)
    np.testing.assert_allclose(dy - softmax(x.astype(np.float64), 1) * dy.sum(1, keepdims=True), want, atol=1e-7)


@every_isa
def test_extreme_scores_of_the_logarithm(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.array([[1e30, -1e30, 0], [1000, 1000, 0], [-np.inf, 2, 2]], np.float32)
    want = [[0, -2e30, -1e30], [-np.log(2), -np.log(2), -1000 - np.log(2)], [-np.inf, -np.log(2), -np.log(2)]]
    np.testing.assert_allclose(run_op("LogSoftmax", {"x": x})[0], want, rtol=1e-6)
    assert np.isnan(run_op("LogSoftmax", {"x": np.float32([[np.nan, 1], [np.inf, 1], [-np.inf, -np.inf]])})[0]).all()


@every_isa
def test_extreme_scores(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.array([[1e30, -1e30, 0], [1000, 1000, 0], [-np.inf, 2, 2], [-1e4, -1e4, -1e4]], np.float32)
    want = [[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [1 / 3] * 3]
    np.testing.assert_allclose(run_op("Softmax", {"x": x})[0], want, rtol=1e-6)
    bad = np.array([[np.nan, 1, 2], [1, 2, np.nan], [np.inf, 1, 2], [-np.inf] * 3], np.float32)
    assert np.isnan(run_op("Softmax", {"x": bad})[0]).all()
    wide = np.zeros((1, 99), np.float32)
    wide[0, 3] = np.nan
    assert np.isnan(run_op("Softmax", {"x": wide})[0]).all()


@every_isa
def test_long_rows_sum_to_one(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    (y,) = run_op("Softmax", {"x": values((2, 300_001)) / 10})
    np.testing.assert_allclose(y.astype(np.float64).sum(1), 1, rtol=1e-6)


@every_isa
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape, axis", [((64, 1001), 1), ((2, 21, 40, 33), 1), ((2, 21, 40, 33), 3)])
def test_threads_do_not_change_a_bit(monkeypatch, isa, op, shape, axis):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, dy = values(shape), values(shape, 1)
    runs = [(run_op(op, {"x": x}, {"axis": axis}, threads=t, within=True)[0].tobytes(),
             run_gradient(op, {"x": x}, {"axis": axis}, dy, threads=t, within=True)[0].tobytes())
            for t in (1, 2, 3)]
    assert runs[0] == runs[1] == runs[2]


def test_axis_must_fit():
    with pytest.raises(ShapeError, match=r"axis 2 does not fit an input of shape \(3, 4\)"):
        run_op("Softmax", {"x": values((3, 4))}, {"axis": 2})
