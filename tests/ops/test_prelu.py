"""PRelu and its two gradients against float64."""

import numpy as np
import pytest

from edgecnn.errors import ShapeError
from tests.helpers import assert_close, build, every_isa, numeric_gradient, run_gradient, run_op, run_optimised


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def prelu(x, slope):
    return np.where(x >= 0, x, slope * x)


@every_isa
@pytest.mark.parametrize("shape, slope", [((2, 19, 5, 7), (19, 1, 1)), ((2, 3, 5, 7), (1,)), ((2, 3, 5, 7), ()),
                                          ((2, 3, 5, 7), (2, 3, 5, 7)), ((4, 5), (5,)), ((2, 33, 3), (1, 1))])
@pytest.mark.parametrize("within", [False, True])
def test_forward_and_gradient(monkeypatch, isa, shape, slope, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, s, dy = values(shape), values(slope, 1), values(shape, 2)
    assert_close(run_op("PRelu", {"x": x, "s": s}, within=within)[0], prelu(x.astype(np.float64), s), 1e-6)
    dx, ds = run_gradient("PRelu", {"x": x, "s": s}, {}, dy, within=within)
    assert_close(dx, numeric_gradient(lambda v: dy * prelu(v, s), x), 1e-5)
    assert_close(ds, numeric_gradient(lambda v: dy * prelu(x.astype(np.float64), v), s), 1e-5)


@every_isa
def test_threads_do_not_change_a_bit(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, s, dy = values((2, 19, 61, 37)), values((19, 1, 1), 1), values((2, 19, 61, 37), 2)
    runs = [[r.tobytes() for r in (*run_op("PRelu", {"x": x, "s": s}, threads=t, within=True),
                                   *run_gradient("PRelu", {"x": x, "s": s}, {}, dy, threads=t, within=True))]
            for t in (1, 2, 3)]
    assert runs[0] == runs[1] == runs[2]


def test_the_slope_of_old_opsets_counts_channels():
    x, s = values((2, 3, 4, 5)), values((3,), 1)
    g = build("PRelu", {"x": x, "s": s}, {"axis": 1})
    assert_close(run_optimised(g, {"x": x, "s": s})[0], prelu(x, s[:, None, None]), 1e-6)


def test_special_values():
    x = np.float32([np.nan, np.inf, -np.inf, 0, -0.0])
    np.testing.assert_array_equal(run_op("PRelu", {"x": x, "s": np.float32([0.5])})[0], [np.nan, np.inf, -np.inf, 0, 0])


def test_the_slope_must_not_be_larger():
    with pytest.raises(ShapeError, match=r"slope \(2, 3\) cannot be broadcast to the input's shape \(3,\)"):
        run_op("PRelu", {"x": values((3,)), "s": values((2, 3))})
