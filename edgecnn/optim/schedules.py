"""Learning rates that change: functions of the step, counted from 1."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """lr * factor^floor((step - 1) / every)"""

    lr: float
    every: int
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** ((step - 1) // self.every)


@dataclass(frozen=True)
class Cosine:
    """From lr at the first of `steps` down half a cosine to `end` at the last and after it
    (Loshchilov and Hutter 2016, SGDR, equation 5)."""

    lr: float
    steps: int
    end: float = 0.0

    def __call__(self, step: int) -> float:
        done = min(1.0, (step - 1) / max(1, self.steps - 1))
        return self.end + (self.lr - self.end) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class OneCycle:
    """Up from lr / start to lr in the first `rise` of the steps, then down to lr / end, both along half a cosine
    (Smith and Topin 2017, Super-convergence)."""

    lr: float
    steps: int
    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4

    def __call__(self, step: int) -> float:
        top = max(2, round(self.steps * self.rise))
        if step <= top:
            low, done = self.lr / self.start, (step - 1) / (top - 1)
            return low + (self.lr - low) * (1 - math.cos(math.pi * done)) / 2
        low, done = self.lr / self.end, min(1.0, (step - top) / max(1, self.steps - top))
        return low + (self.lr - low) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class WarmUp:
    """A straight rise over the first `steps` steps to what the schedule (or constant) `then` gives
    (Goyal et al. 2017, Accurate, large minibatch SGD, section 2.2)."""

    then: object
    steps: int

    def __call__(self, step: int) -> float:
        rate = self.then(step) if callable(self.then) else float(self.then)  # type: ignore[arg-type]
        return rate * min(1.0, step / self.steps)
