"""MobileNet v1 (Howard et al. 2017, MobileNets: efficient convolutional neural networks for mobile vision applications,
table 1) and v2 (Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, table 2)."""

from __future__ import annotations

from .. import nn
from ._blocks import Classifier, InvertedResidual, conv_bn, depthwise_separable, round_channels

# output channels, stride
LAYERS_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
# expansion, output channels, repetitions, stride of the first
STAGES_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v1(num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> nn.Module:
    """4.2 million parameters at width 1, which scales all channels."""
    channels = round_channels(32 * width)
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2)]
    for out, stride in LAYERS_V1:
        features.append(depthwise_separable(channels, round_channels(out * width), 3, stride))
        channels = round_channels(out * width)
    return Classifier("mobilenet_v1", in_channels, features, channels, num_classes)


def mobilenet_v2(num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> nn.Module:
    """3.5 million parameters at width 1, which scales all channels."""
    channels = round_channels(32 * width)
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2, nn.ReLU6)]
    for expand, out, repeat, stride in STAGES_V2:
        for i in range(repeat):
            features.append(InvertedResidual(channels, channels * expand, round_channels(out * width),
                                             stride=stride if i == 0 else 1))
            channels = round_channels(out * width)
    last = round_channels(1280 * max(1.0, width))
    features.append(conv_bn(channels, last, activation=nn.ReLU6))
    return Classifier("mobilenet_v2", in_channels, features, last, num_classes)
