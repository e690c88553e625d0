"""Inception v2, the network with batch norm (Ioffe and Szegedy 2015, Batch normalization: accelerating deep network
training by reducing internal covariate shift, figure 5)."""

from __future__ import annotations

from .. import nn
from ._blocks import Classifier, conv_bn


class Inception(nn.Module):
    """Branches side by side: 1x1; 1x1, 3x3; 1x1, 3x3, 3x3; pooling, 1x1. With stride 2 the first branch and the convolution
    after the pooling are left out."""

    def __init__(self, channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: nn.Module,
                 projection: int):
        super().__init__()
        stride = 1 if one else 2
        branches = [
            nn.Sequential(conv_bn(channels, reduce3), conv_bn(reduce3, three, 3, stride)),
            nn.Sequential(conv_bn(channels, reduce5), conv_bn(reduce5, five, 3), conv_bn(five, five, 3, stride)),
            nn.Sequential(pool, *([conv_bn(channels, projection)] if projection else []))]
        self.branches = nn.Sequential(*([conv_bn(channels, one)] if one else []), *branches)
        self.concat = nn.Concat()
        self.out_channels = one + three + five + (projection or channels)

    def forward(self, x):
        return self.concat(*(branch(x) for _, branch in self.branches.parts()))


# The columns of figure 5; pooling is the average, or the largest value where the stride is 2 and at the end. 4c and 4d have
# 608 channels, the sum of their columns and what the published weights have; the figure says 576.
MODULES = ((64, 64, 64, 64, 96, "avg", 32), (64, 64, 96, 64, 96, "avg", 64), (0, 128, 160, 64, 96, "max", 0),
           (224, 64, 96, 96, 128, "avg", 128), (192, 96, 128, 96, 128, "avg", 128), (160, 128, 160, 128, 160, "avg", 128),
           (96, 128, 192, 160, 192, "avg", 128), (0, 128, 192, 192, 256, "max", 0),
           (352, 192, 320, 160, 224, "avg", 128), (352, 192, 320, 192, 224, "max", 128))


def inception_v2(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """11.3 million parameters."""
    features: list[nn.Module] = [conv_bn(in_channels, 64, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), conv_bn(64, 64),
                                 conv_bn(64, 192, 3), nn.MaxPool2d(3, 2, ceil_mode=True)]
    channels = 192
    for one, reduce3, three, reduce5, five, kind, projection in MODULES:
        pool = nn.AvgPool2d(3, 1, 1) if kind == "avg" else nn.MaxPool2d(3, 1 if one else 2, 1 if one else 0, not one)
        module = Inception(channels, one, reduce3, three, reduce5, five, pool, projection)
        features.append(module)
        channels = module.out_channels
    return Classifier("inception_v2", in_channels, features, channels, num_classes)
