"""The gradient of a clamp inside the gradient of what reads its result: the same bits in fewer steps."""

import numpy as np
import pytest

import edgecnn as ec
from edgecnn.graph import training
from tests.helpers import every_isa


class Network(ec.nn.Module):
    """A clamp before a pooling, a clamped concatenation before an overlapping one, and one that something else reads too."""

    def __init__(self, relu_last):
        super().__init__()
        self.relu_last, self.pool, self.wide = relu_last, ec.nn.MaxPool2d(2), ec.nn.MaxPool2d(3, 2, padding=1)
        self.first, self.left = ec.nn.Conv2d(3, 5, 3, padding=1), ec.nn.Conv2d(5, 4, 1)
        self.right, self.last = ec.nn.Conv2d(5, 19, 3, padding=1), ec.nn.Conv2d(23, 23, 1)
        self.relu, self.concat = ec.nn.ReLU(), ec.nn.Concat()
        self.mean, self.flatten = ec.nn.GlobalAvgPool2d(), ec.nn.Flatten()
        self.input_shape = (None, 3, 18, 18)

    def forward(self, x):
        x = self.pool(self.relu(self.first(x)))
        if self.relu_last:
            x = self.relu(self.concat(self.left(x), self.right(x)))
        else:
            x = self.concat(self.relu(self.left(x)), self.relu(self.right(x)))
        x = self.wide(x)
        x = self.relu(self.last(x)) + x
        return self.flatten(self.mean(x))


def trained(threads, monkeypatch, relu_last=False):
    """Parameters after two steps, and the numbers of ClampBackward nodes and of gates in poolings."""
    monkeypatch.setattr("edgecnn.config._threads", threads)
    rng = np.random.default_rng(0)
    ec.nn.manual_seed(0)
    net = Network(relu_last)
    trainer = ec.Trainer(net, ec.optim.SGD(lr=0.5))
    for _ in range(2):
        trainer.step(rng.standard_normal((4, 3, 18, 18), np.float32), rng.integers(0, 23, 4))
    (plan, _), = trainer._plans.values()
    gates = [n for n in plan.graph.nodes if n.op == "PoolBackward" and n.attrs.get("lo") == 0.0]
    return net.state_dict(), sum(n.op == "ClampBackward" for n in plan.graph.nodes), len(gates)


@every_isa
@pytest.mark.parametrize("threads", [1, 2])
def test_no_bit_changes(isa, threads, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    fused, clamps, gates = trained(threads, monkeypatch)
    after, *_ = trained(threads, monkeypatch, relu_last=True)
    with monkeypatch.context() as m:
        m.setattr(training.fuse_gate, "run", lambda g: None)
        plain, more, none = trained(threads, monkeypatch)
    assert (clamps, gates, more, none) == (1, 2, 3, 0)
    for name, value in plain.items():
        np.testing.assert_array_equal(fused[name], value)
        np.testing.assert_array_equal(after[name], value)
