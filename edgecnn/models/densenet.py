"""DenseNet-121 (Huang, Liu, van der Maaten, Weinberger 2017, Densely connected convolutional networks, table 1)."""

from __future__ import annotations

from .. import init, nn
from ._blocks import Classifier, conv_bn

GROWTH, DEPTHS_121 = 32, (6, 12, 24, 16)


def _bn_conv(channels: int, out: int, kernel: int) -> nn.Sequential:
    """Batch norm and ReLU before the convolution (He et al. 2016, Identity mappings in deep residual networks)."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(
        channels, out, kernel, padding=kernel // 2, bias=False, initialise=init.he_normal))


class DenseLayer(nn.Module):
    """Adds GROWTH channels to x: 1x1 convolution to four times as many, 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = _bn_conv(channels, 4 * GROWTH, 1), _bn_conv(4 * GROWTH, GROWTH, 3)
        self.concat = nn.Concat()

    def forward(self, x):
        return self.concat(x, self.conv2(self.conv1(x)))


def densenet121(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """8.0 million parameters."""
    channels = 2 * GROWTH
    features: list[nn.Module] = [conv_bn(in_channels, channels, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for stage, depth in enumerate(DEPTHS_121):
        if stage > 0:  # transition: half the channels, half the height and width
            features += [_bn_conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(depth):
            features.append(DenseLayer(channels))
            channels += GROWTH
    features += [nn.BatchNorm2d(channels), nn.ReLU()]
    return Classifier("densenet121", in_channels, features, channels, num_classes, dropout=0.0)
