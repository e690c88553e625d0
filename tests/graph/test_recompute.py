"""Recomputed activations: the same bits in less memory."""

import numpy as np
import pytest

import edgecnn as ec
from edgecnn.graph import training


class Block(ec.nn.Module):
    """With batch norm, an activation whose slope is computed from its input, a depthwise convolution and a residual."""

    def __init__(self, c):
        super().__init__()
        self.expand, self.bn1 = ec.nn.Conv2d(c, 4 * c, 1, bias=False), ec.nn.BatchNorm2d(4 * c)
        self.swish = ec.nn.SiLU()
        self.depthwise = ec.nn.Conv2d(4 * c, 4 * c, 3, padding=1, groups=4 * c, bias=False)
        self.bn2, self.relu = ec.nn.BatchNorm2d(4 * c), ec.nn.ReLU()
        self.project, self.bn3 = ec.nn.Conv2d(4 * c, c, 1, bias=False), ec.nn.BatchNorm2d(c)

    def forward(self, x):
        y = self.swish(self.bn1(self.expand(x)))
        y = self.relu(self.bn2(self.depthwise(y)))
        return self.relu(x + self.bn3(self.project(y)))


def network(size=12):
    ec.nn.manual_seed(0)
    net = ec.nn.Sequential(ec.nn.Conv2d(3, 8, 3, padding=1), ec.nn.BatchNorm2d(8), ec.nn.ReLU(),
                           *(Block(8) for _ in range(3)), ec.nn.GlobalAvgPool2d(), ec.nn.Flatten(), ec.nn.Linear(8, 4))
    net.input_shape = (None, 3, size, size)
    return net


def trained(threads, monkeypatch, running=False):
    """Parameters and losses after three steps, and the memory of a step."""
    monkeypatch.setattr("edgecnn.config._threads", threads)
    rng = np.random.default_rng(0)
    net = network()
    trainer = ec.Trainer(net, ec.optim.Adam(lr=1e-2), running_statistics=running)
    losses = [trainer.step(rng.standard_normal((4, 3, 12, 12), np.float32), rng.integers(0, 4, 4)) for _ in range(3)]
    (plan, _), = trainer._plans.values()
    return losses, net.state_dict(), plan


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_bit_changes_and_less_memory_is_needed(threads, running, monkeypatch):
    losses, state, plan = trained(threads, monkeypatch, running)
    again = [n for n in plan.graph.nodes if n.op in ("BatchNormApply", "BatchNormalization", "Swish")]
    with monkeypatch.context() as m:
        m.setattr(training, "recompute", lambda g, forward: None)
        kept_losses, kept_state, kept_plan = trained(threads, monkeypatch, running)
    assert losses == kept_losses
    for name in state:
        np.testing.assert_array_equal(state[name], kept_state[name])
    assert plan.arena_bytes < 0.85 * kept_plan.arena_bytes
    assert len(plan.graph.nodes) > len(kept_plan.graph.nodes) and again


def test_what_is_computed_again_comes_from_what_is_kept(monkeypatch):
    _, _, plan = trained(1, monkeypatch)
    producers = plan.graph.producers()
    for node in plan.graph.nodes:
        if node.op == "BatchNormApply":
            assert all(producers[v].op != "BatchNormApply" for v in node.inputs if v in producers)
