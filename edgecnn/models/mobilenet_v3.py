"""MobileNetV3 (Howard et al. 2019, Searching for MobileNetV3, tables 1 and 2)."""

from __future__ import annotations

from .. import nn
from ._blocks import Classifier, InvertedResidual, SqueezeExcite, conv_bn, round_channels

R, H = nn.ReLU, nn.HardSwish
# kernel, expanded channels, output channels, squeeze and excitation, activation, stride
LARGE = ((3, 16, 16, False, R, 1), (3, 64, 24, False, R, 2), (3, 72, 24, False, R, 1), (5, 72, 40, True, R, 2),
         (5, 120, 40, True, R, 1), (5, 120, 40, True, R, 1), (3, 240, 80, False, H, 2), (3, 200, 80, False, H, 1),
         (3, 184, 80, False, H, 1), (3, 184, 80, False, H, 1), (3, 480, 112, True, H, 1), (3, 672, 112, True, H, 1),
         (5, 672, 160, True, H, 2), (5, 960, 160, True, H, 1), (5, 960, 160, True, H, 1))
SMALL = ((3, 16, 16, True, R, 2), (3, 72, 24, False, R, 2), (3, 88, 24, False, R, 1), (5, 96, 40, True, H, 2),
         (5, 240, 40, True, H, 1), (5, 240, 40, True, H, 1), (5, 120, 48, True, H, 1), (5, 144, 48, True, H, 1),
         (5, 288, 96, True, H, 2), (5, 576, 96, True, H, 1), (5, 576, 96, True, H, 1))
EPS = 1e-3


def _mobilenet_v3(name: str, table: tuple, hidden: int, num_classes: int, in_channels: int) -> nn.Module:
    channels = 16
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2, nn.HardSwish, eps=EPS)]
    for kernel, wide, out, squeeze, activation, stride in table:
        excite = SqueezeExcite(wide, round_channels(wide / 4)) if squeeze else None
        features.append(InvertedResidual(channels, wide, out, kernel, stride, activation, excite, EPS))
        channels = out
    last = 6 * channels
    features.append(conv_bn(channels, last, activation=nn.HardSwish, eps=EPS))
    return Classifier(name, in_channels, features, hidden, num_classes, hidden=(nn.Linear(last, hidden), nn.HardSwish()))


def mobilenet_v3_large(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """5.5 million parameters."""
    return _mobilenet_v3("mobilenet_v3_large", LARGE, 1280, num_classes, in_channels)


def mobilenet_v3_small(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """2.5 million parameters."""
    return _mobilenet_v3("mobilenet_v3_small", SMALL, 1024, num_classes, in_channels)
