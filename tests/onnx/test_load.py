"""What load makes of inputs: fixed ones, other floats, results that are known before anything runs."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import edgecnn as ec

X = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


def network(nodes, inputs, outputs, opset=17):
    values = [[helper.make_tensor_value_info(n, kind, shape) for n, kind, shape in given] for given in (inputs, outputs)]
    return helper.make_model(helper.make_graph(nodes, "test", *values), opset_imports=[helper.make_opsetid("", opset)])


def reshape(kind=TensorProto.INT64):
    return network([helper.make_node("Reshape", ["x", "shape"], ["y"])],
                   [("x", TensorProto.FLOAT, (3, 4)), ("shape", kind, (2,))], [("y", TensorProto.FLOAT, None)])


def test_an_input_fixed_at_load():
    model = ec.load(reshape(), constants={"shape": [2, -1]})
    assert list(model.inputs) == ["x"]
    np.testing.assert_array_equal(model(X), X.reshape(2, 6))


@pytest.mark.parametrize("constants, word", [
    ({"other": [1]}, "'other', the inputs are x, shape"), ({"shape": [1, 2, 6]}, r"int64 \(3,\), the input is int64 \(2\)"),
    ({"shape": [1.0, 12.0]}, "float64"), ({"shape": "big"}, "the input is int64")])
def test_constants_that_do_not_fit(constants, word):
    with pytest.raises(ec.ModelError, match=word):
        ec.load(reshape(), constants=constants)


def test_constants_are_for_onnx_files(tmp_path):
    ec.load(reshape(), constants={"shape": [4, 3]}).save(tmp_path / "net.ecnn")
    np.testing.assert_array_equal(ec.load(tmp_path / "net.ecnn")(X), X.reshape(4, 3))
    with pytest.raises(ec.ModelError, match="ONNX"):
        ec.load(tmp_path / "net.ecnn", constants={"shape": [4, 3]})


def test_what_cannot_be_an_input_says_how_to_fix_it():
    with pytest.raises(ec.UnsupportedError, match=r"'shape' is int32.*constants=\{'shape': array\}"):
        ec.load(reshape(TensorProto.INT32))


@pytest.mark.parametrize("name, kind", [("float64", TensorProto.DOUBLE), ("float16", TensorProto.FLOAT16)])
def test_other_floats_at_the_edges(name, kind, tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Cast", ["y"], ["z"], to=TensorProto.FLOAT)]
    model = ec.load(network(nodes, [("x", kind, ("N", 4))], [("y", kind, None), ("z", TensorProto.FLOAT, None)]))
    model.save(tmp_path / "net.ecnn")
    model.export_onnx(tmp_path / "net.onnx")
    for net in (model, ec.load(tmp_path / "net.ecnn"), ec.load(tmp_path / "net.onnx")):
        y, z = net((X - 1).astype(name))
        assert (net.inputs["x"].dtype, y.dtype, z.dtype) == (name, name, np.float32)
        assert [spec.dtype for spec in net.outputs.values()] == [name, "float32"]
        np.testing.assert_allclose(y, np.maximum((X - 1).astype(name), 0), rtol=1e-6)
        np.testing.assert_array_equal(net(X)[1], X)
    with pytest.raises(ec.DTypeError, match="int64"):
        model(X.astype(np.int64))


def test_results_known_before_anything_runs():
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Less", ["a", "b"], ["less"]),
             helper.make_node("Relu", ["x"], ["y"])]
    kind = TensorProto.INT32
    inputs = [("x", TensorProto.FLOAT, ("N", 4)), ("a", kind, (2,)), ("b", kind, (2,))]
    outputs = [("s", TensorProto.INT64, None), ("y", TensorProto.FLOAT, None), ("less", TensorProto.BOOL, (2,))]
    model = ec.load(network(nodes, inputs, outputs), constants={"a": [1, 5], "b": [2, 4]})
    shape, y, less = model(X)
    np.testing.assert_array_equal(shape, [3, 4])
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(less, [True, False])
    assert shape.dtype == np.int64 and less.dtype == bool
    shape[:] = 0  # the caller's own copy
    np.testing.assert_array_equal(model(X)[0], [3, 4])
