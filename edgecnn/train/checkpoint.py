"""Checkpoints: everything that is needed to go on after the power was cut. A safetensors file with the parameters
(`param:NAME`), the optimizer's state (`state:STATE:NAME`) and in its metadata the number of updates (`steps`), of
epochs (`epoch`), of batches of the epoch that was broken off (`batch`), and what the caller adds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy

from ..errors import CheckpointError, ModelError
from ..graph.serialise import write_atomically

if TYPE_CHECKING:
    from .trainer import Trainer


def save_checkpoint(trainer: Trainer, path: str | os.PathLike, epoch: int = 0, batch: int = 0,
                    info: Mapping[str, str] | None = None) -> None:
    """Writes the state of a training, whole or not at all.

    Args: epoch: how many epochs are done; batch: how many batches of the next one; info: kept beside them, see
        checkpoint_info."""
    tensors = {f"param:{n}": a for n, a in trainer.model.graph.params.items()}
    tensors |= {f"state:{s}:{n}": a for n, states in trainer.states.items() for s, a in states.items()}
    metadata = {**(info or {}), "optimizer": type(trainer.optimizer).__name__, "steps": str(trainer.steps),
                "epoch": str(epoch), "batch": str(batch)}
    write_atomically(path, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata))


def checkpoint_info(path: str | os.PathLike) -> dict[str, str]:
    """The metadata of a checkpoint. Raises CheckpointError if the file is none."""
    try:
        with safetensors.safe_open(Path(path), "numpy") as file:
            info = dict(file.metadata() or {})
        for key in ("steps", "epoch", "batch"):
            int(info[key])
    except Exception as error:
        raise CheckpointError(f"{path}: not a checkpoint of edgecnn ({error})") from None
    return info


def load_checkpoint(trainer: Trainer, path: str | os.PathLike) -> int:
    """Puts a training into the state of a checkpoint and returns how many epochs were done.

    Raises CheckpointError if the file is damaged or belongs to another network or optimizer; then nothing was changed."""
    info = checkpoint_info(path)
    with safetensors.safe_open(Path(path), "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    optimizer = type(trainer.optimizer).__name__
    if info.get("optimizer") != optimizer:
        raise CheckpointError(f"{path}: was made with {info.get('optimizer')}, this training uses {optimizer}")
    try:
        trainer.model.load_state_dict({n[6:]: a for n, a in tensors.items() if n.startswith("param:")})
    except ModelError as error:
        raise CheckpointError(f"{path}: belongs to another network: {error}") from None
    states: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        if name.startswith("state:"):
            _, state, parameter = name.split(":", 2)
            states.setdefault(parameter, {})[state] = array
    trainer.restore(states, int(info["steps"]))
    return int(info["epoch"])
