"""What exporters spell out in small operators becomes what it is: activations, batch norms, pairs of transposes."""

import numpy as np
import onnxruntime
import pytest
from helpers import assert_close
from onnx import TensorProto, helper, numpy_helper

import edgecnn as ec
from edgecnn.graph.autodiff import depends_on
from edgecnn.graph.ir import specialise
from edgecnn.graph.passes import optimise

RNG = np.random.default_rng(3)
node = helper.make_node
NUMBERS = {"three": np.float32(3), "six": np.float32(6), "sixth": np.float32(1 / 6), "zero": np.float32(0)}
CONV = node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1])
TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def network(nodes, weights, shape=("N", 3, 8, 8), opset=17):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    used = {i for n in nodes for i in n.input}
    known = [numpy_helper.from_array(np.asarray(w), n) for n, w in {**NUMBERS, **weights}.items() if n in used]
    return helper.make_model(helper.make_graph(nodes, "test", values[:1], values[1:], known), ir_version=8,
                             opset_imports=[helper.make_opsetid("", opset)])


def check(proto, x, tolerance=1e-5):
    """Operators that are left to run of a network, which is compared with onnxruntime."""
    want = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
    model = ec.load(proto)
    assert_close(model(x), want, tolerance)
    g = model.plan({"x": x.shape}).graph
    return [n.op for n in g.nodes if not all(i in g.constants for i in n.inputs)], model


RELU6 = node("Clip", ["t", "zero", "six"], ["c"])
PLUS3 = node("Add", ["a", "three"], ["t"])
SPELLINGS = {
    "x * sigmoid(x)": ([node("Sigmoid", ["a"], ["s"]), node("Mul", ["a", "s"], ["y"])], "Swish"),
    "sigmoid(x) * x": ([node("Sigmoid", ["a"], ["s"]), node("Mul", ["s", "a"], ["y"])], "Swish"),
    "x * hard sigmoid": ([node("HardSigmoid", ["a"], ["s"], alpha=1 / 6, beta=0.5), node("Mul", ["a", "s"], ["y"])],
                         "HardSwish"),
    "x * relu6(x + 3) / 6": ([PLUS3, RELU6, node("Mul", ["a", "c"], ["m"]), node("Div", ["m", "six"], ["y"])],
                             "HardSwish"),
    "x * (relu6(x + 3) / 6)": ([PLUS3, RELU6, node("Div", ["c", "six"], ["d"]), node("Mul", ["d", "a"], ["y"])],
                               "HardSwish"),
    "x * (relu6(3 + x) * 1/6)": ([node("Add", ["three", "a"], ["t"]), RELU6, node("Mul", ["sixth", "c"], ["d"]),
                                  node("Mul", ["a", "d"], ["y"])], "HardSwish"),
    "x * relu6(x + 3) * 1/6": ([PLUS3, RELU6, node("Mul", ["c", "a"], ["m"]), node("Mul", ["m", "sixth"], ["y"])],
                               "HardSwish"),
    "relu6(x + 3) / 6": ([PLUS3, RELU6, node("Div", ["c", "six"], ["y"])], "HardSigmoid"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_activations(spelling):
    nodes, name = SPELLINGS[spelling]
    ops, model = check(network([CONV, *nodes], {"w": f32(4, 3, 3, 3)}), f32(2, 3, 8, 8))
    assert ops == ["Conv", name]
    assert model.trainable() == ["w"]


@pytest.mark.parametrize("nodes", [
    [node("Sigmoid", ["a"], ["s"]), node("Mul", ["x", "s"], ["y"])],
    [node("Add", ["a", "six"], ["t"]), RELU6, node("Mul", ["a", "c"], ["m"]), node("Div", ["m", "six"], ["y"])],
    [PLUS3, RELU6, node("Mul", ["x", "c"], ["m"]), node("Div", ["m", "six"], ["y"])],
    [PLUS3, RELU6, node("Mul", ["a", "c"], ["m"]), node("Div", ["m", "three"], ["y"])],
    [PLUS3, node("Clip", ["t", "three", "six"], ["c"]), node("Div", ["six", "c"], ["y"])]])
def test_what_only_looks_like_one(nodes):
    ops, _ = check(network([CONV, *nodes], {"w": f32(3, 3, 3, 3)}), np.abs(f32(2, 3, 8, 8)))
    assert not {"Swish", "HardSwish", "HardSigmoid"} & set(ops)


def test_batch_norm_in_arithmetic_goes_into_the_convolution():
    nodes = [CONV, node("Sub", ["a", "mean"], ["s"]), node("Add", ["var", "epsilon"], ["v"]),
             node("Sqrt", ["v"], ["deviation"]), node("Div", ["s", "deviation"], ["d"]), node("Mul", ["d", "scale"], ["m"]),
             node("Add", ["m", "shift"], ["n"]),
             node("Relu", ["n"], ["y"])]
    weights = {"w": f32(4, 3, 3, 3), "mean": f32(4, 1, 1), "var": np.abs(f32(4, 1, 1)) + 0.5, "epsilon": np.float32(1e-3),
               "scale": f32(1, 4, 1, 1), "shift": f32(4, 1, 1)}
    ops, model = check(network(nodes, weights), f32(2, 3, 8, 8))
    assert ops == ["Conv"]
    assert {"w", "scale", "shift"} <= set(model.trainable())


def test_squeeze_and_excite():
    nodes = [CONV, node("GlobalAveragePool", ["a"], ["p"]), node("Conv", ["p", "w1", "b1"], ["q"]),
             node("Relu", ["q"], ["r"]), node("Conv", ["r", "w2", "b2"], ["e"]), node("Sigmoid", ["e"], ["g"]),
             node("Mul", ["g", "a"], ["y"])]
    weights = {"w": f32(8, 3, 3, 3), "w1": f32(2, 8, 1, 1), "b1": f32(2), "w2": f32(8, 2, 1, 1), "b2": f32(8)}
    ops, _ = check(network(nodes, weights), f32(2, 3, 8, 8))
    assert ops.count("Conv") == 3 and "Relu" not in ops and "Swish" not in ops


def test_channel_shuffle():
    nodes = [CONV, node("Reshape", ["a", "groups"], ["g"]), node("Transpose", ["g"], ["t"], perm=[0, 2, 1, 3, 4]),
             node("Reshape", ["t", "joined"], ["s"]), node("Conv", ["s", "w2"], ["y"], group=2)]
    check(network(nodes, {"w": f32(6, 3, 3, 3), "w2": f32(4, 3, 1, 1), "groups": np.array([-1, 2, 3, 8, 8]),
                          "joined": np.array([-1, 6, 8, 8])}), f32(2, 3, 8, 8))


def nhwc(op, x, y, w, **attributes):
    """A convolution between two transposes, as in files of frameworks that keep channels last."""
    return [node("Transpose", [x], [x + "_" + y], perm=TO_NCHW), node(op, [x + "_" + y, *w], [y + "_nchw"], **attributes),
            node("Transpose", [y + "_nchw"], [y], perm=TO_NHWC)]


def test_a_network_that_keeps_channels_last():
    nodes = [*nhwc("Conv", "x", "a", ["w1"], strides=[2, 2]), node("Add", ["a", "b1"], ["a1"]),
             node("Clip", ["a1", "zero", "six"], ["a2"]), node("Pad", ["a2", "pads"], ["padded"]),
             *nhwc("Conv", "padded", "b", ["w2"]), node("Sub", ["b", "mean"], ["b0"]),
             node("Mul", ["b0", "scale"], ["b1_"]), node("Add", ["b1_", "a2"], ["sum"]), node("Relu", ["sum"], ["c"]),
             node("ReduceMean", ["c"], ["pooled"], axes=[1, 2], keepdims=1),
             *nhwc("Conv", "pooled", "e", ["w3"]), node("Add", ["e", "b3"], ["e1"]), node("Sigmoid", ["e1"], ["gate"]),
             node("Mul", ["c", "gate"], ["d"]), node("Split", ["d"], ["left", "right"], axis=3),
             node("Concat", ["right", "left", "c"], ["f"], axis=-1),
             node("Slice", ["f", "from", "to", "axes"], ["g"]), *nhwc("MaxPool", "g", "h", [], kernel_shape=[2, 2]),
             node("ReduceMean", ["h"], ["k"], axes=[1, 2], keepdims=0), node("MatMul", ["k", "fc"], ["l"]),
             node("Add", ["l", "fb"], ["y"])]
    weights = {"w1": f32(8, 3, 3, 3), "b1": f32(8), "w2": f32(8, 8, 3, 3), "mean": f32(8), "scale": f32(1, 1, 1, 8),
               "w3": f32(8, 8, 1, 1), "b3": f32(8), "fc": f32(14, 5), "fb": f32(5), "from": np.array([2]),
               "to": np.array([99]), "axes": np.array([3]), "pads": np.array([0, 1, 1, 0, 0, 1, 1, 0])}
    x = f32(2, 9, 11, 3)
    ops, model = check(network(nodes, weights, ("N", 9, 11, 3)), x)
    assert ops.count("Transpose") == 1, ops  # of the picture itself
    assert not {"Add", "Sub", "Clip", "Relu", "Pad"} & set(ops), ops
    assert model.trainable() == ["w1", "b1", "w2", "mean", "scale", "w3", "b3", "fc", "fb"]
    trained = optimise(specialise(model.graph, {"x": x.shape}))
    computed = depends_on(trained, ["x"]) - {"x"}
    assert not [n.op for n in trained.nodes if n.op == "Transpose" and n.inputs[0] in computed]


@pytest.mark.parametrize("perm", [TO_NHWC, [0, 1, 3, 2], [3, 2, 1, 0]])
def test_transposes_sink_through_anything(perm):
    back = [int(a) for a in np.argsort(perm)]
    shape = [(2, 3, 4, 5)[a] for a in perm]
    nodes = [node("Transpose", ["x"], ["t"], perm=perm), node("Mul", ["t", "full"], ["a"]),
             node("Add", ["a", "last"], ["b"]), node("PRelu", ["b", "slope"], ["c"]),
             node("Pad", ["c", "pads"], ["d"], mode="reflect"),
             node("Concat", ["d", "d"], ["e"], axis=2), node("Transpose", ["e"], ["f"], perm=back),
             node("ReduceMax", ["f"], ["g"], axes=[-2], keepdims=0), node("Exp", ["g"], ["y"])]
    weights = {"full": f32(*shape), "last": f32(shape[-1]), "slope": f32(shape[1], 1, 1),
               "pads": np.array([0, 1, 0, 1, 1, 0, 1, 0])}
    ops, _ = check(network(nodes, weights, (2, 3, 4, 5)), f32(2, 3, 4, 5))
    assert "Transpose" not in ops
