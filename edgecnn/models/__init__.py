"""Networks ready to train: edgecnn.models.lenet5(), resnet18() ..."""

from .lenet import lenet5
from .resnet import resnet18, resnet34, resnet50

__all__ = ["lenet5", "resnet18", "resnet34", "resnet50"]
