"""Networks from Python: layers, Sequential, and Module to derive from."""

from .layers import (
    ELU,
    AvgPool2d,
    BatchNorm2d,
    ChannelShuffle,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Split,
    Tanh,
    manual_seed,
)
from .module import Module, Sequential, Tensor

__all__ = ["ELU", "AvgPool2d", "BatchNorm2d", "ChannelShuffle", "Concat", "Conv2d", "Dropout", "Flatten",
           "GlobalAvgPool2d", "HardSigmoid", "HardSwish", "LeakyReLU", "Linear", "LocalResponseNorm", "MaxPool2d",
           "Module", "ReLU", "ReLU6", "Sequential", "SiLU", "Sigmoid", "Softmax", "Split", "Tanh", "Tensor", "manual_seed"]
