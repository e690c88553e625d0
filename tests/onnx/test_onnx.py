"""ONNX in and out: old and new opsets against onnxruntime, round trips, refusals, damaged files."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgecnn as ec
import edgecnn.onnx
from edgecnn import nn

RNG = np.random.default_rng(0)
OPSETS = (7, 9, 11, 13, 15, 17, 18, 21)


def model(nodes, weights, opset, shape=("N", 3, 8, 8), outputs=("y",)):
    graph = helper.make_graph(
        nodes, "test", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def compare(proto, x):
    want = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
    loaded = ec.load(proto.SerializeToString())
    got = loaded(x)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-5 * max(1, np.abs(want).max())
    return loaded


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("opset", OPSETS)
def test_a_network_of_every_opset(opset, tmp_path):
    node = helper.make_node
    clip = (node("Clip", ["b"], ["c"], min=0.0, max=6.0) if opset < 11 else node("Clip", ["b", "lo", "hi"], ["c"]))
    pad = (node("Pad", ["c"], ["p"], pads=[0, 0, 1, 1, 0, 0, 1, 1]) if opset < 11 else node("Pad", ["c", "pads"], ["p"]))
    drop = node("Dropout", ["f"], ["d"], ratio=0.4) if opset < 12 else node("Dropout", ["f", "ratio"], ["d"])
    add_axis = (node("Unsqueeze", ["count"], ["count1"], axes=[0]) if opset < 13 else
                node("Unsqueeze", ["count", "zero"], ["count1"]))
    nodes = [node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
             node("BatchNormalization", ["a", "gamma", "beta", "mean", "var"], ["b"], epsilon=1e-3), clip, pad,
             node("MaxPool", ["p"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
             node("Shape", ["m"], ["s"]), node("Gather", ["s", "first"], ["count"]), add_axis,
             node("Concat", ["count1", "rest"], ["shape"], axis=0), node("Reshape", ["m", "shape"], ["f"]), drop,
             node("MatMul", ["d", "fc"], ["z"]), node("Add", ["z", "bias"], ["t"]), node("Softmax", ["t"], ["y"], axis=1)]
    weights = {"w": f32(5, 3, 3, 3), "gamma": f32(5), "beta": f32(5), "mean": f32(5), "var": np.abs(f32(5)) + 0.5,
               "lo": np.float32(0), "hi": np.float32(6), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
               "ratio": np.float32(0.4), "first": np.array(0), "zero": np.array([0]), "rest": np.array([-1]),
               "fc": f32(125, 4), "bias": f32(4)}
    proto = model(nodes, weights, opset)
    loaded = compare(proto, f32(3, 3, 8, 8))
    assert loaded.trainable() == ["w", "gamma", "beta", "fc", "bias"]
    compare(proto, f32(1, 3, 8, 8))
    for out in (13, 17, 21):
        loaded.export_onnx(tmp_path / "y.onnx", opset=out)
        again = compare(onnx.load(tmp_path / "y.onnx"), f32(2, 3, 8, 8))
        assert again.trainable() == loaded.trainable()


@pytest.mark.parametrize("opset", [7, 11, 13, 17])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_softmax_of_images(opset, axis):
    axis = axis % 4 if opset < 11 else axis
    loaded = compare(model([helper.make_node("Softmax", ["x"], ["y"], axis=axis)], {}, opset), f32(2, 3, 8, 8))
    compare(ec.onnx.export_model(loaded.graph, opset=17), f32(2, 3, 8, 8))


def test_batch_norm_with_outputs_that_nobody_reads():
    nodes = [helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y", "m2", "v2", "m3", "v3"])]
    weights = {"g": f32(3), "b": f32(3), "m": f32(3), "v": np.abs(f32(3)) + 1}
    loaded = ec.load(model(nodes, weights, 9).SerializeToString())
    x = f32(2, 3, 8, 8)
    g, b, m, v = (weights[k][:, None, None] for k in "gbmv")
    np.testing.assert_allclose(loaded(x), (x - m) / np.sqrt(v + 1e-5) * g + b, rtol=1e-4, atol=1e-5)


def test_everything_unsupported_is_named_at_once():
    nodes = [helper.make_node("LSTM", ["x"], ["a"], name="first", hidden_size=3), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Odd", ["b"], ["c"], name="second", domain="my.domain"),
             helper.make_node("NonMaxSuppression", ["c"], ["y"], name="third")]
    with pytest.raises(ec.UnsupportedError, match=r"(?s)LSTM.*first.*Odd.*second.*my\.domain.*NonMaxSuppression.*third"):
        ec.load(model(nodes, {}, 13).SerializeToString())


def test_damaged_files_raise_one_kind_of_error():
    data = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": f32(4, 3, 3, 3)}, 13).SerializeToString()
    rng = np.random.default_rng(1)
    for i in range(300):
        broken = bytearray(data[:rng.integers(0, len(data))] if i % 2 else data)
        for place in rng.integers(0, max(1, len(broken)), 2 * (i % 2 == 0)):
            broken[place] = rng.integers(0, 256)
        try:
            ec.load(bytes(broken))
        except ec.EdgeCNNError:
            pass
    for junk in (b"", b"not a model", bytes(100)):
        with pytest.raises(ec.ModelError):
            ec.load(junk)


def test_metadata_and_activations_come_back(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 1), nn.HardSwish(), nn.Conv2d(4, 2, 1), nn.ELU(),
                        nn.LeakyReLU(), nn.HardSigmoid(), nn.Tanh(), nn.Dropout(0.3), nn.GlobalAvgPool2d(), nn.Flatten())
    net.class_names = ["a", "b"]
    net.preprocessing = ec.Preprocessing((8, 8), "RGB", (1, 2, 3), (4, 5, 6))
    x = f32(2, 3, 8, 8)
    for opset in (13, 17, 21):
        net.export_onnx(tmp_path / "n.onnx", opset=opset)
        again = ec.load(tmp_path / "n.onnx")
        assert (again.class_names, again.preprocessing) == (net.class_names, net.preprocessing)
        session = onnxruntime.InferenceSession(str(tmp_path / "n.onnx"))
        want = session.run(None, {session.get_inputs()[0].name: x})[0]
        np.testing.assert_allclose(net(x), want, atol=1e-5)
        np.testing.assert_allclose(again(x), net(x), atol=1e-6)
    assert onnx.load(tmp_path / "n.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    with pytest.raises(ec.ModelError, match="opset 12"):
        net.export_onnx(tmp_path / "n.onnx", opset=12)
