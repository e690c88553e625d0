"""The published networks that the onnx package carries without their weights, with seeded ones, against onnxruntime."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgecnn as ec

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
QUICK = ("resnet50", "shufflenet", "squeezenet")
SLOW = ("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "vgg19", "zfnet512")
full = pytest.mark.skipif("EDGECNN_TEST_FULL" not in os.environ, reason="only in make test-full")
GAINS = {("Conv", 1), ("Gemm", 1)}
AROUND_ONE = {("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)}


def weights(rng, shape, role):
    """He's for what multiplies, so that values keep their size from layer to layer."""
    if role in GAINS:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return rng.uniform(0.5, 1.5, shape) if role in AROUND_ONE else rng.normal(0, 0.1, shape)


def with_weights(proto, rng):
    """In the file every weight is a node that makes a constant of a given shape: random arrays take their places."""
    graph = proto.graph
    readers = {v: (n, i) for n in graph.node for i, v in enumerate(n.input)}
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    made = [n for n in graph.node if n.op_type == "ConstantOfShape"]
    for node in made:
        name = node.output[0]
        reader, index = readers[name]
        while reader.op_type == "Unsqueeze":
            reader, index = readers[reader.output[0]]
        array = weights(rng, tuple(shapes[node.input[0]]), (reader.op_type, index)).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
        graph.node.remove(node)
    return len(made)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=full) for n in SLOW)])
def test_published_network(name):
    proto, rng = onnx.load(FOLDER / f"light_{name}.onnx"), np.random.default_rng(0)
    assert with_weights(proto, rng) > 10
    last = proto.graph.node[-1]
    if last.op_type == "Softmax":  # its scores too: they do not hide differences
        proto.graph.output.append(helper.make_tensor_value_info(last.input[0], TensorProto.FLOAT, None))
    data = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data)
    feeds = {i.name: rng.normal(0, 1, i.shape).astype(np.float32) for i in session.get_inputs()}
    wants, results = session.run(None, feeds), ec.load(data).run(feeds)
    for got, want in zip(results.values(), wants, strict=True):
        assert got.shape == want.shape and want.std() > 0.1 * np.abs(want).max() / np.sqrt(want.size)
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
