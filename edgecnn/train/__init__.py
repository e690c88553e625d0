"""Training: the Trainer, what it returns, and listeners."""

from .callbacks import Callback, Checkpoint, Each, EarlyStopping, Progress, SaveBest
from .checkpoint import checkpoint_info, load_checkpoint, save_checkpoint
from .result import Epoch, Evaluation, History
from .statistics import reestimate_statistics
from .trainer import Trainer

__all__ = ["Callback", "Checkpoint", "Each", "EarlyStopping", "Epoch", "Evaluation", "History", "Progress", "SaveBest",
           "Trainer", "checkpoint_info", "load_checkpoint", "reestimate_statistics", "save_checkpoint"]
