"""What several networks are made of."""

from __future__ import annotations

from typing import Any

from .. import init, nn


def conv_bn(channels: int, out: int, kernel: Any = 1, stride: int = 1, activation: type[nn.Module] | None = nn.ReLU,
            groups: int = 1, eps: float = 1e-5) -> nn.Sequential:
    """Convolution that keeps the size (divided by the stride), batch norm and, if any, an activation."""
    padding = tuple(k // 2 for k in kernel) if isinstance(kernel, tuple) else kernel // 2
    layers = [nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False, initialise=init.he_normal),
              nn.BatchNorm2d(out, eps)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, not more than 10 % below (Sandler et al. 2018, reference code)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class Classifier(nn.Module):
    """Features, global average, dropout, fully connected layer. in_channels: of the pictures."""

    def __init__(self, name: str, in_channels: int, features: list[nn.Module], channels: int, num_classes: int,
                 dropout: float = 0.2):
        super().__init__()
        self.name, self.input_shape = name, (None, in_channels, None, None)
        self.body = nn.Sequential(*features)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))

    def forward(self, x):
        return self.classifier(self.flatten(self.avgpool(self.body(x))))
