"""A batch goes through a network in portions where that is faster and changes nothing."""

import numpy as np
import pytest

import edgecnn as ec
from edgecnn.config import chosen_isa
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.portions import images_at_once, independent, side_by_side
from edgecnn.graph.profile import profile
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
    for size, images in ((side, 1), (side // 2, 4), (8, 4)):
        g = graph_of(lambda g: g.emit("Conv", ["x", constant(g, (16, 16, 1, 1))]), (16, 16, size, size))
        assert images_at_once(g) == images


def test_large_weights_are_read_once():
    g = graph_of(lambda g: g.emit("Conv", ["x", constant(g, (2048, 2048, 1, 1))]), (16, 2048, 9, 9))
    assert images_at_once(g) == 16


def network():
    return ec.nn.Sequential(ec.nn.Conv2d(3, 32, 3, padding=1), ec.nn.ReLU(), ec.nn.Conv2d(32, 4, 1), ec.nn.GlobalAvgPool2d(),
                            ec.nn.Flatten(), ec.nn.Linear(4, 2))


def test_portions_give_what_single_images_give():
    side = int((chosen_isa()[1]["x_block_bytes"] / 64) ** 0.5)  # one picture fits the cache, three do not
    net, x = network(), np.random.default_rng(0).standard_normal((6, 3, side, side)).astype(np.float32)
    assert net.plan({"input": x.shape}).portions > 1
    np.testing.assert_array_equal(net(x), np.concatenate([net(x[i:i + 1]) for i in range(6)]))
    np.testing.assert_array_equal(net(x[::-1]), net(x)[::-1])


@pytest.mark.parametrize("batch", [4, 7, 12])
def test_copies_side_by_side_give_the_same_bits(batch, monkeypatch):
    net, x = network(), np.random.default_rng(0).standard_normal((batch, 3, 20, 20)).astype(np.float32)
    results, copies = [], []
    for threads in (1, 2, 3, 4):
        monkeypatch.setattr("edgecnn.config._threads", threads)
        plan = net.plan({"input": x.shape})
        results += [plan.run(x)[0] for _ in range(3)]
        copies.append(plan.copies)
    assert copies == [side_by_side(plan.portions, threads) for threads in (1, 2, 3, 4)] and max(copies) > 1
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_copies_are_profiled_together(monkeypatch):
    net, x, flops = network(), np.zeros((8, 3, 20, 20), np.float32), []
    for threads in (1, 2):
        monkeypatch.setattr("edgecnn.config._threads", threads)
        plan = net.plan({"input": x.shape})
        steps = profile(plan, [x], runs=2)
        assert plan.copies == threads and len(steps) == len(plan.steps) and all(s.seconds > 0 for s in steps)
        flops.append(sum(s.flops for s in steps))
    assert flops[0] == flops[1] > 0


@pytest.mark.parametrize(("portions", "threads", "copies"), [
    (1, 2, 1), (4, 1, 1), (4, 4, 4), (5, 4, 1), (6, 4, 4), (3, 4, 4), (2, 4, 1), (16, 3, 3)])
def test_threads_are_kept_busy(portions, threads, copies):
    assert side_by_side(portions, threads) == copies
