"""Loss and every gradient of random small networks against a float64 forward pass and its differences."""

import os

import numpy as np
import pytest

import edgecnn as ec
from edgecnn import nn

MANY = 500 if os.environ.get("EDGECNN_TEST_FULL") else 12
STEP = 1e-6

ACTIVATIONS = {
    nn.Sigmoid: lambda x: 1 / (1 + np.exp(-x)), nn.Tanh: np.tanh, nn.SiLU: lambda x: x / (1 + np.exp(-x)),
    nn.ELU: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), nn.ReLU: lambda x: np.maximum(x, 0),
    nn.LeakyReLU: lambda x: np.where(x > 0, x, 0.01 * x)}


# ---- the reference -----------------------------------------------------------------------------------------
def windows(x, kernel, stride, padding, filling=0.0):
    """(taps, N, C, OH, OW)"""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=filling)
    oh, ow = ((n - kernel) // stride + 1 for n in x.shape[2:])
    return np.stack([x[:, :, i:i + (oh - 1) * stride + 1:stride, j:j + (ow - 1) * stride + 1:stride]
                     for i in range(kernel) for j in range(kernel)])


def convolution(x, w, b, stride, padding, groups):
    oc, per, kernel, _ = w.shape
    taps = windows(x, kernel, stride, padding)
    taps = taps.reshape(*taps.shape[:2], groups, per, *taps.shape[3:])
    y = np.einsum("tngchw,gkct->ngkhw", taps, w.reshape(groups, oc // groups, per, -1))
    return y.reshape(len(x), oc, *y.shape[3:]) + (0 if b is None else b[:, None, None])


def batch_norm(x, gamma, beta, eps=1e-5):
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * gamma[:, None, None] + beta[:, None, None]


def cross_entropy(z, y):
    z = z - z.max(1, keepdims=True)
    return (np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]).mean()


class Block(nn.Module):
    """x + Conv(x), so that a value has two readers."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


# ---- random networks ---------------------------------------------------------------------------------------
def random_network(seed):
    """A network and its float64 forward pass, a function of the parameters and the input."""
    rng = np.random.default_rng(seed)
    nn.manual_seed(seed)
    channels, size = int(rng.integers(1, 4)), int(rng.integers(6, 12))
    shape = (int(rng.integers(2, 5)), channels, size, size)
    layers, steps = [], []

    def add(layer, step):
        name = str(len(layers))
        layers.append(layer)
        steps.append(lambda p, x: step(lambda key: p.get(f"{name}.{key}"), x))

    for _ in range(int(rng.integers(1, 4))):
        kind = rng.choice(["conv", "grouped", "depthwise", "block", "pool"])
        if kind == "pool" and size >= 4:
            make, best = rng.choice([(nn.MaxPool2d, 1), (nn.AvgPool2d, 0)])
            add(make(2), lambda p, x, best=best: windows(x, 2, 2, 0).max(0) if best else windows(x, 2, 2, 0).mean(0))
            size //= 2
        elif kind == "block":
            add(Block(channels), lambda p, x: x + convolution(x, p("conv.weight"), p("conv.bias"), 1, 1, 1))
        else:
            groups = {"grouped": 2 if channels % 2 == 0 else 1, "depthwise": channels}.get(kind, 1)
            out = channels if kind == "depthwise" else 2 * int(rng.integers(1, 12))
            kernel, stride, bias = int(rng.choice([1, 3])), int(rng.choice([1, 2])), bool(rng.random() < 0.5)
            add(nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=bias),
                lambda p, x, s=stride, k=kernel, g=groups: convolution(x, p("weight"), p("bias"), s, k // 2, g))
            channels, size = out, (size - 1) // stride + 1
        if rng.random() < 0.5:
            add(nn.BatchNorm2d(channels), lambda p, x: batch_norm(x, p("weight"), p("bias")))
        activation = rng.choice(list(ACTIVATIONS))
        add(activation(), lambda p, x, f=ACTIVATIONS[activation]: f(x))
    add(nn.Flatten(), lambda p, x: x.reshape(len(x), -1))
    add(nn.Linear(channels * size * size, 3), lambda p, x: x @ p("weight").T + p("bias"))
    net = nn.Sequential(*layers)
    net.input_shape = (None, *shape[1:])
    for name, array in net.graph.params.items():
        if name.endswith("bias"):  # of 0, values would lie on the kinks of activations where inputs are 0
            array[...] = rng.uniform(-0.5, 0.5, array.shape)

    def forward(parameters, x):
        for step in steps:
            x = step(parameters, x)
        return x

    return net, forward, rng.standard_normal(shape).astype(np.float32), rng.integers(0, 3, shape[0])


@pytest.mark.parametrize("seed", range(MANY))
def test_loss_and_gradients(seed):
    net, forward, x, y = random_network(seed)
    exact = {name: array.astype(np.float64) for name, array in net.state_dict().items()}
    loss, gradients = ec.Trainer(net, ec.optim.SGD(lr=0.1)).gradients(x, y)

    def at(parameters):
        return cross_entropy(forward(parameters, x.astype(np.float64)), y)

    assert loss == pytest.approx(at(exact), rel=1e-5)
    assert set(gradients) == set(net.trainable())
    rng = np.random.default_rng(seed)
    largest = max(np.abs(g).max() for g in gradients.values())  # a gradient that is 0 has the rounding errors of the others
    for name, gradient in gradients.items():
        direction = rng.standard_normal(gradient.shape)
        direction /= np.sqrt((direction**2).sum())
        up, down = (at({**exact, name: exact[name] + sign * STEP * direction}) for sign in (1, -1))
        slope, got = (up - down) / (2 * STEP), (gradient * direction).sum()
        assert abs(got - slope) <= 1e-5 * largest, name
