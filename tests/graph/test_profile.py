"""What a profile says about the steps of a plan."""

import numpy as np
import pytest

import edgecnn as ec
from edgecnn.graph.profile import peak_flops, profile

C, OC, SIDE = 32, 48, 16


class Twice(ec.nn.Module):
    def forward(self, x):
        return x + x


@pytest.fixture
def net():
    net = ec.nn.Sequential(("conv", ec.nn.Conv2d(C, OC, 3, padding=1)), ("relu", ec.nn.ReLU()),
                           ("add", Twice()), ("flatten", ec.nn.Flatten()), ("fc", ec.nn.Linear(OC * SIDE * SIDE, 5)))
    net.input_shape = (None, C, SIDE, SIDE)
    return net


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_steps_know_layer_operations_traffic_and_algorithm(net, threads, algorithm, monkeypatch):
    monkeypatch.setattr("edgecnn.config._threads", threads)
    x = np.random.default_rng(0).standard_normal((1, C, SIDE, SIDE), np.float32)
    plan = net.plan({"input": x.shape}, {"convolution": algorithm})
    steps = profile(plan, [x], runs=3)
    assert [s.kernel for s in steps] == [s.kernel for s in plan.steps] and all(s.seconds > 0 for s in steps)
    conv = [s for s in steps if s.layer == "conv" and s.flops and s.op == "Conv"]
    pixels = SIDE * SIDE
    assert sum(s.flops for s in conv if s.kernel in ("conv_direct", "gemm")) == 2 * 9 * C * OC * pixels
    assert {s.algorithm for s in conv} == {algorithm}
    if algorithm == "direct":  # input, output, packed weights (all panels) and bias; not the padded rows in scratch
        panels = -(-OC // plan_nr()) * plan_nr()
        assert conv[0].bytes == 4 * (C * pixels + OC * pixels + panels * 9 * C + panels)
    add = next(s for s in steps if s.kernel == "add")
    assert add.flops == 0 and add.algorithm == "" and add.bytes == 4 * 3 * OC * pixels


def test_portions_of_a_batch_count_together(net, monkeypatch):
    x = np.random.default_rng(0).standard_normal((4, C, SIDE, SIDE), np.float32)
    monkeypatch.setattr("edgecnn.model.images_at_once", lambda graph: 2)
    plan = net.plan({"input": x.shape}, {"convolution": "direct"})
    conv = next(s for s in profile(plan, [x], runs=1) if s.kernel == "conv_direct")
    assert plan.portions == 2 and conv.flops == 4 * 2 * 9 * C * OC * SIDE * SIDE


def plan_nr():
    from edgecnn.config import chosen_isa

    return chosen_isa()[1]["nr"]


def test_training_steps_are_named_after_the_layer(net):
    x = np.random.default_rng(0).standard_normal((2, C, SIDE, SIDE), np.float32)
    trainer = ec.Trainer(net, ec.optim.Momentum(lr=1e-3))
    before = net.state_dict()["fc.weight"]
    plan, steps = trainer.profile(x, np.array([0, 1]), runs=2, warm_up=1)
    named = {(s.layer, s.op) for s in steps}
    assert {("conv", "Conv"), ("conv", "ConvBackwardWeights"), ("fc.weight", "MomentumUpdate")} <= named
    assert len(steps) == len(plan.steps) and trainer.steps == 3
    assert not np.array_equal(net.state_dict()["fc.weight"], before)


def test_peak_is_that_of_a_processor():
    one, two = peak_flops(1), peak_flops(2)
    assert 1e8 < one < 1e13 and two > 0
