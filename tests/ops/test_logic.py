"""What exists for shape arithmetic only: comparisons, logic, Where, Mod, NonZero."""

import numpy as np
import pytest

from edgecnn.errors import ModelError, UnsupportedError
from edgecnn.graph.ir import specialise
from tests.helpers import build, run_op

A, B = np.array([[1], [2], [3]]), np.array([1, 2])
T = np.array([True, False, True]), np.array([True, True, False])


def folded(op, attrs=None, **constants):
    g = specialise(build(op, {}, attrs, constants=constants), {})
    return g.constants[g.outputs[0]]


@pytest.mark.parametrize("op, inputs, attrs, want", [
    ("Equal", (A, B), {}, A == B), ("Greater", (A, B), {}, A > B), ("Less", (A, B), {}, A < B),
    ("GreaterOrEqual", (A, B), {}, A >= B), ("LessOrEqual", (A, B), {}, A <= B),
    ("And", T, {}, T[0] & T[1]), ("Or", T, {}, T[0] | T[1]), ("Xor", T, {}, T[0] ^ T[1]), ("Not", T[:1], {}, ~T[0]),
    ("Where", (A == 2, A, B), {}, np.where(A == 2, A, B)), ("NonZero", (np.array([[1, 0], [0, 2]]),), {}, [[0, 1], [0, 1]]),
    ("Mod", (np.array([-4, 7]), np.array([3, -3])), {}, [2, -2]),
    ("Mod", (np.array([-4, 7]), np.array([3, -3])), {"fmod": 1}, [-1, 1]),
    ("Less", (np.ones((2, 3, 2), int), np.array([0, 1, 2])), {"axis": 1}, [[[0] * 2, [0] * 2, [1] * 2]] * 2)])
def test_value(op, inputs, attrs, want):
    got = folded(op, attrs, **{f"x{i}": v for i, v in enumerate(inputs)})
    assert got.tolist() == np.asarray(want).tolist()
    assert got.dtype == (np.int64 if op in ("Where", "NonZero", "Mod") else bool)


def test_remainder_by_zero():
    with pytest.raises(ModelError, match="remainder of an integer division by zero"):
        folded("Mod", a=np.array([1]), b=np.array([0]))


def test_data_cannot_decide():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(UnsupportedError, match=r"Greater\(greater\): Greater is computed for values that follow from"):
        run_op("Greater", {"a": x, "b": x})
