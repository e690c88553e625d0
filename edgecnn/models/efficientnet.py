"""EfficientNet (Tan and Le 2019, EfficientNet: rethinking model scaling for convolutional neural networks, table 1)."""

from __future__ import annotations

from .. import nn
from ._blocks import Classifier, conv_bn


class SqueezeExcite(nn.Module):
    """Scales channels by what their means tell (Hu, Shen, Sun 2018)."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.avgpool, self.fc1, self.activation = nn.GlobalAvgPool2d(), nn.Conv2d(channels, squeezed, 1), nn.SiLU()
        self.fc2, self.scale = nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()

    def forward(self, x):
        return x * self.scale(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


class MBConv(nn.Module):
    """Inverted residual with squeeze and excitation."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expand: int):
        super().__init__()
        wide = channels * expand
        self.block = nn.Sequential(
            *([conv_bn(channels, wide, activation=nn.SiLU)] if expand > 1 else []),
            conv_bn(wide, wide, kernel, stride, nn.SiLU, groups=wide),
            SqueezeExcite(wide, max(1, channels // 4)),
            conv_bn(wide, out, activation=None))
        self.residual = stride == 1 and channels == out

    def forward(self, x):
        return x + self.block(x) if self.residual else self.block(x)


# expansion, kernel, stride of the first, output channels, repetitions
STAGES_B0 = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
             (6, 3, 1, 320, 1))


def efficientnet_b0(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """5.3 million parameters."""
    channels = 32
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2, nn.SiLU)]
    for expand, kernel, stride, out, repeat in STAGES_B0:
        for i in range(repeat):
            features.append(MBConv(channels, out, kernel, stride if i == 0 else 1, expand))
            channels = out
    features.append(conv_bn(channels, 1280, activation=nn.SiLU))
    return Classifier("efficientnet_b0", in_channels, features, 1280, num_classes)
