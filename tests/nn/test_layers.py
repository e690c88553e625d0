"""Layers on their own: shapes, names of parameters, values, what they refuse."""

import numpy as np
import pytest

import edgecnn as ec
from edgecnn import nn

RNG = np.random.default_rng(5)
IMAGE = (2, 4, 9, 7)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("layer, shape, parameters", [
    (lambda: nn.Conv2d(4, 6, 3), (2, 6, 7, 5), {"weight": (6, 4, 3, 3), "bias": (6,)}),
    (lambda: nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), bias=False), (2, 6, 5, 7), {"weight": (6, 4, 3, 1)}),
    (lambda: nn.Conv2d(4, 8, 3, dilation=2, groups=4), (2, 8, 5, 3), {"weight": (8, 1, 3, 3), "bias": (8,)}),
    (lambda: nn.BatchNorm2d(4), IMAGE, {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,)}),
    (lambda: nn.MaxPool2d(2), (2, 4, 4, 3), {}), (lambda: nn.MaxPool2d(3, 2, 1), (2, 4, 5, 4), {}),
    (lambda: nn.MaxPool2d(2, ceil_mode=True), (2, 4, 5, 4), {}), (lambda: nn.AvgPool2d((3, 1), 1), (2, 4, 7, 7), {}),
    (lambda: nn.GlobalAvgPool2d(), (2, 4, 1, 1), {}), (lambda: nn.Flatten(), (2, 252), {}),
    (lambda: nn.Dropout(0.3), IMAGE, {}), (lambda: nn.Softmax(1), IMAGE, {}),
    (lambda: nn.LocalResponseNorm(3), IMAGE, {}),
])
def test_shapes_and_parameters(layer, shape, parameters):
    module = layer()
    assert module(f32(*IMAGE)).shape == shape
    assert {name: array.shape for name, array in module.state_dict().items()} == parameters
    assert module.name == type(module).__name__


X = np.linspace(-5, 5, 21, dtype=np.float32)[None]


@pytest.mark.parametrize("layer, want", [
    (nn.ReLU(), np.maximum(X, 0)), (nn.ReLU6(), np.clip(X * 2, 0, 6)), (nn.LeakyReLU(0.2), np.where(X > 0, X, 0.2 * X)),
    (nn.ELU(1.5), np.where(X > 0, X, 1.5 * np.expm1(X))), (nn.Sigmoid(), 1 / (1 + np.exp(-X))), (nn.Tanh(), np.tanh(X)),
    (nn.HardSigmoid(), np.clip(X / 6 + 0.5, 0, 1)), (nn.HardSwish(), X * np.clip(X / 6 + 0.5, 0, 1)),
    (nn.SiLU(), X / (1 + np.exp(-X))), (nn.Softmax(), np.exp(X) / np.exp(X).sum()), (nn.Dropout(0.9), X), (nn.Flatten(), X),
], ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "")
def test_values_of_pointwise_layers(layer, want):
    layer.input_shape = (None, X.shape[1])
    np.testing.assert_allclose(layer(X * 2 if isinstance(layer, nn.ReLU6) else X), want, rtol=1e-5, atol=1e-6)


def test_linear_is_a_product():
    layer, x = nn.Linear(5, 3), f32(4, 5)
    layer.bias[:] = [1, 2, 3]
    np.testing.assert_allclose(layer(x), x @ layer.weight.T + layer.bias, rtol=1e-5, atol=1e-5)
    assert list(nn.Linear(5, 3, bias=False).state_dict()) == ["weight"]


def test_batch_norm_uses_its_running_statistics():
    layer, x = nn.BatchNorm2d(4, eps=0.5), f32(*IMAGE)
    layer.running_mean[:], layer.running_var[:], layer.weight[:], layer.bias[:] = f32(4), np.abs(f32(4)), f32(4), f32(4)
    mean, var, w, b = (a[:, None, None] for a in (layer.running_mean, layer.running_var, layer.weight, layer.bias))
    np.testing.assert_allclose(layer(x), (x - mean) / np.sqrt(var + 0.5) * w + b, rtol=1e-4, atol=1e-5)


def test_local_response_norm_as_alexnet_has_it():
    """n = 5, alpha = 1e-4 of the sum of squares, beta = 0.75, k = 2 (Krizhevsky et al. 2012, section 3.3)."""
    x = 100 * f32(2, 7, 3, 2)
    squares = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    want = x / (2 + 1e-4 * sum(squares[:, i:i + 7] for i in range(5)))**0.75
    np.testing.assert_allclose(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)(x), want, rtol=1e-5)


@pytest.mark.parametrize("count, want", [(True, 4 / 9), (False, 1.0)])
def test_what_padding_counts_in_a_mean(count, want):
    y = nn.AvgPool2d(3, padding=1, count_include_pad=count)(np.ones((1, 1, 6, 6), np.float32))
    assert y[0, 0, 0, 0] == pytest.approx(want)


def test_concatenation():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.join = nn.Conv2d(4, 2, 1), nn.Concat()

        def forward(self, x):
            return self.join(x, self.conv(x), x)

    x = f32(*IMAGE)
    y = Both()(x)
    assert y.shape == (2, 10, 9, 7)
    np.testing.assert_array_equal(y[:, :4], x)
    np.testing.assert_array_equal(y[:, 6:], x)


def test_channel_shuffle_and_split():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.shuffle, self.split, self.input_shape = nn.ChannelShuffle(6, 2), nn.Split(3), (None, 6, None, None)

        def forward(self, x):
            return self.split(self.shuffle(x))

    x = f32(2, 6, 3, 4)
    for part, channels in zip(Net()(x), ((0, 3), (1, 4), (2, 5)), strict=True):
        np.testing.assert_array_equal(part, x[:, channels])


@pytest.mark.parametrize("build, word", [
    (lambda: nn.ChannelShuffle(10, 3), "cannot be split into 3 groups"),
    (lambda: nn.Conv2d(4, 6, 3, groups=4), "cannot be split into 4 groups"), (lambda: nn.Dropout(1.0), "p is 1.0"),
    (lambda: nn.Dropout(-0.1), "p is -0.1"), (lambda: nn.Sequential(nn.ReLU(), "relu"), "item 1 is a str")])
def test_constructors_refuse(build, word):
    with pytest.raises(ec.ModelError, match=word):
        build()


@pytest.mark.parametrize("layer, x", [
    (nn.Conv2d(3, 6, 3), (2, 4, 9, 7)), (nn.Conv2d(4, 6, 3), (2, 4, 2, 2)), (nn.Linear(5, 3), (2, 6)),
    (nn.BatchNorm2d(3), (2, 4, 9, 7)), (nn.MaxPool2d(5), (2, 4, 3, 3))])
def test_inputs_that_do_not_fit(layer, x):
    with pytest.raises(ec.ShapeError):
        layer(f32(*x))


def test_names_are_paths():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = np.ones((4, 1, 1), np.float32)
            self.layers = nn.Sequential(("conv", nn.Conv2d(4, 4, 1)), ("norm", nn.BatchNorm2d(4)))

        def forward(self, x):
            return 2 * (self.layers(x) * self.path("scale") - x) + x

    net, x = nn.Sequential(Block(), nn.Sequential(nn.Flatten(), nn.Linear(4 * 9 * 7, 3))), f32(*IMAGE)
    names = ["0.scale", "0.layers.conv.weight", "0.layers.conv.bias", "0.layers.norm.weight", "0.layers.norm.bias",
             "0.layers.norm.running_mean", "0.layers.norm.running_var", "1.1.weight", "1.1.bias"]
    assert list(net.state_dict()) == names
    assert set(net.trainable()) == {n for n in names if "running" not in n}
    assert net(x).shape == (2, 3)
    net.freeze("0.layers")
    assert "0.layers.conv.weight" not in net.trainable() and "1.1.weight" in net.trainable()


def test_a_module_without_forward():
    class Nothing(nn.Module):
        pass

    with pytest.raises(ec.ModelError, match="Nothing has no forward"):
        Nothing()(f32(*IMAGE))


def test_seeds_make_weights():
    def weights(seed):
        nn.manual_seed(seed)
        return nn.Conv2d(3, 4, 3).weight, nn.Linear(3, 4).weight

    for a, b in zip(weights(1), weights(1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(weights(1)[0], weights(2)[0])
