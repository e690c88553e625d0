"""The optimizers, in order of increasing complexity. g is the gradient (plus weight_decay theta), a the learning rate.

Which one: sparse data favours AdaDelta, RMSprop and Adam. SGD (with momentum) usually ends best, but needs more steps,
is more sensitive to the initialisation, and can stall at saddle points.

An optimizer is a description: the trainer puts its update into the training step and asks `hyper` for the numbers of
each step. Momentum and Nesterov hold the learning rate inside the velocity, so a changing rate does not rescale old
velocity; AdaGrad, RMSprop and AdaDelta have epsilon inside the root. PyTorch differs in both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import ModelError

Rate = float | Callable[[int], float]
HYPER_SIZE = 8


class Optimizer:
    """Base of all.

    Args: lr: learning rate, a number or a schedule (a function of the step, counted from 1).
        weight_decay: adds weight_decay theta to the gradient.
        clip_norm: scales all gradients together so that their common norm is at most this; None leaves them.

    Attributes: update: name of the operator; states: names of its arrays, like the parameter, zero at first;
        ahead: operator that moves a parameter before each step, or None.
    """

    update = ""
    states: tuple[str, ...] = ()
    ahead: str | None = None

    def __init__(self, lr: Rate, weight_decay: float = 0.0, clip_norm: float | None = None):
        self.lr = lr if callable(lr) else self._number("lr", lr, above=0.0)
        self.weight_decay = self._number("weight_decay", weight_decay, least=0.0)
        self.clip_norm = None if clip_norm is None else self._number("clip_norm", clip_norm, above=0.0)

    def _number(self, name: str, value: float, least: float | None = None, above: float | None = None,
                below: float | None = None) -> float:
        low = value >= least if least is not None else value > above if above is not None else True
        if not isinstance(value, (int, float)) or not low or not (below is None or value < below) or value != value:
            bounds = [f">= {least}"] * (least is not None) + [f"> {above}"] * (above is not None)
            bounds += [f"< {below}"] * (below is not None)
            raise ModelError(f"{type(self).__name__}: {name} is {value!r}, needed a number {' and '.join(bounds)}")
        return float(value)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        return self.lr(step) if callable(self.lr) else self.lr

    def attrs(self) -> dict[str, float]:
        """Constants of the update."""
        return {"weight_decay": self.weight_decay}

    def ahead_attrs(self) -> dict[str, float]:
        """Constants of the operator `ahead`."""
        return {}

    def hyper(self, step: int) -> np.ndarray:
        """What varies from step to step, float32 (8,): the learning rate first."""
        values = np.zeros(HYPER_SIZE, np.float32)
        values[0] = self.rate(step)
        return values


class SGD(Optimizer):
    """theta <- theta - a g

    Reference: Robbins and Monro 1951, A stochastic approximation method."""

    update = "SGDUpdate"

    def __init__(self, lr: Rate = 0.01, weight_decay: float = 0.0, clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)


class Momentum(Optimizer):
    """v <- gamma v + a g; theta <- theta - v

    Reference: Polyak 1964; Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors."""

    update = "MomentumUpdate"
    states = ("v",)

    def __init__(self, lr: Rate = 0.01, gamma: float = 0.9, weight_decay: float = 0.0, clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)
        self.gamma = self._number("gamma", gamma, least=0.0, below=1.0)

    def attrs(self) -> dict[str, float]:
        return {**super().attrs(), "gamma": self.gamma}


class Nesterov(Momentum):
    """v <- gamma v + a grad(theta - gamma v); theta <- theta - v

    The parameters stand at the look-ahead point only within a step: whoever looks between two steps sees theta.

    Reference: Nesterov 1983; Sutskever, Martens, Dahl, Hinton 2013, section 2."""

    update = "NesterovUpdate"
    ahead = "NesterovAhead"

    def ahead_attrs(self) -> dict[str, float]:
        return {"gamma": self.gamma}


class AdaGrad(Optimizer):
    """G <- G + g^2; theta <- theta - a / sqrt(G + eps) g

    Reference: Duchi, Hazan, Singer 2011, Adaptive subgradient methods."""

    update = "AdaGradUpdate"
    states = ("G",)

    def __init__(self, lr: Rate = 0.01, eps: float = 1e-8, weight_decay: float = 0.0, clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)
        self.eps = self._number("eps", eps, above=0.0)

    def attrs(self) -> dict[str, float]:
        return {**super().attrs(), "eps": self.eps}


class RMSprop(AdaGrad):
    """E <- gamma E + (1 - gamma) g^2; theta <- theta - a / sqrt(E + eps) g

    Reference: Tieleman and Hinton 2012, Coursera lecture 6.5."""

    update = "RMSpropUpdate"
    states = ("E",)

    def __init__(self, lr: Rate = 0.001, gamma: float = 0.9, eps: float = 1e-8, weight_decay: float = 0.0,
                 clip_norm: float | None = None):
        super().__init__(lr, eps, weight_decay, clip_norm)
        self.gamma = self._number("gamma", gamma, least=0.0, below=1.0)

    def attrs(self) -> dict[str, float]:
        return {**super().attrs(), "gamma": self.gamma}


class AdaDelta(RMSprop):
    """E <- gamma E + (1 - gamma) g^2; d = -sqrt(D + eps) / sqrt(E + eps) g; D <- gamma D + (1 - gamma) d^2;
    theta <- theta + a d. No learning rate is needed: a = 1.

    Reference: Zeiler 2012, ADADELTA, algorithm 1."""

    update = "AdaDeltaUpdate"
    states = ("E", "D")

    def __init__(self, lr: Rate = 1.0, gamma: float = 0.95, eps: float = 1e-6, weight_decay: float = 0.0,
                 clip_norm: float | None = None):
        super().__init__(lr, gamma, eps, weight_decay, clip_norm)


class Adam(Optimizer):
    """m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2;
    theta <- theta - a m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Reference: Kingma and Ba 2014, Adam, algorithm 1."""

    update = "AdamUpdate"
    states = ("m", "v")
    decoupled = 0.0

    def __init__(self, lr: Rate = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
                 weight_decay: float = 0.0, clip_norm: float | None = None):
        super().__init__(lr, weight_decay, clip_norm)
        self.beta1 = self._number("beta1", beta1, least=0.0, below=1.0)
        self.beta2 = self._number("beta2", beta2, least=0.0, below=1.0)
        self.eps = self._number("eps", eps, above=0.0)

    def attrs(self) -> dict[str, float]:
        return {**super().attrs(), "beta1": self.beta1, "beta2": self.beta2, "eps": self.eps}

    def hyper(self, step: int) -> np.ndarray:
        values = super().hyper(step)
        values[1:4] = 1 / (1 - self.beta1**step), 1 / (1 - self.beta2**step), 1 - self.rate(step) * self.decoupled
        return values


class AdamW(Adam):
    """Adam whose weight decay does not pass through the moments: theta <- theta - a weight_decay theta, then Adam's step.

    Reference: Loshchilov and Hutter 2017, Decoupled weight decay regularization, algorithm 2."""

    def __init__(self, lr: Rate = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
                 weight_decay: float = 0.01, clip_norm: float | None = None):
        super().__init__(lr, beta1, beta2, eps, 0.0, clip_norm)
        self.decoupled = self._number("weight_decay", weight_decay, least=0.0)
