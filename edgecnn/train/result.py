"""What training and evaluation return."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Evaluation:
    """Running totals over batches.

    Attributes: count of pictures; confusion int64 (classes, classes): rows are true classes, columns predicted ones."""

    classes: int = 0
    count: int = 0
    total_loss: float = 0.0
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.classes, self.classes), np.int64)

    @property
    def loss(self) -> float:
        return self.total_loss / self.count

    @property
    def accuracy(self) -> float:
        """Share of pictures whose highest score is their class; NaN for regression."""
        return float(np.trace(self.confusion) / self.count) if self.classes else float("nan")

    def add(self, scores: np.ndarray, y: np.ndarray, loss: str) -> None:
        """Scores (N, classes, ...) and targets of one batch."""
        n = len(scores)
        self.count += n
        if loss == "mse":
            self.total_loss += float(np.mean((scores.astype(np.float64) - y) ** 2)) * n
            return
        z = scores.reshape(n, -1).astype(np.float64)
        top = z.max(axis=1)
        logsum = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top
        self.total_loss += float((logsum - z[np.arange(n), y]).sum())
        np.add.at(self.confusion, (y, z.argmax(axis=1)), 1)


@dataclass
class Epoch:
    """One pass over the training data: means over its steps as they were made.

    Attributes: number from 0; steps, with those made before a resume; seconds; step_seconds spent inside
        steps; validation if there was any."""

    number: int
    steps: int = 0
    count: int = 0
    total_loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    step_seconds: float = 0.0
    validation: Evaluation | None = None

    def add(self, loss: float, correct: int, n: int, seconds: float) -> None:
        self.steps += 1
        self.count += n
        self.total_loss += loss * n
        self.correct += correct
        self.step_seconds += seconds

    @property
    def loss(self) -> float:
        return self.total_loss / self.count

    @property
    def accuracy(self) -> float:
        return self.correct / self.count

    def line(self) -> str:
        text = f"epoch {self.number + 1}: loss {self.loss:.4f}, accuracy {self.accuracy:.1%}, {self.seconds:.1f} s"
        if self.validation is not None:
            text += f", validation loss {self.validation.loss:.4f}, accuracy {self.validation.accuracy:.1%}"
        return text


@dataclass
class History:
    """The epochs of one fit."""

    epochs: list[Epoch] = field(default_factory=list)
