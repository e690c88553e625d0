"""SqueezeNet (Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, table 1; 1.1: the authors'
repository, 2.4 times fewer operations)."""

from __future__ import annotations

from .. import init, nn


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 ones side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1, initialise=init.he_normal)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1, initialise=init.he_normal)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1, initialise=init.he_normal)
        self.relu, self.concat = nn.ReLU(), nn.Concat()

    def forward(self, x):
        x = self.relu(self.squeeze(x))
        return self.concat(self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x)))


# Squeeze and expand channels of the fire modules, "pool" between them.
FIRES_1_0 = ("pool", (16, 64), (16, 64), (32, 128), "pool", (32, 128), (48, 192), (48, 192), (64, 256), "pool", (64, 256))
FIRES_1_1 = ("pool", (16, 64), (16, 64), "pool", (32, 128), (32, 128), "pool", (48, 192), (48, 192), (64, 256), (64, 256))


class SqueezeNet(nn.Module):
    """Convolution, fire modules, and a convolution whose channels are the classes."""

    def __init__(self, stem: tuple[int, int], fires: tuple, num_classes: int, in_channels: int, name: str):
        super().__init__()
        self.name, self.input_shape = name, (None, in_channels, None, None)
        channels, kernel = stem
        layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, kernel, 2, initialise=init.he_normal), nn.ReLU()]
        for item in fires:
            if item == "pool":
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            else:
                layers.append(Fire(channels, *item))
                channels = 2 * item[1]
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, num_classes, 1), nn.ReLU(), nn.GlobalAvgPool2d(),
                                        nn.Flatten())

    def forward(self, x):
        return self.classifier(self.body(x))


def squeezenet1_0(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """1.25 million parameters."""
    return SqueezeNet((96, 7), FIRES_1_0, num_classes, in_channels, "squeezenet1_0")


def squeezenet1_1(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """1.24 million parameters."""
    return SqueezeNet((64, 3), FIRES_1_1, num_classes, in_channels, "squeezenet1_1")
