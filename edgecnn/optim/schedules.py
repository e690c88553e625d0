"""Learning rates that change: functions of the step t, counted from 1. Give one to an optimizer as its lr:
`Adam(lr=Cosine(1e-3, steps=epochs * len(loader)))`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ModelError


def _check(schedule: object, ok: bool, allowed: str) -> None:
    if not ok:
        raise ModelError(f"{schedule}: allowed is {allowed}")


@dataclass(frozen=True)
class Constant:
    """lr"""

    lr: float

    def __post_init__(self) -> None:
        _check(self, self.lr > 0, "lr > 0")

    def __call__(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class Step:
    """lr * factor^floor((t - 1) / every)"""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check(self, self.lr > 0 and self.every > 0 and self.factor > 0, "lr > 0, every > 0, factor > 0")

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** ((step - 1) // self.every)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from lr at t = 1 down to `end` at t = steps, and `end` after it:
    end + (lr - end) (1 + cos(pi (t - 1) / (steps - 1))) / 2.

    Reference: Loshchilov and Hutter 2017, SGDR, equation 5, without restarts."""

    lr: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.lr > 0 and self.steps > 0 and self.end >= 0, "lr > 0, steps > 0, end >= 0")

    def __call__(self, step: int) -> float:
        return _half_cosine(self.lr, self.end, step - 1, self.steps - 1)


@dataclass(frozen=True)
class OneCycle:
    """Half a cosine up from lr / start at t = 1 to lr at t = round(rise * steps) (at least 2), then half a
    cosine down to lr / end at t = steps.

    Reference: Smith and Topin 2017, Super-convergence; cosines instead of straight lines."""

    lr: float
    steps: int
    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4

    def __post_init__(self) -> None:
        ok = self.lr > 0 and self.steps > 0 and 0 < self.rise < 1 and self.start >= 1 and self.end >= 1
        _check(self, ok, "lr > 0, steps > 0, 0 < rise < 1, start >= 1, end >= 1")

    def __call__(self, step: int) -> float:
        top = max(2, round(self.steps * self.rise))
        if step < top:
            return _half_cosine(self.lr / self.start, self.lr, step - 1, top - 1)
        return _half_cosine(self.lr, self.lr / self.end, step - top, self.steps - top)


@dataclass(frozen=True)
class WarmUp:
    """min(1, t / steps) * then(t): a straight rise over the first steps to a schedule or a constant `then`.

    Reference: Goyal et al. 2017, Accurate, large minibatch SGD, section 2.2."""

    then: float | Callable[[int], float]
    steps: int

    def __post_init__(self) -> None:
        ok = self.steps > 0 and (callable(self.then) or self.then > 0)
        _check(self, ok, "steps > 0, then > 0 or a schedule")

    def __call__(self, step: int) -> float:
        rate = self.then(step) if callable(self.then) else self.then
        return rate * min(1.0, step / self.steps)


def _half_cosine(first: float, last: float, done: int, steps: int) -> float:
    part = min(1.0, done / steps) if steps > 0 else float(done > 0)
    return last + (first - last) * (1 + math.cos(math.pi * part)) / 2
