"""ResNet-18, 34, 50, 101, 152 (He, Zhang, Ren, Sun 2015, Deep residual learning for image recognition, table 1)."""

from __future__ import annotations

from typing import Any

from .. import init, nn


class BasicBlock(nn.Module):
    """y = ReLU(F(x) + x) with two 3x3 convolutions; a 1x1 projection where shapes differ."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = _conv(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        _add_projection(self, channels, width, stride)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + _shortcut(self, x))


class Bottleneck(nn.Module):
    """y = ReLU(F(x) + x) with 1x1, 3x3 and 1x1 convolutions; the stride is in the 3x3 one."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        out = width * self.expansion
        self.conv1 = _conv(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, out, 1)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        _add_projection(self, channels, out, stride)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + _shortcut(self, x))


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False, initialise=init.he_normal)


def _add_projection(block: Any, channels: int, out: int, stride: int) -> None:
    if stride != 1 or channels != out:
        block.downsample = nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm2d(out))


def _shortcut(block: Any, x: nn.Tensor) -> nn.Tensor:
    return block.downsample(x) if hasattr(block, "downsample") else x


class ResNet(nn.Module):
    """Stem, four stages of residual blocks, global average, classifier; parameter names as users of PyTorch know them."""

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, ...], num_classes: int,
                 in_channels: int, name: str):
        super().__init__()
        self.name, self.input_shape = name, (None, in_channels, None, None)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False, initialise=init.he_normal)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
            blocks = []
            for i in range(depth):
                blocks.append(block(channels, width, 2 if i == 0 and stage > 0 else 1))
                channels = width * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.avgpool = nn.GlobalAvgPool2d()
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(self.flatten(self.avgpool(x)))


def resnet18(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """18 layers, 11.7 million parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels, "resnet18")


def resnet34(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """34 layers, 21.8 million parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, in_channels, "resnet34")


def resnet50(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """50 layers, 25.6 million parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels, "resnet50")


def resnet101(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """101 layers, 44.5 million parameters."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, in_channels, "resnet101")


def resnet152(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """152 layers, 60.2 million parameters."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, in_channels, "resnet152")
