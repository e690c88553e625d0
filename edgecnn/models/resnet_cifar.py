"""ResNet-20, 32, 56 for pictures of 32 x 32, and the plain networks they are compared with (He, Zhang, Ren, Sun 2015, Deep
residual learning for image recognition, section 4.2): 6n + 2 layers, shortcuts without parameters."""

from __future__ import annotations

from .. import nn
from ..errors import ModelError
from ._blocks import Classifier, conv_bn


class Shortcut(nn.Module):
    """x, or where shapes differ every other pixel of it and zeros in the new channels (option A)."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.pool = nn.MaxPool2d(1, stride) if stride > 1 else None
        self.pads = (0, 0, 0, 0, 0, out - channels, 0, 0)

    def forward(self, x):
        return self.pool(x).apply("Pad", name=self.path(), pads=self.pads) if self.pool else x


class Block(nn.Module):
    """y = ReLU(F(x) + x) with two 3x3 convolutions; y = ReLU(F(x)) in a plain network."""

    def __init__(self, channels: int, out: int, stride: int, residual: bool):
        super().__init__()
        self.conv1 = conv_bn(channels, out, 3, stride)
        self.conv2 = conv_bn(out, out, 3, activation=None)
        self.shortcut = Shortcut(channels, out, stride) if residual else None
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        return self.relu(y + self.shortcut(x) if self.shortcut else y)


def resnet_cifar(depth: int, residual: bool = True, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """The network of depth 6n + 2: three stages of n blocks with 16, 32, 64 channels; plain if not residual."""
    if depth < 8 or depth % 6 != 2:
        raise ModelError(f"resnet_cifar: depth is {depth}, allowed are 8, 14, 20 ...: 6n + 2")
    channels = 16
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3)]
    for stage, out in enumerate((16, 32, 64)):
        for i in range((depth - 2) // 6):
            features.append(Block(channels, out, 2 if stage and i == 0 else 1, residual))
            channels = out
    name = f"{'resnet' if residual else 'plain'}{depth}"
    return Classifier(name, in_channels, features, channels, num_classes, dropout=0.0, size=(32, 32))


def resnet20(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """0.27 million parameters."""
    return resnet_cifar(20, True, num_classes, in_channels)


def resnet32(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """0.46 million parameters."""
    return resnet_cifar(32, True, num_classes, in_channels)


def resnet56(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """0.85 million parameters."""
    return resnet_cifar(56, True, num_classes, in_channels)


def plain20(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """ResNet-20 without shortcuts."""
    return resnet_cifar(20, False, num_classes, in_channels)


def plain32(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """ResNet-32 without shortcuts."""
    return resnet_cifar(32, False, num_classes, in_channels)


def plain56(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """ResNet-56 without shortcuts."""
    return resnet_cifar(56, False, num_classes, in_channels)
