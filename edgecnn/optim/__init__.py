"""Optimizers and learning-rate schedules."""

from .optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from .schedules import Constant, Cosine, OneCycle, Step, WarmUp

__all__ = ["SGD", "AdaDelta", "AdaGrad", "Adam", "AdamW", "Constant", "Cosine", "Momentum", "Nesterov",
           "OneCycle", "Optimizer", "RMSprop", "Step", "WarmUp"]
