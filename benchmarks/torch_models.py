"""The benchmark networks in plain PyTorch, without torchvision; same layers and sizes as `edgecnn.models`."""

import torch
from torch import nn


def lenet5(num_classes: int = 10) -> nn.Module:
    """LeNet-5 (LeCun et al., 1998) with ReLU and max pooling, for 1x28x28 pictures."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(),
        nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, num_classes),
    )  # fmt: skip


def conv_bn(c: int, oc: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c, oc, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(oc)
    )


class Residual(nn.Module):
    """ReLU(F(x) + x), with a 1x1 projection where shapes differ (He et al., 2015, section 3)."""

    def __init__(self, c: int, oc: int, stride: int, body: nn.Sequential):
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if stride == 1 and c == oc else conv_bn(c, oc, 1, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


def basic(c: int, width: int, stride: int) -> Residual:
    body = nn.Sequential(conv_bn(c, width, 3, stride), nn.ReLU(inplace=True), conv_bn(width, width, 3))
    return Residual(c, width, stride, body)


def bottleneck(c: int, width: int, stride: int) -> Residual:
    body = nn.Sequential(
        conv_bn(c, width, 1), nn.ReLU(inplace=True),
        conv_bn(width, width, 3, stride), nn.ReLU(inplace=True),
        conv_bn(width, 4 * width, 1),
    )  # fmt: skip
    return Residual(c, 4 * width, stride, body)


def resnet(block, expansion: int, depths: tuple[int, ...], num_classes: int) -> nn.Module:
    layers: list[nn.Module] = [conv_bn(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    c = 64
    for stage, depth in enumerate(depths):
        for i in range(depth):
            layers.append(block(c, 64 << stage, 2 if stage > 0 and i == 0 else 1))
            c = expansion * (64 << stage)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, num_classes))


def resnet18(num_classes: int = 1000) -> nn.Module:
    return resnet(basic, 1, (2, 2, 2, 2), num_classes)


def resnet50(num_classes: int = 1000) -> nn.Module:
    return resnet(bottleneck, 4, (3, 4, 6, 3), num_classes)
