"""Networks ready to train: edgecnn.models.lenet5(), resnet18() ..."""

from .efficientnet import efficientnet_b0
from .googlenet import googlenet
from .lenet import lenet5
from .mobilenet import mobilenet_v2
from .resnet import resnet18, resnet34, resnet50
from .squeezenet import squeezenet1_0, squeezenet1_1
from .vgg import vgg11, vgg13, vgg16, vgg19

__all__ = ["efficientnet_b0", "googlenet", "lenet5", "mobilenet_v2", "resnet18", "resnet34", "resnet50", "squeezenet1_0",
           "squeezenet1_1", "vgg11", "vgg13", "vgg16", "vgg19"]
