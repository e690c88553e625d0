"""The cases that ONNX itself publishes for the operators that move, choose or shape values, and for Gemm.

What edgecnn needs to know when a plan is compiled (shapes, axes, pads) is an initializer here, the data is given."""

import warnings

import numpy as np
import pytest
from helpers import assert_close
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from edgecnn.graph.ir import specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.onnx import import_model
from edgecnn.onnx.importer import INPUT_TYPES
from edgecnn.ops import get_op

OPS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Gemm", "Concat", "Slice", "Split", "Pad", "Shape",
       "Size", "Gather", "ConstantOfShape", "Expand", "Range", "Tile", "Identity")


def cases():
    """Of one node, with inputs that a network may have here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    mine = [c for c in found if len(c.model.graph.node) == 1 and c.model.graph.node[0].op_type in OPS]
    return [c for c in mine if all(str(given(x).dtype) in INPUT_TYPES for x in c.data_sets[0][0])]


def given(value):
    """An empty array of objects for what is no array (sequences, optional values)."""
    return np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else np.empty(0, object)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_published_case(case):
    node = case.model.graph.node[0]
    op = get_op(node.op_type)
    arrays = dict(zip((i.name for i in case.model.graph.input), map(given, case.data_sets[0][0]), strict=True))
    static = [v for i, v in enumerate(node.input) if v and op.formal(i) in op.static]
    model = type(case.model)()
    model.CopyFrom(case.model)
    model.graph.initializer.extend(numpy_helper.from_array(arrays.pop(v), v) for v in static)
    g = specialise(import_model(model, case.name, None)[0], {k: v.shape for k, v in arrays.items()})
    results = Plan(optimise(g), 2).run(*arrays.values())
    for got, want in zip(results, case.data_sets[0][1], strict=True):
        assert got.dtype.kind == want.dtype.kind
        assert_close(got, want)


def test_every_operator_has_cases():
    found = [c.model.graph.node[0].op_type for c in cases()]
    assert set(found) == set(OPS) and len(found) > 100
