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


class SqueezeExcite(nn.Module):
    """Scales channels by what their means tell (Hu, Shen, Sun 2018, Squeeze-and-excitation networks, section 3)."""

    def __init__(self, channels: int, squeezed: int, activation: type[nn.Module] = nn.ReLU,
                 scale: type[nn.Module] = nn.HardSigmoid):
        super().__init__()
        self.avgpool, self.fc1, self.activation = nn.GlobalAvgPool2d(), nn.Conv2d(channels, squeezed, 1), activation()
        self.fc2, self.scale = nn.Conv2d(squeezed, channels, 1), scale()

    def forward(self, x):
        return x * self.scale(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


def depthwise_separable(channels: int, out: int, kernel: int = 3, stride: int = 1, activation: type[nn.Module] = nn.ReLU,
                        squeeze: nn.Module | None = None) -> nn.Sequential:
    """Depthwise convolution, squeeze and excitation if any, 1x1 convolution (Howard et al. 2017, MobileNets, figure 3)."""
    return nn.Sequential(conv_bn(channels, channels, kernel, stride, activation, groups=channels),
                         *([squeeze] if squeeze else []), conv_bn(channels, out, activation=activation))


class InvertedResidual(nn.Module):
    """1x1 convolution to `wide` channels where these are more, depthwise convolution, squeeze and excitation if any, linear
    1x1 convolution; plus x if of the same shape (Sandler et al. 2018, MobileNetV2, figure 4)."""

    def __init__(self, channels: int, wide: int, out: int, kernel: int = 3, stride: int = 1,
                 activation: type[nn.Module] = nn.ReLU6, squeeze: nn.Module | None = None, eps: float = 1e-5):
        super().__init__()
        self.block = nn.Sequential(
            *([conv_bn(channels, wide, activation=activation, eps=eps)] if wide != channels else []),
            conv_bn(wide, wide, kernel, stride, activation, groups=wide, eps=eps),
            *([squeeze] if squeeze else []),
            conv_bn(wide, out, activation=None, eps=eps))
        self.residual = stride == 1 and channels == out

    def forward(self, x):
        return x + self.block(x) if self.residual else self.block(x)


class Classifier(nn.Module):
    """Features, global average, hidden layers if any, dropout, fully connected layer.

    Args: in_channels: of the pictures; channels: of the features; hidden: channels and modules between average and dropout.
    """

    def __init__(self, name: str, in_channels: int, features: list[nn.Module], channels: int, num_classes: int,
                 dropout: float = 0.2, hidden: tuple[nn.Module, ...] = (), size: tuple[int, int] = (224, 224)):
        super().__init__()
        self.name, self.input_shape, self.default_size = name, (None, in_channels, None, None), size
        self.body = nn.Sequential(*features)
        self.avgpool, self.flatten = nn.GlobalAvgPool2d(), nn.Flatten()
        self.classifier = nn.Sequential(*hidden, nn.Dropout(dropout), nn.Linear(channels, num_classes))

    def forward(self, x):
        return self.classifier(self.flatten(self.avgpool(self.body(x))))
