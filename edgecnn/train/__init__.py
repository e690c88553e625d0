"""Training: the Trainer, what it returns, and listeners."""

from .callbacks import Callback, Each, EarlyStopping, Progress, SaveBest
from .checkpoint import load_checkpoint, save_checkpoint
from .result import Epoch, Evaluation, History
from .trainer import Trainer

__all__ = ["Callback", "Each", "EarlyStopping", "Epoch", "Evaluation", "History", "Progress", "SaveBest", "Trainer",
           "load_checkpoint", "save_checkpoint"]
