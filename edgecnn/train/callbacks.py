"""Listeners of a training: derive from Callback and override what you want to hear."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tqdm

from .result import Epoch, History

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Does nothing. Set `stop` to end the training after the present epoch."""

    stop = False

    def begin(self, trainer: Trainer, epochs: int, train: Any) -> None:
        """Before the first epoch."""

    def step_end(self, trainer: Trainer, epoch: Epoch) -> None:
        """After each update; epoch holds the running means."""

    def epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        """After each epoch and its validation."""

    def end(self, trainer: Trainer, history: History) -> None:
        """After the last epoch."""


class Progress(Callback):
    """A bar on a terminal, a plain line per epoch elsewhere."""

    def begin(self, trainer: Trainer, epochs: int, train: Any) -> None:
        self._terminal = sys.stderr.isatty()
        steps = len(train) * epochs if hasattr(train, "__len__") else None
        self._bar = tqdm.tqdm(total=steps, unit="step", disable=not self._terminal)

    def step_end(self, trainer: Trainer, epoch: Epoch) -> None:
        self._bar.update()
        if self._terminal:
            self._bar.set_postfix_str(f"epoch {epoch.number + 1} loss {epoch.loss:.4f}", refresh=False)

    def epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        self._bar.write(epoch.line(), file=sys.stderr if self._terminal else sys.stdout)

    def end(self, trainer: Trainer, history: History) -> None:
        self._bar.close()


class SaveBest(Callback):
    """Keeps the model of the best validation accuracy (training accuracy without validation) in a file."""

    def __init__(self, path: str | os.PathLike):
        self.path, self.best = path, -1.0

    def epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        score = epoch.validation.accuracy if epoch.validation else epoch.accuracy
        if score > self.best:
            self.best = score
            trainer.model.save(self.path)


class EarlyStopping(Callback):
    """Ends the training when the validation loss has not fallen for `patience` epochs."""

    def __init__(self, patience: int = 5):
        self.patience, self.best, self.waited = patience, float("inf"), 0

    def epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        loss = epoch.validation.loss if epoch.validation else epoch.loss
        self.waited = 0 if loss < self.best else self.waited + 1
        self.best = min(self.best, loss)
        self.stop = self.waited >= self.patience


class Each(Callback):
    """Calls a function (trainer, epoch) after each epoch."""

    def __init__(self, function: Callable[[Trainer, Epoch], None]):
        self.function = function

    def epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        self.function(trainer, epoch)
