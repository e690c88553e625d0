"""edgecnn: import a pretrained CNN from ONNX, run it fast on a small CPU, fine-tune it there, write ONNX back."""

__version__ = "0.1.0"

from . import data, init, models, nn, optim
from .config import get_num_threads, set_num_threads, show_config
from .errors import (
    CheckpointError,
    DataError,
    DTypeError,
    EdgeCNNError,
    ModelError,
    ResourceError,
    ShapeError,
    UnsupportedError,
)
from .model import Model, load
from .ops import TensorSpec
from .preprocessing import Preprocessing
from .train import Trainer, reestimate_statistics

__all__ = ["CheckpointError", "DTypeError", "DataError", "EdgeCNNError", "Model", "ModelError", "Preprocessing",
           "ResourceError", "ShapeError", "TensorSpec", "Trainer", "UnsupportedError", "data", "get_num_threads", "init",
           "load", "models", "nn", "optim", "reestimate_statistics", "set_num_threads", "show_config"]
