"""Networks ready to train: edgecnn.models.lenet5(), resnet18() ..."""

from .alexnet import alexnet, zfnet
from .densenet import densenet121
from .efficientnet import (
    efficientnet_b0,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)
from .googlenet import googlenet
from .inception import inception_v2
from .lenet import lenet5
from .mobilenet import mobilenet_v1, mobilenet_v2
from .mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from .pplcnet import pplcnet
from .resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from .resnet_cifar import plain20, plain32, plain56, resnet20, resnet32, resnet56
from .shufflenet import shufflenet_v1, shufflenet_v2
from .squeezenet import squeezenet1_0, squeezenet1_1
from .vgg import vgg11, vgg13, vgg16, vgg19

__all__ = [
    "alexnet", "densenet121", "efficientnet_b0", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2",
    "efficientnet_lite3", "efficientnet_lite4", "googlenet", "inception_v2", "lenet5", "mobilenet_v1", "mobilenet_v2",
    "mobilenet_v3_large", "mobilenet_v3_small", "plain20", "plain32", "plain56", "pplcnet", "resnet18", "resnet20",
    "resnet32", "resnet34", "resnet50", "resnet56", "resnet101", "resnet152", "shufflenet_v1", "shufflenet_v2",
    "squeezenet1_0", "squeezenet1_1", "vgg11", "vgg13", "vgg16", "vgg19", "zfnet"]
