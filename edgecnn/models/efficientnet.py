"""EfficientNet (Tan and Le 2019, EfficientNet: rethinking model scaling for convolutional neural networks, table 1) and
EfficientNet-Lite (Liu 2020, Higher accuracy on vision models with EfficientNet-Lite): ReLU6, no squeeze and excitation, and
stem, head and the depth of the outer stages as in B0 at every scale."""

from __future__ import annotations

import math

from .. import nn
from ._blocks import Classifier, InvertedResidual, SqueezeExcite, conv_bn, round_channels

# expansion, kernel, stride of the first, output channels, repetitions
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
          (6, 3, 1, 320, 1))
# factors of channels and repetitions; height and width of the pictures
LITE = {0: (1.0, 1.0, 224), 1: (1.0, 1.1, 240), 2: (1.1, 1.2, 260), 3: (1.2, 1.4, 280), 4: (1.4, 1.8, 300)}
LITE_EPS = 1e-3


def efficientnet_b0(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """5.3 million parameters."""
    channels = 32
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2, nn.SiLU)]
    for expand, kernel, stride, out, repeat in STAGES:
        for i in range(repeat):
            wide = channels * expand
            features.append(InvertedResidual(channels, wide, out, kernel, stride if i == 0 else 1, nn.SiLU,
                                             SqueezeExcite(wide, channels // 4, nn.SiLU, nn.Sigmoid)))
            channels = out
    features.append(conv_bn(channels, 1280, activation=nn.SiLU))
    return Classifier("efficientnet_b0", in_channels, features, 1280, num_classes)


def _efficientnet_lite(scale: int, num_classes: int, in_channels: int) -> nn.Module:
    width, depth, size = LITE[scale]
    channels = 32
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2, nn.ReLU6, eps=LITE_EPS)]
    for stage, (expand, kernel, stride, base, repeat) in enumerate(STAGES):
        inner = 0 < stage < len(STAGES) - 1
        for i in range(math.ceil(repeat * depth) if inner else repeat):
            wide, out = channels * expand, round_channels(base * width)
            features.append(InvertedResidual(channels, wide, out, kernel, stride if i == 0 else 1, eps=LITE_EPS))
            channels = out
    features.append(conv_bn(channels, 1280, activation=nn.ReLU6, eps=LITE_EPS))
    return Classifier(f"efficientnet_lite{scale}", in_channels, features, 1280, num_classes, size=(size, size))


def efficientnet_lite0(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """4.7 million parameters."""
    return _efficientnet_lite(0, num_classes, in_channels)


def efficientnet_lite1(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """5.4 million parameters; pictures of 240 x 240."""
    return _efficientnet_lite(1, num_classes, in_channels)


def efficientnet_lite2(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """6.1 million parameters; pictures of 260 x 260."""
    return _efficientnet_lite(2, num_classes, in_channels)


def efficientnet_lite3(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """8.2 million parameters; pictures of 280 x 280."""
    return _efficientnet_lite(3, num_classes, in_channels)


def efficientnet_lite4(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """13.0 million parameters; pictures of 300 x 300."""
    return _efficientnet_lite(4, num_classes, in_channels)
