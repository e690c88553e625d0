"""Listeners of a training: derive from Callback and override what you want to hear."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tqdm

from .checkpoint import save_checkpoint
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
    """Keeps the model of the best validation accuracy, of equal ones that of the smallest loss, in an .ecnn or
    .onnx file; without validation the figures of the training count.

    Attributes: best: (accuracy, -loss) of the model in the file."""

    def __init__(self, path: str | os.PathLike):
        self.path, self.best = Path(path), (-1.0, 0.0)

    def epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        result = epoch.validation or epoch
        score = result.accuracy, -result.loss
        if score > self.best:
            self.best = score
            save = trainer.model.export_onnx if self.path.suffix == ".onnx" else trainer.model.save
            save(self.path)


class Checkpoint(Callback):
    """Writes a checkpoint after every epoch: a power cut loses at most one.

    Args: path: the file; info: asked for what goes into it beside the state of the training, see save_checkpoint."""

    def __init__(self, path: str | os.PathLike, info: Callable[[], Mapping[str, str]] = dict):
        self.path, self.info = path, info

    def epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        self.save(trainer, epoch.number + 1)

    def save(self, trainer: Trainer, epoch: int, batch: int = 0) -> None:
        """Writes it now: `epoch` epochs and `batch` batches of the next one are done."""
        save_checkpoint(trainer, self.path, epoch, batch, self.info())


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
