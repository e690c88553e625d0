"""A batch goes through a network in portions where that is faster and changes nothing."""

import numpy as np
import pytest

import edgecnn as ec
from edgecnn.config import chosen_isa
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.portions import images_at_once, independent
from edgecnn.ops import TensorSpec


def graph_of(emit, shape=(4, 8, 16, 16)):
    """A graph of one input x; emit makes its output."""
    g = Graph(inputs={"x": TensorSpec(shape)})
    g.specs.update(g.inputs)
    g.outputs = [emit(g)]
    return specialise(g, {"x": shape})


def constant(g, shape):
    return g.constant(np.ones(shape, np.float32))


def mean(g, axes):
    return g.emit("ReduceMean", ["x"], axes=axes, keepdims=0)


@pytest.mark.parametrize("emit", [
    lambda g: g.emit("Conv", ["x", constant(g, (4, 8, 3, 3))]),
    lambda g: g.emit("MaxPool", ["x"], kernel_shape=(2, 2)),
    lambda g: g.emit("Relu", [g.emit("GlobalAveragePool", ["x"])]),
    lambda g: g.emit("Concat", ["x", g.emit("Sigmoid", ["x"])], axis=1),
    lambda g: g.emit("Softmax", [g.emit("Reshape", ["x"], shape=(4, 2048))], axis=-1),
    lambda g: g.emit("ReduceSum", ["x"], axes=[2, 3], keepdims=0),
    lambda g: g.emit("Transpose", ["x"], perm=(0, 2, 3, 1)),
    lambda g: g.emit("Mul", ["x", constant(g, (8, 1, 1))]),
    lambda g: g.emit("Add", ["x", constant(g, (1, 8, 16, 16))]),
    lambda g: g.emit("Max", ["x", constant(g, (8, 1, 1))]),
    lambda g: g.emit("LRN", ["x"], size=3),
    lambda g: g.emit("Standardize", ["x"], ["y"], axes=(2, 3)),
])
def test_images_that_are_independent(emit):
    assert independent(graph_of(emit), 4)


@pytest.mark.parametrize("emit", [
    lambda g: g.emit("Softmax", ["x"], axis=0),
    lambda g: g.emit("Concat", ["x", "x"], axis=0),
    lambda g: g.emit("ReduceMean", ["x"], axes=[0], keepdims=1),
    lambda g: g.emit("ReduceMean", ["x"], keepdims=1),
    lambda g: g.emit("Standardize", ["x"], ["y"], axes=(0, 2, 3)),
    lambda g: g.emit("Max", ["x", constant(g, (4, 4, 16, 16))]),
    lambda g: g.emit("Transpose", ["x"], perm=(1, 0, 2, 3)),
    lambda g: g.emit("Reshape", ["x"], shape=(2, 8, 16, 16)),
    lambda g: g.emit("Add", ["x", constant(g, (4, 4, 16, 16))]),  # another constant for each image
    lambda g: g.emit("Add", [mean(g, [2, 3]), mean(g, [1, 2, 3])]),  # the second is repeated along channels
    lambda g: g.emit("Mul", ["x", g.emit("Transpose", ["x"], perm=(1, 0, 2, 3))]),
])
def test_images_that_are_not(emit):
    assert not independent(graph_of(emit, (4, 4, 16, 16)), 4)


def test_activations_beyond_the_cache_are_computed_image_by_image():
    side = int((chosen_isa()[1]["x_block_bytes"] / 32) ** 0.5)  # 32 floats a pixel fill the cache
    for size, images in ((side, 1), (side // 2, 4), (8, 16)):
        g = graph_of(lambda g: g.emit("Conv", ["x", constant(g, (16, 16, 1, 1))]), (16, 16, size, size))
        assert images_at_once(g) == images


def test_large_weights_are_read_once():
    g = graph_of(lambda g: g.emit("Conv", ["x", constant(g, (2048, 2048, 1, 1))]), (16, 2048, 9, 9))
    assert images_at_once(g) == 16


def network():
    return ec.nn.Sequential(ec.nn.Conv2d(3, 32, 3, padding=1), ec.nn.ReLU(), ec.nn.Conv2d(32, 4, 1), ec.nn.GlobalAvgPool2d(),
                            ec.nn.Flatten(), ec.nn.Linear(4, 2))


def test_portions_give_what_single_images_give():
    side = int((chosen_isa()[1]["x_block_bytes"] / 64) ** 0.5)  # what one picture needs fits the cache, what three need does not
    net, x = network(), np.random.default_rng(0).standard_normal((6, 3, side, side)).astype(np.float32)
    assert net.plan({"input": x.shape}).portions > 1
    np.testing.assert_array_equal(net(x), np.concatenate([net(x[i:i + 1]) for i in range(6)]))
    np.testing.assert_array_equal(net(x[::-1]), net(x)[::-1])
