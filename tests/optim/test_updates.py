"""Every optimizer's kernel against its formula in float64, over 100 steps on a real graph."""

import numpy as np
import pytest

from edgecnn import optim
from edgecnn.errors import ShapeError
from edgecnn.graph.ir import Graph
from edgecnn.graph.plan import Plan
from edgecnn.ops import TensorSpec
from tests.helpers import every_isa, run_op

OPTIMIZERS = [optim.SGD, optim.Momentum, optim.Nesterov, optim.AdaGrad, optim.RMSprop, optim.AdaDelta,
              optim.Adam, optim.AdamW]
every_optimizer = pytest.mark.parametrize("cls", OPTIMIZERS, ids=lambda c: c.__name__)
SHAPES = [(1,), (10,), (37, 65), (8, 3, 5, 5)]


def changing_rate(step):
    return 0.02 / step**0.5 if step % 10 else 0.03


def reference(o, theta, gradient, steps, scale):
    """theta and states after some steps; gradient(step, theta) is that of the cost, everything in float64."""
    state = {s: np.zeros_like(theta) for s in o.states}
    name = type(o).__name__
    for t in range(1, steps + 1):
        lr = o.rate(t)
        at = theta - o.gamma * state["v"] if name == "Nesterov" else theta
        g = gradient(t, at) * scale + (0 if name == "AdamW" else o.weight_decay * at)
        if name == "SGD":
            theta = theta - lr * g
        elif name in ("Momentum", "Nesterov"):
            state["v"] = o.gamma * state["v"] + lr * g
            theta = theta - state["v"]
        elif name == "AdaGrad":
            state["G"] = state["G"] + g**2
            theta = theta - lr / np.sqrt(state["G"] + o.eps) * g
        elif name == "RMSprop":
            state["E"] = o.gamma * state["E"] + (1 - o.gamma) * g**2
            theta = theta - lr / np.sqrt(state["E"] + o.eps) * g
        elif name == "AdaDelta":
            state["E"] = o.gamma * state["E"] + (1 - o.gamma) * g**2
            d = -np.sqrt(state["D"] + o.eps) / np.sqrt(state["E"] + o.eps) * g
            state["D"] = o.gamma * state["D"] + (1 - o.gamma) * d**2
            theta = theta + lr * d
        else:
            state["m"] = o.beta1 * state["m"] + (1 - o.beta1) * g
            state["v"] = o.beta2 * state["v"] + (1 - o.beta2) * g**2
            m, v = state["m"] / (1 - o.beta1**t), state["v"] / (1 - o.beta2**t)
            decay = lr * o.weight_decay * theta if name == "AdamW" else 0
            theta = theta - lr * m / (np.sqrt(v) + o.eps) - decay
    return theta, state


def problem(shape, steps, seed=0):
    """Start, curvature h >= 0 and noise per step of the cost h theta^2 / 2 + noise theta."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((steps, *shape)) * np.exp(2 * rng.standard_normal(shape))
    return [a.astype(np.float32) for a in (rng.standard_normal(shape), rng.uniform(0, 3, shape), noise)]


def train(o, theta, h, noise, scale=None, threads=1):
    """theta (changed in place) and the states after a step for each noise; the gradient is computed by the
    graph from what the parameter is when the network reads it."""
    shapes = {"noise": theta.shape, "hyper": (8,), "scale": (1,)}
    g = Graph(inputs={name: TensorSpec(shape) for name, shape in shapes.items()},
              params={"theta": theta, **{s: np.zeros_like(theta) for s in o.states}}, constants={"h": h})
    g.specs.update(g.inputs)
    current = g.emit(o.ahead, ["theta", *o.states], **o.ahead_attrs()) if o.ahead else "theta"
    grad = g.emit("Add", [g.emit("Mul", [current, "h"]), "noise"])
    last = [] if scale is None else ["scale"]
    g.outputs = [g.emit(o.update, [current, grad, *o.states, "hyper", *last], **o.attrs())]
    g.verify()
    plan = Plan(g, threads)
    for t, n in enumerate(noise, 1):
        (result,) = plan.run(n, o.hyper(t), np.array([scale or 0], np.float32))
        np.testing.assert_array_equal(result, theta)
    return theta, {s: g.params[s] for s in o.states}


def relative(got, want):
    return np.abs(got - want).max() / np.abs(want).max()


@every_isa
@every_optimizer
@pytest.mark.parametrize("decay, scale", [(0.0, None), (0.05, None), (0.05, 0.37)])
def test_hundred_steps(monkeypatch, isa, cls, decay, scale):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    o = cls(lr=changing_rate, weight_decay=decay)
    for shape in SHAPES:
        theta, h, noise = problem(shape, 100)
        want, states = reference(o, theta.astype(np.float64), lambda t, at: h * at + noise[t - 1],  # noqa: B023
                                 100, 1.0 if scale is None else float(np.float32(scale)))
        got, arrays = train(o, theta.copy(), h, noise, scale)
        assert relative(got, want) < 1e-5
        for name in states:
            assert relative(arrays[name], states[name]) < 1e-5, name


@every_isa
@every_optimizer
def test_threads_do_not_change_a_bit(monkeypatch, isa, cls):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    theta, h, noise = problem((301, 419), 5)
    o = cls(lr=0.01, weight_decay=0.01)
    runs = [train(o, theta.copy(), h, noise, 0.5, threads) for threads in (1, 2, 3)]
    for after, states in runs[1:]:
        assert after.tobytes() == runs[0][0].tobytes()
        assert all(states[s].tobytes() == runs[0][1][s].tobytes() for s in states)


@pytest.mark.parametrize("cls", [optim.Momentum, optim.Nesterov])
def test_a_new_rate_does_not_rescale_old_velocity(cls):
    o = cls(lr=lambda t: 0.1 if t == 1 else 0.001, gamma=0.5)
    theta, _ = train(o, np.ones(1, np.float32), np.zeros(1, np.float32), np.ones((2, 1), np.float32))
    np.testing.assert_allclose(theta, 1 - 0.1 - (0.5 * 0.1 + 0.001), rtol=1e-6)  # velocity times rate: 0.8985


def test_nesterov_takes_the_gradient_ahead_and_leaves_theta():
    o = optim.Nesterov(lr=0.1, gamma=0.5)
    one = np.ones(1, np.float32)
    theta, states = train(o, one.copy(), one, np.zeros((2, 1), np.float32))
    # C = theta^2 / 2: v1 = 0.1, theta1 = 0.9; gradient at 0.9 - 0.05 = 0.85; v2 = 0.05 + 0.085
    np.testing.assert_allclose(states["v"], 0.135, rtol=1e-6)
    np.testing.assert_allclose(theta, 0.9 - 0.135, rtol=1e-6)


@pytest.mark.parametrize("cls", [optim.AdaGrad, optim.RMSprop, optim.AdaDelta])
def test_epsilon_stands_inside_the_root(cls):
    o = cls(lr=1.0, eps=9.0)
    zero, gradient = np.zeros(1, np.float32), np.full((1, 1), 4, np.float32)
    theta, _ = train(o, zero.copy(), zero, gradient)
    square = 16.0 if cls is optim.AdaGrad else 16 * (1 - o.gamma)
    first = 3 if cls is optim.AdaDelta else 1  # RMS of no steps is sqrt(eps)
    np.testing.assert_allclose(theta, -first * 4 / np.sqrt(square + 9), rtol=1e-6)


def test_small_decoupled_decay_is_not_rounded_away():
    o = optim.AdamW(lr=1e-4, weight_decay=1e-2)  # 1 - lr * decay has 3 % error as float32
    theta, _ = train(o, np.full(1, 1.0, np.float32), np.zeros(1, np.float32), np.zeros((1000, 1), np.float32))
    np.testing.assert_allclose(1 - theta, 1e-3, rtol=0.1)


def test_constants_of_a_schedule_reach_the_kernel():
    o = optim.Adam(lr=optim.Step(0.5, 10))
    np.testing.assert_allclose(o.hyper(1)[:3], [0.5, 1 / 0.1, 1 / 0.001], rtol=1e-6)
    np.testing.assert_allclose(o.hyper(11)[:4], [0.05, 1 / (1 - 0.9**11), 1 / (1 - 0.999**11), 0], rtol=1e-6)
    assert o.hyper(1, lr=0.25)[0] == 0.25
    assert o.hyper(3).dtype == np.float32 and o.hyper(3).shape == (8,)


@every_isa
@pytest.mark.parametrize("shape", [(1,), (37,), (64, 3, 7, 7), (301, 419), (2, 3, 5, 7)])
@pytest.mark.parametrize("within", [False, True])
def test_squared_sum(monkeypatch, isa, shape, within):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    runs = [run_op("SquaredSum", {"x": x}, threads=t, within=within)[0] for t in (1, 2, 3)]
    np.testing.assert_allclose(runs[0], [(x.astype(np.float64)**2).sum()], rtol=3e-7)
    assert runs[0].tobytes() == runs[1].tobytes() == runs[2].tobytes()


@every_isa
@pytest.mark.parametrize("squares, want", [
    ([9.0, 16.0], 2 / 5), ([1.0], 1), ([0.0, 0.0], 1), ([4.0], 1), ([np.inf], 0), ([np.nan], np.nan)])
def test_clip_scale(monkeypatch, isa, squares, want):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    inputs = {f"s{i}": np.array([s], np.float32) for i, s in enumerate(squares)}
    (scale,) = run_op("ClipScale", inputs, {"max_norm": 2.0})
    np.testing.assert_allclose(scale, [want], rtol=1e-6)


def test_shapes_must_agree():
    arrays = {"w": np.ones(3, np.float32), "g": np.ones(4, np.float32), "hyper": np.zeros(8, np.float32)}
    with pytest.raises(ShapeError, match=r"grad has shape \(4,\), the parameter \(3,\)"):
        run_op("SGDUpdate", arrays)
