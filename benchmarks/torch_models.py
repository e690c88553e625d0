"""The networks that are trained, in plain PyTorch, without torchvision; same layers and sizes as `edgecnn.models`."""

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


class Fire(nn.Module):
    """Squeeze to few channels, then 1x1 and 3x3 convolutions side by side (Iandola et al., 2016, section 3.2)."""

    def __init__(self, c: int, squeeze: int, expand: int):
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(c, squeeze, 1), nn.ReLU(inplace=True))
        self.one = nn.Sequential(nn.Conv2d(squeeze, expand, 1), nn.ReLU(inplace=True))
        self.three = nn.Sequential(nn.Conv2d(squeeze, expand, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


def squeezenet1_1(num_classes: int = 1000) -> nn.Module:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), pool(),
        Fire(64, 16, 64), Fire(128, 16, 64), pool(),
        Fire(128, 32, 128), Fire(256, 32, 128), pool(),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        nn.Dropout(0.5), nn.Conv2d(512, num_classes, 1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def conv_bn6(c: int, oc: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(c, oc, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(oc), nn.ReLU6(inplace=True)]


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; added to the input where shapes agree (Sandler et al., 2018, section 3.3)."""

    def __init__(self, c: int, oc: int, stride: int, expansion: int):
        super().__init__()
        self.adds, wide = stride == 1 and c == oc, c * expansion
        expand = conv_bn6(c, wide, 1) if expansion > 1 else []
        self.body = nn.Sequential(*expand, *conv_bn6(wide, wide, 3, stride, wide), *conv_bn6(wide, oc, 1)[:2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def mobilenet_v2(num_classes: int = 1000) -> nn.Module:
    layers, c = conv_bn6(3, 32, 3, 2), 32
    for expansion, oc, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                         (6, 160, 3, 2), (6, 320, 1, 1)):  # table 2
        for i in range(count):
            layers.append(InvertedResidual(c, oc, stride if i == 0 else 1, expansion))
            c = oc
    return nn.Sequential(*layers, *conv_bn6(c, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2),
                         nn.Linear(1280, num_classes))
