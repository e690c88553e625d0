"""Losses against float64, their gradients against finite differences."""

import numpy as np
import pytest

from edgecnn.errors import ModelError, ShapeError
from tests.helpers import assert_close, every_isa, numeric_gradient, run_gradient, run_op

ONE = np.ones(1, np.float32)
SHAPES = [(1, 1), (3, 10), (5, 37), (2, 1000), (64, 1001)]
every_shape = pytest.mark.parametrize("shape", SHAPES)
smoothings = pytest.mark.parametrize("s", [0.0, 0.1])


def cross_entropy(x, labels, s=0.0):
    """Loss of each row."""
    z = x - x.max(1, keepdims=True)
    t = (1 - s) * np.eye(x.shape[1])[labels] + s / x.shape[1]
    return -(t * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum(1)


def cross_entropy_gradient(x, labels, s=0.0):
    e = np.exp(x - x.max(1, keepdims=True))
    t = (1 - s) * np.eye(x.shape[1])[labels] + s / x.shape[1]
    return (e / e.sum(1, keepdims=True) - t) / len(x)


def data(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (4 * rng.standard_normal(shape)).astype(np.float32), rng.integers(0, shape[1], shape[0])


def run(x, labels, s=0.0, **options):
    return run_op("SoftmaxCrossEntropy", {"x": x, "labels": labels}, {"label_smoothing": s}, outputs=2,
                  **options)


def run_backward(x, labels, s=0.0, dloss=ONE, **options):
    return run_gradient("SoftmaxCrossEntropy", {"x": x, "labels": labels}, {"label_smoothing": s},
                        [dloss, None], outputs=2, needs=[True, False], **options)[0]


@smoothings
def test_reference_gradient(s):
    x, labels = data((3, 5))
    want = numeric_gradient(lambda v: cross_entropy(v, labels, s) / 3, x)
    np.testing.assert_allclose(cross_entropy_gradient(x.astype(np.float64), labels, s), want, atol=1e-8)


@every_isa
@every_shape
@smoothings
@pytest.mark.parametrize("within", [False, True])
def test_cross_entropy(monkeypatch, isa, shape, s, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, labels = data(shape)
    labels[0] = x[0].argmax()
    loss, correct = run(x, labels, s, within=within)
    want = cross_entropy(x.astype(np.float64), labels, s).mean(keepdims=True)
    np.testing.assert_allclose(loss, want, rtol=1e-6, atol=1e-12)
    assert correct == [(x.argmax(1) == labels).sum()]
    dx = run_backward(x, labels, s, np.full(1, 0.7, np.float32), within=within)
    want = cross_entropy_gradient(x.astype(np.float64), labels, s) * 0.7
    np.testing.assert_allclose(dx, want, rtol=1e-5, atol=1e-6 * np.abs(want).max())


@every_isa
@smoothings
def test_extreme_scores(monkeypatch, isa, s):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4 + 1]], np.float32)
    labels = np.array([0, 0, 1, 2])
    loss, _ = run(x, labels, s)
    np.testing.assert_allclose(loss, [cross_entropy(x.astype(np.float64), labels, s).mean()], rtol=1e-6)
    dx, want = run_backward(x, labels, s), cross_entropy_gradient(x.astype(np.float64), labels, s)
    np.testing.assert_allclose(dx, want, rtol=1e-5, atol=1e-8)


@every_isa
def test_a_confident_row_keeps_its_small_loss(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.zeros((1, 40), np.float32)
    x[0, 21] = 30
    others = 39 * np.exp(-30.0)
    label = np.array([21])
    np.testing.assert_allclose(run(x, label)[0], [np.log1p(others)], rtol=1e-5)  # 3.6e-12
    np.testing.assert_allclose(run_backward(x, label)[0, 21], -others / (1 + others), rtol=1e-5)


@every_isa
@pytest.mark.parametrize("label", [-1, 37, 2**40, -2**62])
def test_a_label_out_of_range_is_not_followed(monkeypatch, isa, label):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, labels = data((5, 37))
    labels[2] = label
    loss, correct = run(x, labels)
    good = [0, 1, 3, 4]
    assert np.isnan(loss[0]) and correct == [(x.argmax(1) == labels)[good].sum()]
    dx = run_backward(x, labels)
    assert np.isnan(dx[2]).all()
    want = cross_entropy_gradient(x[good].astype(np.float64), labels[good]) * 4 / 5
    assert_close(dx[good], want, 1e-6)


@every_isa
@pytest.mark.parametrize("bad", [[np.nan, 1, 2], [1, 2, np.nan], [np.inf, 1, 2], [-np.inf] * 3, [np.nan] * 3])
def test_scores_that_are_no_numbers(monkeypatch, isa, bad):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    for label in range(3):
        loss, correct = run(np.array([bad], np.float32), np.array([label]))
        assert np.isnan(loss[0]) and correct == [0]
        assert np.isnan(run_backward(np.array([bad], np.float32), np.array([label]))).all()


def test_excluded_classes_and_ties():
    x = np.array([[1, -np.inf, 1], [5, 5, 2]], np.float32)
    loss, correct = run(x, np.array([0, 1]))
    np.testing.assert_allclose(loss, [(np.log(2) + np.log(2 + np.exp(-3))) / 2], rtol=1e-6)
    assert correct == [1]  # the first of equal scores is the answer
    np.testing.assert_allclose(run_backward(x, np.array([0, 1]))[0], [-0.25, 0, 0.25], rtol=1e-6)


@every_isa
def test_threads_do_not_change_a_bit(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, labels = data((601, 103))
    runs = [(*[r.tobytes() for r in run(x, labels, 0.1, threads=t, within=True)],
             run_backward(x, labels, 0.1, threads=t, within=True).tobytes()) for t in (1, 2, 3)]
    assert runs[0] == runs[1] == runs[2]


def test_cross_entropy_refuses():
    x, labels = data((4, 3))
    with pytest.raises(ShapeError, match=r"scores \(4, 3\) and int64 labels \(3,\)"):
        run(x, labels[:3])
    with pytest.raises(ModelError, match="label_smoothing is 1.0, allowed are 0 <= s < 1"):
        run(x, labels, 1.0)


@every_isa
@pytest.mark.parametrize("shape", [(1,), (3, 10), (2, 5, 3, 7), (4, 21, 33, 35)])
@pytest.mark.parametrize("within", [False, True])
def test_mean_squared_error(monkeypatch, isa, shape, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    rng = np.random.default_rng(0)
    x, target = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    difference = x.astype(np.float64) - target
    runs = []
    for t in (1, 2, 3):
        (loss,) = run_op("MeanSquaredError", {"x": x, "target": target}, threads=t, within=within)
        dx, dt = run_gradient("MeanSquaredError", {"x": x, "target": target}, {}, np.full(1, 0.7, np.float32),
                              threads=t, within=within)
        runs.append((loss.tobytes(), dx.tobytes(), dt.tobytes()))
    assert runs[0] == runs[1] == runs[2]
    np.testing.assert_allclose(loss, [(difference**2).mean()], rtol=1e-6)
    want = 0.7 * 2 * difference / x.size
    np.testing.assert_allclose(dx, want, rtol=1e-5, atol=1e-7 * np.abs(want).max())
    np.testing.assert_array_equal(dt, -dx)


def test_mean_squared_error_reference_gradient():
    x, target = np.random.default_rng(0).standard_normal((2, 3, 4))
    want = numeric_gradient(lambda v: ((v - target)**2).mean(keepdims=True), x)
    np.testing.assert_allclose(2 * (x - target) / x.size, want, atol=1e-8)


def test_mean_squared_error_refuses():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ShapeError, match=r"prediction \(2, 3\) and target \(2, 1\) differ"):
        run_op("MeanSquaredError", {"x": x, "target": x[:, :1]})
