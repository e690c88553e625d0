"""Imported, exported, imported again: the same outputs, the same trainable parameters, at every opset."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_zoo import FOLDER, with_weights

import edgecnn as ec

NEWEST = onnx.defs.onnx_opset_version()
RNG = np.random.default_rng(7)
node = helper.make_node


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def tangled():
    """Weights behind views, an old opset, channels last, a shared weight, two outputs, free sizes."""
    nodes = [node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]), node("Transpose", ["stored"], ["w"], perm=[3, 2, 0, 1]),
             node("Conv", ["a", "w", "b"], ["c"], auto_pad="SAME_UPPER", strides=[2, 2]), node("Relu", ["c"], ["d"]),
             node("Conv", ["d", "shared"], ["e"]), node("Conv", ["e", "shared"], ["f"]),
             node("BatchNormalization", ["f", "scale", "shift", "mean", "var"], ["g"], epsilon=1e-3),
             node("Pad", ["g"], ["h"], pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
             node("AveragePool", ["h"], ["i"], kernel_shape=[2, 2], ceil_mode=1),
             node("Clip", ["i"], ["j"], min=-1.0, max=4.0),
             node("ReduceMean", ["j"], ["k"], axes=[2, 3], keepdims=0), node("Dropout", ["k"], ["l"], ratio=0.3),
             node("MatMul", ["l", "fc"], ["m"]), node("Add", ["m", "bias"], ["scores"]),
             node("Softmax", ["scores"], ["share"], axis=1)]
    weights = {"stored": f32(3, 3, 3, 6) / 4, "b": f32(6), "shared": f32(6, 6, 1, 1) / 2, "scale": f32(6), "shift": f32(6),
               "mean": f32(6), "var": np.abs(f32(6)) + 0.5, "fc": f32(6, 4), "bias": f32(4)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", "height", "width", 3))
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("share", "scores")]
    graph = helper.make_graph(nodes, "tangled", [x], outputs, [numpy_helper.from_array(w, n) for n, w in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5), f32(2, 13, 10, 3)


def published(name):
    proto = onnx.load(FOLDER / f"light_{name}.onnx")
    with_weights(proto, np.random.default_rng(0))
    return proto, f32(1, 3, 224, 224)


@pytest.mark.parametrize("make, opsets", [
    (tangled, range(13, NEWEST + 1)), (lambda: published("squeezenet"), (13, NEWEST)),
    (lambda: published("shufflenet"), (17,))], ids=["tangled", "squeezenet", "shufflenet"])
def test_there_and_back(make, opsets, tmp_path):
    proto, x = make()
    first = ec.load(proto)
    first.class_names, first.preprocessing = ["a", "b"], ec.Preprocessing((32, 32), "RGB", (1, 2, 3), (4, 5, 6))
    want = first(x)
    for opset in opsets:
        path = tmp_path / f"{opset}.onnx"
        first.export_onnx(path, opset=opset)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        again = ec.load(path)
        np.testing.assert_array_equal(again(x), want)
        assert again.trainable() == first.trainable() and again.state_dict().keys() == first.state_dict().keys()
        assert again.inputs == first.inputs
        assert (again.class_names, again.preprocessing) == (first.class_names, first.preprocessing)
        if opset <= 21:
            session = onnxruntime.InferenceSession(str(path))
            results = session.run(None, {session.get_inputs()[0].name: x})
            for got, expected in zip(want if isinstance(want, tuple) else (want,), results, strict=True):
                np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def small(nodes, opset, shape, weights=()):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    outputs = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in nodes[-1].output]
    graph = helper.make_graph(nodes, "small", [x], outputs, [numpy_helper.from_array(w, n) for n, w in weights])
    return ec.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


@pytest.mark.parametrize("nodes, opset, shape, word", [
    ([node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 1])], 19, ("N", 3, 5, 4), "use opset 19$"),
    ([node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], 18, ("N", 3, 5, 4),
     "use opset 18$"),
    ([node("Shape", ["x"], ["n"]), node("Size", ["n"], ["rank"]), node("Sub", ["rank", "one"], ["last"]),
      node("ReduceMean", ["x", "last"], ["y"])], 18, ("N", 3, 5, 4), "takes computed axes.*use opset 18$")])
def test_what_an_opset_lacks(nodes, opset, shape, word, tmp_path):
    """The refusal names the opset that has it."""
    model = small(nodes, opset, shape, [("one", np.array([1]))])
    with pytest.raises(ec.UnsupportedError, match=word):
        model.export_onnx(tmp_path / "net.onnx")
    model.export_onnx(tmp_path / "net.onnx", opset=opset)
    x = f32(2, 3, 5, 4)
    np.testing.assert_array_equal(ec.load(tmp_path / "net.onnx")(x), model(x))


@pytest.mark.parametrize("nodes, opset, shape", [
    ([node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[1, 1])], 19, ("N", 3, "H", "W")),
    ([node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1], strides=[2, 2], ceil_mode=1)], 22, ("N", 3, 4, 4)),
    ([node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2)], 18, ("N", 3, "H", "W")),
    ([node("ReduceSum", ["x", "none"], ["y"])], 18, ("N", 3, "H", "W")),
    ([node("ReduceMax", ["x", "none"], ["y"], keepdims=0)], 18, ("N", 3, "H", "W")),
    ([node("ReduceL2", ["x", "second"], ["y"], noop_with_empty_axes=1)], 18, ("N", 3, "H", "W"))],
    ids=lambda value: value[0].op_type if isinstance(value, list) else "")
def test_what_older_opsets_say_in_other_words(nodes, opset, shape, tmp_path):
    model = small(nodes, opset, shape, [("none", np.zeros(0, np.int64)), ("second", np.array([1]))])
    x = f32(2, 3, 4, 4)
    model.export_onnx(tmp_path / "net.onnx", opset=13)
    for got, want in zip(onnxruntime.InferenceSession(str(tmp_path / "net.onnx")).run(None, {"x": x}),
                         model.run({"x": x}).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_network_with_a_new_head_and_other_weights(tmp_path):
    proto, x = tangled()
    del proto.graph.output[0]
    model = ec.load(proto)
    model.replace_head(3)
    assert {n: model.graph.params[n].shape for n in ("fc", "bias")} == {"fc": (6, 3), "bias": (3,)}
    assert model.graph.params["fc"].any() and not model.graph.params["bias"].any()
    model.load_state_dict({n: a + RNG.uniform(0, 0.1, a.shape) for n, a in model.state_dict().items()})
    model.export_onnx(tmp_path / "tuned.onnx")
    again = ec.load(tmp_path / "tuned.onnx")
    np.testing.assert_array_equal(again(x), model(x))
    want = onnxruntime.InferenceSession(str(tmp_path / "tuned.onnx")).run(None, {"x": x})[0]
    np.testing.assert_allclose(model(x), want, atol=1e-5 * max(1, np.abs(want).max()))
    assert want.shape == (2, 3) and again.trainable() == model.trainable()
