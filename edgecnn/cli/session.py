"""One training from the first picture to the finished file, that can be broken off at any time."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..data import Loader
from ..errors import CheckpointError
from ..model import Model
from ..train import Callback, Checkpoint, Each, Epoch, SaveBest, Trainer, checkpoint_info, load_checkpoint
from .files import write_model


@dataclass(frozen=True)
class Phase:
    """Epochs start to stop - 1 with one learning rate and one part frozen.

    Attributes: frozen_until: the last frozen layer, "" for none, None for all but the last layer."""

    frozen_until: str | None
    start: int
    stop: int
    lr: float


class Session:
    """The phases of a training with the files that belong to it.

    Args:
        optimizer: called with lr for each phase.
        out: always holds the best network in validation so far, without validation the newest.
        checkpoint: written after every epoch, removed after the last.
        settings: what must be the same when the training is resumed; JSON values.

    Attributes: history: loss, accuracy, validation loss and accuracy (or None) of each epoch.
    """

    def __init__(self, model: Model, optimizer: Callable[..., Any], phases: list[Phase], train: Loader,
                 val: Loader | None, out: Path, checkpoint: Path, settings: dict[str, Any]):
        self.model, self.optimizer, self.phases, self.train, self.val = model, optimizer, phases, train, val
        self.out, self.settings = out, settings
        self.history: list[list[float | None]] = []
        self.best = SaveBest(out)
        self.checkpoint = Checkpoint(checkpoint, self._info)
        self.start = 0, 0
        self._resumed: Trainer | None = None

    def _freeze(self, phase: Phase) -> None:
        if phase.frozen_until == "":
            self.model.unfreeze()
        else:
            self.model.freeze(phase.frozen_until)

    def _trainer(self, phase: Phase) -> Trainer:
        self._freeze(phase)
        return Trainer(self.model, self.optimizer(lr=phase.lr))

    def _info(self) -> dict[str, str]:
        return {"settings": json.dumps(self.settings), "best": json.dumps(self.best.best),
                "history": json.dumps(self.history)}

    def prepare(self) -> None:
        """Compiles every phase once, so that what the network cannot do is known before the first epoch."""
        peak = max(self._trainer(phase).memory_plan(self.train.batch_size)["total"] for phase in self.phases)
        validation = len(self.val.dataset) if self.val else 0
        click.echo(f"{len(self.train.dataset)} pictures to train, {validation} to validate; a step takes "
                   f"{peak / 1e6:.1f} MB of memory")

    def restore(self) -> None:
        """Goes on from the checkpoint; from the beginning if there is none yet."""
        path = Path(self.checkpoint.path)
        if not path.exists():
            click.echo(f"no checkpoint {path} yet: beginning with the first epoch")
            return
        info = checkpoint_info(path)
        try:
            settings, best, history = (json.loads(info[key]) for key in ("settings", "best", "history"))
        except (KeyError, ValueError):
            raise CheckpointError(f"{path}: not made by edgecnn train; choose another --checkpoint") from None
        now = json.loads(json.dumps(self.settings))  # tuples become lists, as in the file
        changed = [f"{k} was {settings.get(k)}, is {v}" for k, v in now.items() if settings.get(k) != v]
        if changed:
            raise CheckpointError(f"{path}: belongs to a training with other options or pictures: "
                                  f"{'; '.join(changed)}. Resume with the same command, or remove the file "
                                  "to begin anew")
        if history and not self.out.exists():
            raise CheckpointError(f"{self.out}, which held the best network so far, is missing; put it back, "
                                  f"or remove {path} to begin anew")
        self._load(path, info)
        self.best.best, self.history = tuple(best), history
        click.echo(f"going on after {_position(*self.start)}")

    def _load(self, path: Path, info: dict[str, str]) -> None:
        self.start = int(info["epoch"]), int(info["batch"])
        phase = next((p for p in self.phases if self.start[0] < p.stop), self.phases[-1])
        trainer = self._trainer(phase)
        load_checkpoint(trainer, path)
        if self.start > (phase.start, 0):  # each phase has an optimizer of its own
            self._resumed = trainer

    def run(self) -> None:
        """Trains what is left. KeyboardInterrupt says what was saved."""
        keep = self.best if self.val else Each(lambda trainer, _: write_model(trainer.model, self.out))
        with Interrupt(self.checkpoint, len(self.train)) as interrupt:
            callbacks = [keep, Each(self._remember), self.checkpoint, interrupt]
            try:
                for phase in self.phases:
                    if self.start[0] < phase.stop:
                        self._fit(phase, callbacks)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(self._saved()) from None
        Path(self.checkpoint.path).unlink(missing_ok=True)

    def _fit(self, phase: Phase, callbacks: Sequence[Callback]) -> None:
        self._freeze(phase)
        trainer, self._resumed = self._resumed or self._trainer(phase), None
        start = max(self.start, (phase.start, 0))
        trainer.fit(self.train, self.val, phase.stop, callbacks, start=start)

    def _remember(self, trainer: Trainer, epoch: Epoch) -> None:
        val = epoch.validation
        validation = [val.loss, val.accuracy] if val else [None, None]
        self.history.append([epoch.loss, epoch.accuracy, *validation])

    def _saved(self) -> str:
        path = Path(self.checkpoint.path)
        if not path.exists():
            return "nothing was saved, because no training step was made yet"
        info = checkpoint_info(path)
        done = _position(int(info["epoch"]), int(info["batch"]))
        return f"{path} holds {done}; the same command with --resume goes on"


class Interrupt(Callback):
    """Ctrl-C waits for the end of the step and then saves a checkpoint; a second Ctrl-C does not wait.

    As a context manager it puts the former signal handler back."""

    def __init__(self, checkpoint: Checkpoint, steps: int):
        self.checkpoint, self.steps, self.wanted = checkpoint, steps, False

    def __enter__(self) -> Interrupt:
        self._former = signal.getsignal(signal.SIGINT)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._former)

    def begin(self, trainer: Trainer, epochs: int, train: Any) -> None:
        signal.signal(signal.SIGINT, self._note)

    def _note(self, *_: object) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        click.echo("\nedgecnn: stopping after this step", err=True)

    def step_end(self, trainer: Trainer, epoch: Epoch) -> None:
        if self.wanted and epoch.steps < self.steps:  # the end of the epoch saves itself
            self.checkpoint.save(trainer, epoch.number, epoch.steps)
            raise KeyboardInterrupt

    def epoch_end(self, trainer: Trainer, epoch: Epoch) -> None:
        if self.wanted:
            raise KeyboardInterrupt


def _position(epochs: int, batches: int) -> str:
    return _count(epochs, "epoch") + (f" and {_count(batches, 'batch', 'batches')}" if batches else "")


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
