"""MobileNetV2 (Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, table 2)."""

from __future__ import annotations

from .. import nn
from ._blocks import Classifier, conv_bn, round_channels


class InvertedResidual(nn.Module):
    """1x1 convolution to `expand` times as many channels, depthwise 3x3, linear 1x1; plus x if of the same shape."""

    def __init__(self, channels: int, out: int, stride: int, expand: int):
        super().__init__()
        wide = channels * expand
        self.conv = nn.Sequential(
            *([conv_bn(channels, wide, activation=nn.ReLU6)] if expand > 1 else []),
            conv_bn(wide, wide, 3, stride, nn.ReLU6, groups=wide),
            conv_bn(wide, out, activation=None))
        self.residual = stride == 1 and channels == out

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


# expansion, output channels, repetitions, stride of the first
STAGES_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2(num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> nn.Module:
    """3.5 million parameters at width 1, which scales all channels."""
    channels = round_channels(32 * width)
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2, nn.ReLU6)]
    for expand, out, repeat, stride in STAGES_V2:
        for i in range(repeat):
            features.append(InvertedResidual(channels, round_channels(out * width), stride if i == 0 else 1, expand))
            channels = round_channels(out * width)
    last = round_channels(1280 * max(1.0, width))
    features.append(conv_bn(channels, last, activation=nn.ReLU6))
    return Classifier("mobilenet_v2", in_channels, features, last, num_classes)
