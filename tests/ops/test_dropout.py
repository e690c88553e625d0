"""Dropout: nothing in inference; in training the same bits whatever the threads, the instruction set and the layout."""

import numpy as np
import pytest
from helpers import ISAS, assert_close, build, every_isa, inside, run_gradient, run_graph, run_op, run_optimised

import edgecnn as ec
from edgecnn import nn
from edgecnn.errors import ModelError, UnsupportedError
from edgecnn.graph.autodiff import differentiate
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import Node, TensorSpec, get_op

rng = np.random.default_rng(1)


def numbers(*shape):
    return rng.normal(size=shape).astype(np.float32)


def expected(x, ratio, seed, step):
    """The definition in integers: SplitMix64's finaliser over (seed, step), then over the element's number."""
    mask = (1 << 64) - 1

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    key = mix(seed ^ mix((step + golden) & mask))
    kept = [mix((key + i * golden) & mask) >> 32 >= int(ratio * 2**32) for i in range(x.size)]
    return np.where(np.reshape(kept, x.shape), x * np.float32(1 / (1 - ratio)), np.float32(0))


def train(x, ratio=0.5, seed=7, step=3, **kwargs):
    inputs = {"x": x, "step": np.array([step], np.int64)}
    return run_op("DropoutTraining", inputs, {"ratio": ratio, "seed": seed}, **kwargs)[0]


@every_isa
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 3, 4), (2, 3, 4, 5), (1, 2, 3, 2, 2)], ids=str)
def test_numbers_follow_from_seed_step_and_element(isa, within, shape, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.asarray(numbers(*shape))
    np.testing.assert_array_equal(train(x, 0.3, within=within), expected(x, 0.3, 7, 3))


def test_threads_and_instruction_sets_do_not_matter(monkeypatch):
    x = numbers(4, 24, 40, 40)
    results = set()
    for isa in ISAS:
        monkeypatch.setenv("EDGECNN_ISA", isa)
        results |= {train(x, threads=n, within=within).tobytes() for n in (1, 2, 3) for within in (False, True)}
    assert len(results) == 1


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_statistics(ratio):
    """The share of dropped elements, overall, per channel and in each pair of neighbours, within 5 standard deviations."""
    x = np.ones((50, 20, 10, 10), np.float32)
    dropped = train(x, ratio) == 0

    def near(share, want, n):
        assert np.abs(share - want).max() < 5 * np.sqrt(want * (1 - want) / n)

    near(dropped.mean(), ratio, x.size)
    near(dropped.mean((0, 2, 3)), ratio, x.size / 20)
    near((dropped[..., 1:] & dropped[..., :-1]).mean(), ratio**2, x.size / 10)
    near((dropped[1:] & dropped[:-1]).mean(), ratio**2, x.size / 10)
    others = train(x, ratio, step=4) == 0, train(x, ratio, seed=8) == 0
    for other in others:  # another step or another node draws other numbers
        near((dropped & other).mean(), ratio**2, x.size / 10)


def test_expectation_is_kept():
    """Inverted scaling: the mean over 400 steps is x, within 5 standard deviations of it."""
    x = numbers(6, 9)
    mean = np.mean([train(x, 0.5, step=s) for s in range(400)], 0)
    assert np.all(np.abs(mean - x) < 5 * np.abs(x) / np.sqrt(400))


@pytest.mark.parametrize("within", [False, True])
def test_gradient_draws_the_same_numbers(within):
    x, dy = np.ones((3, 4, 5, 6), np.float32), numbers(3, 4, 5, 6)
    step = np.array([9], np.int64)
    dx, none = run_gradient("DropoutTraining", {"x": x, "step": step}, {"ratio": 0.4, "seed": 5}, dy, within=within,
                            needs=[True, False])
    assert none is None
    np.testing.assert_array_equal(dx, dy * train(x, 0.4, 5, 9))


def test_views_and_places_with_gaps():
    """The input is a turned or cut view, the output a part of a larger value."""
    x = numbers(2, 6, 4, 5)
    g = Graph(inputs={"x": TensorSpec(x.shape), "step": TensorSpec((1,), "int64")})
    g.specs.update(g.inputs)
    attrs = {"ratio": 0.5, "seed": 1}
    cut = g.emit("Slice", ["x"], starts=(1,), ends=(4,), axes=(3,))
    turned = g.emit("Transpose", [cut], perm=(2, 1, 0, 3))
    a, b = (g.emit("DropoutTraining", [v, "step"], **attrs) for v in (cut, turned))
    again = g.emit("Transpose", [b], perm=(2, 1, 0, 3))
    g.outputs = [g.emit("Concat", [a, again, a], axis=3)]
    first, second = (expected(np.ascontiguousarray(v), 0.5, 1, 2) for v in (
        x[..., 1:4], x[..., 1:4].transpose(2, 1, 0, 3)))
    want = np.concatenate([first, second.transpose(2, 1, 0, 3), first], 3)
    for graph in (g, inside(g.copy())):
        (y,) = run_graph(graph, {"x": x, "step": np.array([2])})
        np.testing.assert_array_equal(y, want)


def network(ratio, outputs=1):
    g = Graph(inputs={"x": TensorSpec((2, 3, 4, 4))})
    g.specs.update(g.inputs)
    made = g.emit("Dropout", [g.emit("Relu", ["x"])], outputs, ratio=ratio)
    g.outputs = [g.emit("Tanh", [made if outputs == 1 else made[0]])]
    return g


@pytest.mark.parametrize("outputs", [1, 2])
def test_inference_is_the_identity(outputs):
    """Also if an older file names a mask."""
    x = numbers(2, 3, 4, 4)
    g = optimise(specialise(network(0.5, outputs), {"x": x.shape}))
    assert [n.op for n in g.nodes] == ["Relu", "Tanh"]
    (y,) = run_op("Dropout", {"x": x}, {"ratio": np.float32(0.9)})
    np.testing.assert_array_equal(y, x)


def test_a_mask_that_is_read():
    """All true in inference, refused in training."""
    g = network(0.5, 2)
    g.outputs.append(g.nodes[1].outputs[1])
    mask = run_optimised(g, {"x": numbers(2, 3, 4, 4)})[1]
    assert mask.shape == (2, 3, 4, 4) and mask.dtype == bool and mask.all()
    with pytest.raises(UnsupportedError, match=r"its mask 'dropout_1' is read"):
        get_op("Dropout").for_training(g, g.nodes[1])


def test_training_form():
    """Two dropouts draw different numbers from one counter; a ratio of 0 stays the identity."""
    g = specialise(network(0.25), {"x": (2, 3, 4, 4)})
    first = get_op("Dropout").for_training(g, g.nodes[1])
    second = get_op("Dropout").for_training(g, Node("Dropout", ["x"], ["other"], {"ratio": 0.25}))
    assert list(g.inputs) == ["x", "step"] and g.inputs["step"] == TensorSpec((1,), "int64")
    assert first.attrs["ratio"] == 0.25 and first.attrs["seed"] != second.attrs["seed"]
    assert get_op("Dropout").for_training(g, Node("Dropout", ["x"], ["y"], {"ratio": 0.0})) is None
    g.nodes[1] = first
    g.verify()
    x = numbers(2, 3, 4, 4)
    (y,) = Plan(optimise(g), 1).run(x, np.array([5]))
    assert_close(y, np.tanh(expected(np.maximum(x, 0), 0.25, first.attrs["seed"], 5)), 1e-6)


def test_loss_falls_through_dropout():
    """The gradient of a graph with dropout is that of the function with this step's mask."""
    x, dy = numbers(2, 3, 4, 4), numbers(2, 3, 4, 4)
    g = specialise(network(0.5), {"x": x.shape})
    g.nodes[1] = get_op("Dropout").for_training(g, g.nodes[1])
    seed = g.nodes[1].attrs["seed"]
    total = g.emit("ReduceSum", [g.emit("Mul", [g.outputs[0], g.constant(dy)])], keepdims=0)
    g.outputs = [g.emit("Reshape", [total], shape=(1,))]
    grads = differentiate(optimise(g), g.outputs[0], ["x"])
    g.outputs = [grads["x"]]
    (dx,) = Plan(g, 1).run(x, np.array([1]))
    scale = expected(np.ones_like(x), 0.5, seed, 1)
    assert_close(dx, dy * (1 - np.tanh(np.maximum(x, 0) * scale) ** 2) * scale * (x > 0))


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_ratio_must_leave_something(ratio):
    with pytest.raises(ModelError, match=r"ratio is .*allowed are 0 <= ratio < 1"):
        build("Dropout", {"x": numbers(2, 3)}, {"ratio": ratio})


def test_a_network_may_not_use_the_name_of_the_counter():
    g = Graph(inputs={"step": TensorSpec((2, 3))})
    g.specs.update(g.inputs)
    g.outputs = [g.emit("Dropout", ["step"])]
    with pytest.raises(ModelError, match="is called 'step'"):
        get_op("Dropout").for_training(specialise(g, {"step": (2, 3)}), g.nodes[0])


class Net(nn.Module):
    input_shape = (None, 4, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(4, 8, 3), nn.ReLU()
        self.drop, self.flatten, self.fc = nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 16, 3)

    def forward(self, x):
        return self.fc(self.drop(self.flatten(self.drop(self.relu(self.conv(x))))))


def test_training_a_network():
    """Every step drops others: with no learning rate to speak of only that changes the loss. Training ends in the
    same weights with any number of threads. Prediction drops nothing."""
    x, y = numbers(8, 4, 6, 6), rng.integers(0, 3, 8)
    nn.manual_seed(0)
    still = ec.Trainer(Net(), ec.optim.SGD(lr=1e-30))
    assert len({still.step(x, y) for _ in range(4)}) == 4
    ends = []
    for threads in (1, 2, 3):
        ec.set_num_threads(threads)
        nn.manual_seed(0)
        net = Net()
        trainer = ec.Trainer(net, ec.optim.SGD(lr=0.1))
        for _ in range(4):
            trainer.step(x, y)
        ends.append({name: value.tobytes() for name, value in net.state_dict().items()})
        np.testing.assert_array_equal(net(x), net(x))
    assert ends[0] == ends[1] == ends[2]
