"""What real files look like: weights in every form, constants of every kind, old habits of exporters; what is refused."""

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import assert_close
from onnx import TensorProto, helper, numpy_helper

import edgecnn as ec

RNG = np.random.default_rng(0)
NEWEST = onnx.defs.onnx_opset_version()
node = helper.make_node


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def network(nodes, weights=(), opset=17, shape=("N", 3, 8, 8), kind=TensorProto.FLOAT, ir_version=None, **more):
    graph = helper.make_graph(nodes, "test", [helper.make_tensor_value_info("x", kind, shape)],
                              [helper.make_tensor_value_info("y", kind, None)],
                              [numpy_helper.from_array(np.asarray(w), n) for n, w in dict(weights).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                             ir_version=ir_version or min(10, onnx.IR_VERSION), **more)


def reference(proto, x):
    return onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]


def agrees(proto, x, tolerance=1e-5):
    """The loaded network, after comparing it with onnxruntime."""
    model = ec.load(proto)
    assert_close(model(x), reference(proto, x), tolerance)
    return model


WAYS = {
    "itself": ([], (4, 3, 3, 3), lambda w: w),
    "Identity": ([node("Identity", ["w"], ["v"])], (4, 3, 3, 3), lambda w: w),
    "Cast": ([node("Cast", ["w"], ["v"], to=TensorProto.FLOAT)], (4, 3, 3, 3), lambda w: w.astype(np.float16)),
    "Transpose": ([node("Transpose", ["w"], ["v"], perm=[3, 2, 0, 1])], (3, 3, 3, 4), lambda w: w),
    "Reshape": ([node("Reshape", ["w", "shape"], ["v"])], (4, 27), lambda w: w),
    "Unsqueeze, Squeeze": ([node("Unsqueeze", ["w", "axes"], ["u"]), node("Squeeze", ["u", "axes"], ["v"])], (4, 3, 3, 3),
                           lambda w: w),
    "Cast, Transpose": ([node("Cast", ["w"], ["u"], to=TensorProto.FLOAT),
                         node("Transpose", ["u"], ["v"], perm=[3, 2, 0, 1])], (3, 3, 3, 4), lambda w: w.astype(np.float16)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_that_comes_another_way_keeps_its_name(way):
    nodes, shape, store = WAYS[way]
    known = {"w": store(f32(*shape)), "shape": np.array([4, 3, 3, 3]), "axes": np.array([0])}
    proto = network([*nodes, node("Conv", ["x", "v" if nodes else "w"], ["y"])], known)
    model = agrees(proto, f32(2, 3, 8, 8))
    assert model.trainable() == ["w"] and model.graph.params["w"].shape == shape
    trainer = ec.Trainer(model, loss="mse", optimizer=ec.optim.SGD(0.1))
    before = model.state_dict()["w"]
    x = f32(2, 3, 8, 8)
    trainer.step(x, np.zeros_like(model(x)))
    assert not np.array_equal(before, model.graph.params["w"])


def test_weights_that_are_inputs_too():
    """Before IR version 4 every initializer had to be listed as an input."""
    proto = network([node("Conv", ["x", "w"], ["y"])], {"w": f32(4, 3, 3, 3)}, opset=8, ir_version=3)
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, (4, 3, 3, 3)))
    model = agrees(proto, f32(2, 3, 8, 8))
    assert list(model.inputs) == ["x"] and model.trainable() == ["w"]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_weights_of_other_floats(kind):
    w, b, x = np.round(f32(4, 3, 3, 3) * 8) / 8, np.round(f32(4) * 8) / 8, f32(2, 3, 8, 8)  # exact in all of them
    inner = [node("Cast", ["x"], ["x16"], to=kind), node("Conv", ["x16", "w", "b"], ["y16"]),
             node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT)]
    proto = network(inner)
    proto.graph.initializer.extend(helper.make_tensor(n, kind, a.shape, a.ravel()) for n, a in (("w", w), ("b", b)))
    model = ec.load(proto)
    assert_close(model(x), reference(network([node("Conv", ["x", "w", "b"], ["y"])], {"w": w, "b": b}), x))
    assert model.trainable() == ["w", "b"] and model.graph.params["w"].dtype == np.float32


@pytest.mark.parametrize("attribute", [
    {"value": numpy_helper.from_array(np.array([2.0], np.float32))}, {"value": numpy_helper.from_array(np.array(2.0))},
    {"value_float": 2.0}, {"value_floats": [2.0, 3.0, 4.0, 5.0]}])
def test_constants_of_numbers(attribute):
    known = next(iter(attribute.values()))
    want = numpy_helper.to_array(known) if isinstance(known, TensorProto) else np.asarray(known)
    x = f32(2, 4)
    model = ec.load(network([node("Constant", [], ["c"], **attribute), node("Mul", ["x", "c"], ["y"])], shape=("N", 4)))
    assert_close(model(x), x * want.astype(np.float32))


@pytest.mark.parametrize("attribute, want", [({"value_ints": [4, 2]}, (4, 2)), ({"value_int": -1}, (8,))])
def test_constants_of_integers(attribute, want):
    nodes = [node("Constant", [], ["c"], **attribute), node("Constant", [], ["one"], value_ints=[-1]),
             node("Reshape", ["c", "one"], ["shape"]), node("Reshape", ["x", "shape"], ["y"])]
    assert ec.load(network(nodes, shape=("N", 4)))(f32(2, 4)).shape == want


def test_constants_that_are_refused_together():
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(np.ones(1, np.float32), "v"),
                                       numpy_helper.from_array(np.zeros(1, np.int64), "i"), [3])
    nodes = [node("Constant", [], ["a"], name="first", sparse_value=sparse),
             node("Constant", [], ["b"], name="second", value_string="text"), node("Add", ["x", "a"], ["y"])]
    with pytest.raises(ec.UnsupportedError, match=r"(?s)first.*sparse_value.*second.*value_string"):
        ec.load(network(nodes))


def test_weights_in_a_second_file(tmp_path):
    proto = network([node("Conv", ["x", "w"], ["y"])], {"w": f32(4, 3, 3, 3)})
    x = f32(2, 3, 8, 8)
    want = reference(proto, x)
    onnx.save(proto, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    np.testing.assert_allclose(ec.load(tmp_path / "net.onnx")(x), want, atol=1e-5)
    with pytest.raises(ec.ModelError, match=r"net\.data.*by its path"):
        ec.load((tmp_path / "net.onnx").read_bytes())
    (tmp_path / "net.data").write_bytes(b"short")
    with pytest.raises(ec.ModelError, match=r"net\.data.*keep the files together"):
        ec.load(tmp_path / "net.onnx")
    (tmp_path / "net.data").unlink()
    with pytest.raises(ec.ModelError, match=r"net\.data.*keep the files together"):
        ec.load(tmp_path / "net.onnx")


@pytest.mark.parametrize("shape", [("N", 3, "H", "W"), (None, 3, None, None)])
def test_free_sizes(shape):
    nodes = [node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]), node("GlobalAveragePool", ["a"], ["p"]),
             node("Flatten", ["p"], ["y"])]
    proto = network(nodes, {"w": f32(4, 3, 3, 3)}, shape=shape)
    for size in ((1, 3, 9, 12), (3, 3, 16, 7), (2, 3, 1, 1)):
        agrees(proto, f32(*size))


@pytest.mark.parametrize("trans_a, trans_b", [(0, 0), (0, 1)])
def test_gemm_with_either_weights(trans_a, trans_b):
    proto = network([node("Gemm", ["x", "w", "b"], ["y"], transB=trans_b, alpha=0.5, beta=2.0)],
                    {"w": f32(*((5, 4) if trans_b else (4, 5))), "b": f32(5)}, shape=("N", 4))
    assert agrees(proto, f32(3, 4)).trainable() == ["w", "b"]


def test_a_function_of_the_file_itself():
    inner = helper.make_function("my.functions", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])],
                                 [helper.make_opsetid("", 17)])
    proto = network([node("Twice", ["x"], ["y"], domain="my.functions")], shape=("N", 4), functions=[inner])
    proto.opset_import.append(helper.make_opsetid("my.functions", 1))
    x = f32(2, 4)
    np.testing.assert_array_equal(ec.load(proto)(x), x + x)


def test_control_flow_is_refused_with_its_reason():
    def branch(value):
        return helper.make_graph([node("Constant", [], ["c"], value_float=value)], "branch", [],
                                 [helper.make_tensor_value_info("c", TensorProto.FLOAT, ())])

    nodes = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["condition"], to=TensorProto.BOOL),
             node("If", ["condition"], ["f"], name="choice", then_branch=branch(1.0), else_branch=branch(2.0)),
             node("Strange", ["x"], ["s"], name="odd", domain="far.away"), node("Mul", ["x", "f"], ["y"])]
    with pytest.raises(ec.UnsupportedError, match=r"(?s)If \(node choice\).*control flow.*Strange \(node odd\).*far\.away"):
        ec.load(network(nodes))


def test_an_opset_of_the_future():
    with pytest.raises(ec.UnsupportedError, match=f"opset {NEWEST + 1}.*up to {NEWEST}.*older opset"):
        ec.load(network([node("Relu", ["x"], ["y"])], opset=NEWEST + 1))


def test_an_input_of_unknown_rank():
    proto = network([node("Relu", ["x"], ["y"])])
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ec.UnsupportedError, match="how many axes input 'x' has"):
        ec.load(proto)


def test_sparse_weights_are_refused():
    proto = network([node("Relu", ["x"], ["y"])])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "v"), numpy_helper.from_array(np.zeros(1, np.int64), "i"), [3]))
    with pytest.raises(ec.UnsupportedError, match="sparse"):
        ec.load(proto)


def test_shapes_that_depend_on_data_are_refused():
    nodes = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["n"], to=TensorProto.INT64),
             node("Reshape", ["n", "one"], ["shape"]), node("Reshape", ["x", "shape"], ["y"])]
    model = ec.load(network(nodes, {"one": np.array([1])}))
    with pytest.raises(ec.UnsupportedError):
        model(f32(1, 3, 8, 8))
