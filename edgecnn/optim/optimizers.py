"""The optimizers, in order of increasing complexity.

In the formulas g is the gradient (plus weight_decay theta), a the learning rate, t the step counted from 1.

Which one: sparse data favours AdaDelta, RMSprop and Adam. SGD (with momentum) usually ends best, but needs
more steps, is more sensitive to the initialisation, and can stall at saddle points.

An optimizer is a description without state: the trainer puts its update into the training step, keeps its
arrays, and asks `hyper` for the numbers of each step. Two differences from PyTorch: Momentum and Nesterov
hold the learning rate inside the velocity, so a changing rate does not rescale old velocity; AdaGrad and
RMSprop have eps inside the root.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from ..errors import ModelError

Rate = float | Callable[[int], float]
HYPER_SIZE = 8


class Optimizer:
    """Base of all.

    Args:
        lr: learning rate, a number or a schedule (a function of the step, counted from 1).
        weight_decay: adds weight_decay theta to the gradient (L2 regularisation).
        clip_norm: largest norm of all gradients together; None: any.

    Attributes:
        update: name of the update operator. constants: which attributes of this object it takes.
        states: names of its arrays, each like the parameter, zero at first.
        ahead: operator that moves a parameter before each step, or None.

    Raises: ModelError for an argument out of range.
    """

    update = ""
    constants: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    ahead: str | None = None

    def __init__(self, lr: Rate, weight_decay: float = 0.0, clip_norm: float | None = None):
        self.lr = lr if callable(lr) else self._positive("lr", lr)
        self.weight_decay = self._number("weight_decay", weight_decay, ">= 0", lambda v: v >= 0)
        self.clip_norm = None if clip_norm is None else self._positive("clip_norm", clip_norm)

    def _number(self, name: str, value: Any, allowed: str, test: Callable[[float], bool]) -> float:
        if not isinstance(value, Real) or not math.isfinite(value) or not test(float(value)):
            raise ModelError(f"{type(self).__name__}: {name} is {value!r}, allowed is a number {allowed}")
        return float(value)

    def _positive(self, name: str, value: Any) -> float:
        return self._number(name, value, "> 0", lambda v: v > 0)

    def _fraction(self, name: str, value: Any) -> float:
        return self._number(name, value, ">= 0 and < 1", lambda v: 0 <= v < 1)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        return float(self.lr(step)) if callable(self.lr) else self.lr

    def attrs(self) -> dict[str, float]:
        """Constants of the update."""
        return {"weight_decay": self.weight_decay, **{name: getattr(self, name) for name in self.constants}}

    def ahead_attrs(self) -> dict[str, float]:
        """Constants of the operator `ahead`."""
        return {}

    def hyper(self, step: int, lr: float | None = None) -> np.ndarray:
        """What varies from step to step, float32 (8,), computed in float64: the learning rate first.

        Args: step counts from 1; lr is used instead of the optimizer's own rate if given."""
        values = np.zeros(HYPER_SIZE)
        values[0] = self.rate(step) if lr is None else lr
        self._corrections(values, step)
        return values.astype(np.float32)

    def _corrections(self, values: np.ndarray, step: int) -> None:
        """Fills values[1:]."""

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({values})"


class SGD(Optimizer):
    """theta <- theta - a g

    Reference: Robbins and Monro 1951, A stochastic approximation method."""

    update = "SGDUpdate"

    def __init__(self, lr: Rate = 0.01, weight_decay: float = 0.0, clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)


class Momentum(Optimizer):
    """v <- gamma v + a g; theta <- theta - v

    Reference: Polyak 1964, Some methods of speeding up the convergence of iteration methods."""

    update = "MomentumUpdate"
    states = ("v",)
    constants = ("gamma",)

    def __init__(self, lr: Rate = 0.01, gamma: float = 0.9, weight_decay: float = 0.0,
                 clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)
        self.gamma = self._fraction("gamma", gamma)


class Nesterov(Momentum):
    """v <- gamma v + a grad(theta - gamma v); theta <- theta - v

    The parameters stand at the look-ahead point only within a step: whoever looks between two steps sees
    theta. Weight decay belongs to the gradient and is taken at the look-ahead point too.

    Reference: Nesterov 1983, A method of solving a convex programming problem with convergence rate O(1/k^2);
    in this form Sutskever, Martens, Dahl, Hinton 2013, On the importance of initialization and momentum,
    section 2."""

    update = "NesterovUpdate"
    ahead = "NesterovAhead"

    def ahead_attrs(self) -> dict[str, float]:
        return {"gamma": self.gamma}


class AdaGrad(Optimizer):
    """G <- G + g^2; theta <- theta - a / sqrt(G + eps) g

    Reference: Duchi, Hazan, Singer 2011, Adaptive subgradient methods for online learning, section 1."""

    update = "AdaGradUpdate"
    states = ("G",)
    constants = ("eps",)

    def __init__(self, lr: Rate = 0.01, eps: float = 1e-8, weight_decay: float = 0.0,
                 clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)
        self.eps = self._positive("eps", eps)


class RMSprop(Optimizer):
    """E <- gamma E + (1 - gamma) g^2; theta <- theta - a / sqrt(E + eps) g

    Reference: Tieleman and Hinton 2012, Neural networks for machine learning, lecture 6.5."""

    update = "RMSpropUpdate"
    states = ("E",)
    constants = ("gamma", "eps")

    def __init__(self, lr: Rate = 0.001, gamma: float = 0.9, eps: float = 1e-8, weight_decay: float = 0.0,
                 clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)
        self.gamma = self._fraction("gamma", gamma)
        self.eps = self._positive("eps", eps)


class AdaDelta(Optimizer):
    """E <- gamma E + (1 - gamma) g^2; d = -sqrt(D + eps) / sqrt(E + eps) g; D <- gamma D + (1 - gamma) d^2;
    theta <- theta + a d. No learning rate is needed: a = 1.

    Reference: Zeiler 2012, ADADELTA: an adaptive learning rate method, algorithm 1."""

    update = "AdaDeltaUpdate"
    states = ("E", "D")
    constants = ("gamma", "eps")

    def __init__(self, lr: Rate = 1.0, gamma: float = 0.95, eps: float = 1e-6, weight_decay: float = 0.0,
                 clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)
        self.gamma = self._fraction("gamma", gamma)
        self.eps = self._positive("eps", eps)


class Adam(Optimizer):
    """m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; M = m / (1 - beta1^t); V = v / (1 -
    beta2^t); theta <- theta - a M / (sqrt(V) + eps)

    Reference: Kingma and Ba 2015, Adam: a method for stochastic optimization, algorithm 1."""

    update = "AdamUpdate"
    states = ("m", "v")
    constants = ("beta1", "beta2", "eps")

    def __init__(self, lr: Rate = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
                 weight_decay: float = 0.0, clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)
        self.beta1, self.beta2 = self._fraction("beta1", beta1), self._fraction("beta2", beta2)
        self.eps = self._positive("eps", eps)

    def _corrections(self, values: np.ndarray, step: int) -> None:
        values[1:3] = 1 / (1 - self.beta1**step), 1 / (1 - self.beta2**step)


class AdamW(Adam):
    """Adam whose weight decay does not pass through the moments: theta <- theta - a weight_decay theta -
    Adam's step.

    Reference: Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2."""

    def __init__(self, lr: Rate = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
                 weight_decay: float = 0.01, clip_norm: float | None = None):
        super().__init__(lr, beta1, beta2, eps, weight_decay, clip_norm)

    def attrs(self) -> dict[str, float]:
        return {**super().attrs(), "weight_decay": 0.0}

    def _corrections(self, values: np.ndarray, step: int) -> None:
        super()._corrections(values, step)
        values[3] = values[0] * self.weight_decay
