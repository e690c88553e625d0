"""What an optimizer and a schedule say about themselves."""

import math

import numpy as np
import pytest

from edgecnn import optim
from edgecnn.errors import EdgeCNNError, ModelError
from edgecnn.ops import get_op

OPTIMIZERS = [optim.SGD, optim.Momentum, optim.Nesterov, optim.AdaGrad, optim.RMSprop, optim.AdaDelta,
              optim.Adam, optim.AdamW]


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_description_fits_the_operator(cls):
    o = cls()
    op = get_op(o.update)
    assert op.inputs == ("param", "grad", *o.states, "hyper", "scale?")
    assert set(o.attrs()) == set(op.attrs)
    assert o.ahead is None or set(o.ahead_attrs()) == set(get_op(o.ahead).attrs)
    assert cls.__doc__.rstrip().splitlines()[-1].strip() and "Reference: " in cls.__doc__


@pytest.mark.parametrize("cls", OPTIMIZERS)
@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"lr": -1}, {"lr": math.nan}, {"lr": math.inf}, {"lr": "0.1"},
                                   {"weight_decay": -1e-4}, {"clip_norm": 0}, {"clip_norm": math.nan}])
def test_arguments_out_of_range(cls, wrong):
    (name, value), = wrong.items()
    with pytest.raises(ModelError, match=rf"{cls.__name__}: {name} is {value!r}, allowed is a number >") as e:
        cls(**wrong)
    assert isinstance(e.value, ValueError) and isinstance(e.value, EdgeCNNError)


@pytest.mark.parametrize("cls, name", [
    (optim.Momentum, "gamma"), (optim.Nesterov, "gamma"), (optim.RMSprop, "gamma"), (optim.AdaDelta, "gamma"),
    (optim.Adam, "beta1"), (optim.Adam, "beta2")])
@pytest.mark.parametrize("value", [1.0, -0.1, None])
def test_fractions(cls, name, value):
    with pytest.raises(ModelError, match=f"{name} is {value}, allowed is a number >= 0 and < 1"):
        cls(**{name: value})


def test_numpy_numbers_are_numbers():
    assert optim.SGD(lr=np.float32(0.5)).lr == 0.5


def test_step_by_hand():
    s = optim.Step(1.0, every=3, factor=0.5)
    assert [s(t) for t in range(1, 8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert optim.Constant(0.3)(1) == optim.Constant(0.3)(99) == 0.3


def test_cosine_by_hand():
    s = optim.Cosine(1.0, steps=5, end=0.2)
    half = math.sqrt(0.5)
    want = [1.0, 0.2 + 0.4 * (1 + half), 0.6, 0.2 + 0.4 * (1 - half), 0.2, 0.2, 0.2]
    np.testing.assert_allclose([s(t) for t in range(1, 8)], want, rtol=1e-12)
    assert [optim.Cosine(1.0, steps=1)(t) for t in (1, 2)] == [1.0, 0.0]


def test_one_cycle_by_hand():
    s = optim.OneCycle(1.0, steps=7, rise=3 / 7, start=10, end=100)
    half = math.sqrt(0.5)
    want = [0.1, 0.55, 1.0, 0.01 + 0.495 * (1 + half), 0.505, 0.01 + 0.495 * (1 - half), 0.01, 0.01]
    np.testing.assert_allclose([s(t) for t in range(1, 9)], want, rtol=1e-12)
    values = [optim.OneCycle(1.0, steps=n)(t) for n in (1, 2, 3) for t in range(1, 5)]
    assert all(0 < v <= 1 for v in values)


def test_warm_up_by_hand():
    s = optim.WarmUp(0.8, steps=4)
    assert [s(t) for t in range(1, 7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    s = optim.WarmUp(optim.Step(1.0, every=4), steps=2)
    assert [s(t) for t in range(1, 6)] == pytest.approx([0.5, 1, 1, 1, 0.1])


@pytest.mark.parametrize("make", [lambda: optim.Step(0.1, every=0), lambda: optim.Cosine(-1, 10),
                                  lambda: optim.OneCycle(1.0, 10, rise=1.5), lambda: optim.WarmUp(0.1, 0),
                                  lambda: optim.Constant(math.nan), lambda: optim.Cosine(0.1, 0)])
def test_schedule_arguments(make):
    with pytest.raises(ModelError, match="allowed is"):
        make()
