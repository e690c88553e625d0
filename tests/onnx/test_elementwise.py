"""Elementwise, reducing and normalising operators read at each opset that changed them, against onnxruntime or onnx's
reference; then written at three opsets and read again."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import edgecnn as ec

ort = pytest.importorskip("onnxruntime")


def f32(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def proto(opset, nodes, shape, weights, outputs=("y",)):
    graph = helper.make_graph(
        nodes, "test", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def expected(model, x):
    """onnxruntime has no kernel for every opset; the reference has."""
    try:
        return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    except Exception:
        return ReferenceEvaluator(model).run(None, {"x": x})


def compare(model, x):
    loaded = ec.load(model.SerializeToString())
    got, wanted = loaded(x), expected(model, x)[0]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=2e-5)
    return loaded


def node(op, inputs=("x",), outputs=("y",), **attrs):
    return helper.make_node(op, list(inputs), list(outputs), **attrs)


X = (2, 6, 4, 5)
C6 = {"s": np.abs(f32(6, seed=1)) + 0.5, "b": f32(6, seed=2)}
AXES = {"axes": np.array([2, 3])}
SUMS = ["ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd"]
# opset, nodes, weights
CASES = [(opset, [node(op)], {}) for op, opsets in {
    "Softplus": (6, 22), "Softsign": (6, 22), "Selu": (6, 22), "Elu": (6, 22), "ThresholdedRelu": (10, 22), "Celu": (12,),
    "Mish": (18, 22), "Gelu": (20,), "Erf": (9, 13), "Exp": (6, 13), "Neg": (6, 13), "Abs": (6, 13), "Sign": (9, 13),
    "Floor": (6, 13), "Ceil": (6, 13), "Round": (11, 22), "Reciprocal": (6, 13), "LpNormalization": (6, 22),
    "MeanVarianceNormalization": (9, 13)}.items() for opset in opsets]
CASES += [(opset, [node("PRelu", ("x", "s"))], {"s": C6["s"].reshape(6, 1, 1)}) for opset in (7, 16)]
CASES += [(opset, [node(op, ("x", "c", "x"))], {"c": f32(2, 6, 4, 5, seed=3)})
          for op in ("Sum", "Mean", "Max", "Min") for opset in (6, 8, 13)]
CASES += [(opset, [node(op, axes=[2, 3], keepdims=0)], {}) for op in SUMS for opset in (6, 11, 13)]
CASES += [(18, [node(op, ("x", "axes"))], AXES) for op in SUMS]
CASES += [(13, [node("ReduceSum", ("x", "axes"), keepdims=0)], AXES)]
CASES += [(opset, [node("InstanceNormalization", ("x", "s", "b"), epsilon=1e-3)], C6) for opset in (6, 22)]
CASES += [(18, [node("GroupNormalization", ("x", "s", "b"), num_groups=2)], {k: v[:2] for k, v in C6.items()}),
          (21, [node("GroupNormalization", ("x", "s", "b"), num_groups=2)], C6),
          (17, [node("LayerNormalization", ("x", "w", "c"), axis=-2)], {"w": f32(4, 5, seed=4), "c": f32(4, 5, seed=5)}),
          (17, [node("LayerNormalization", ("x", "w"))], {"w": f32(5, seed=4)})]
CASES += [(opset, [node("LRN", size=3, alpha=0.3, beta=0.6, bias=1.5)], {}) for opset in (6, 13)]
CASES += [(opset, [node("LogSoftmax", axis=1)], {}) for opset in (6, 11, 13)]
BN = {"s": C6["s"], "b": C6["b"], "m": f32(6, seed=6), "v": C6["s"] + 0.1}
CASES += [(6, [node("BatchNormalization", ("x", "s", "b", "m", "v"), is_test=1)], BN),
          (7, [node("BatchNormalization", ("x", "s", "b", "m", "v"), spatial=1)], BN),
          (15, [node("BatchNormalization", ("x", "s", "b", "m", "v"))], BN)]


@pytest.mark.parametrize("opset, nodes, weights", CASES, ids=lambda v: v[-1].op_type if isinstance(v, list) else None)
def test_in_and_out(opset, nodes, weights, tmp_path):
    x = f32(*X, seed=9)
    loaded = compare(proto(opset, nodes, ("N", *X[1:]), weights), x)
    for out in (13, 17, 21):
        loaded.export_onnx(tmp_path / "y.onnx", opset=out)
        again = compare(onnx.load(tmp_path / "y.onnx"), x)
        np.testing.assert_allclose(again(x), loaded(x), rtol=1e-5, atol=1e-5)
        assert again.trainable() == loaded.trainable()


B6, WHOLE = np.abs(f32(6, seed=1)) + 0.5, [np.abs(f32(*X[1:], seed=i)) + 0.5 for i in range(4)]
# Of opsets that neither onnxruntime nor the reference computes: operator, further inputs, attributes, formula
OLD = [(op, [B6], {"broadcast": 1, "axis": 1}, lambda x, f=f: f(x, B6[:, None, None])) for op, f in (
    ("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply), ("Div", np.divide))]
OLD += [("Add", [B6[:5]], {"broadcast": 1}, lambda x: x + B6[:5]),
        ("Mul", [np.stack([B6[:4]] * 6)], {"broadcast": 1, "axis": 1}, lambda x: x * B6[:4, None]),
        ("Pow", [np.float32([2.0])], {"broadcast": 1}, np.square),
        ("PRelu", [B6], {}, lambda x: np.where(x < 0, x * B6[:, None, None], x)),
        ("PRelu", [B6[:1]], {}, lambda x: np.where(x < 0, x * B6[0], x)),
        ("BatchNormalization", WHOLE, {"spatial": 0, "is_test": 1},
         lambda x: (x - WHOLE[2]) / np.sqrt(WHOLE[3] + 1e-5) * WHOLE[0] + WHOLE[1])]


@pytest.mark.parametrize("op, inputs, attrs, formula", OLD, ids=lambda v: v if isinstance(v, str) else None)
def test_opset_6(op, inputs, attrs, formula, tmp_path):
    x, weights = f32(*X, seed=9), {f"w{i}": v for i, v in enumerate(inputs)}
    loaded = ec.load(proto(6, [node(op, ("x", *weights), **attrs)], ("N", *X[1:]), weights).SerializeToString())
    np.testing.assert_allclose(loaded(x), formula(x), rtol=1e-4, atol=1e-5)
    for out in (13, 21):
        loaded.export_onnx(tmp_path / "y.onnx", opset=out)
        again = compare(onnx.load(tmp_path / "y.onnx"), x)
        np.testing.assert_allclose(again(x), formula(x), rtol=1e-4, atol=1e-5)
        assert again.trainable() == loaded.trainable()


def test_shape_arithmetic_of_exporters():
    """What PyTorch writes for x.view(n, c // 2, -1) and for padding to an even size: integers all the way."""
    nodes = [node("Shape", outputs=["shape"]), node("Gather", ("shape", "one"), ["c"]),
             node("Gather", ("shape", "zero"), ["n"]), node("Div", ("c", "two"), ["half"]),
             node("Mod", ("half", "two"), ["odd"]), node("Equal", ("odd", "zero"), ["even"]),
             node("Where", ("even", "half", "one"), ["groups"]), node("Unsqueeze", ("groups", "axis"), ["g1"]),
             node("Unsqueeze", ("n", "axis"), ["n1"]), node("Max", ("n1", "axis"), ["n2"]), node("Neg", ("one",), ["minus"]),
             node("Unsqueeze", ("minus", "axis"), ["m1"]), node("Concat", ("n2", "g1", "m1"), ["to"], axis=0),
             node("ReduceProd", ("to",), ["count"], keepdims=0), node("Cast", ("count",), ["unused"], to=1),
             node("Reshape", ("x", "to"))]
    weights = {"zero": np.array(0), "one": np.array(1), "two": np.array(2), "axis": np.array([0])}
    loaded = compare(proto(13, nodes, ("N", 8, 4, 5), weights), f32(3, 8, 4, 5))
    assert loaded(f32(2, 8, 4, 5)).shape == (2, 4, 40)
