"""AlexNet (Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks: the network of 2012 for one
device) and ZFNet (Zeiler and Fergus 2013, Visualizing and understanding convolutional networks, figure 3), both without
local response normalisation, as they are trained today."""

from __future__ import annotations

from .. import init, nn

# Convolutions: channels, kernel, stride, padding; "pool" between them, with the padding of the network.
ALEXNET = ((64, 11, 4, 2), "pool", (192, 5, 1, 2), "pool", (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), "pool")
ZFNET = ((96, 7, 2, 1), "pool", (256, 5, 2, 0), "pool", (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1), "pool")


class AlexNet(nn.Module):
    """Five convolutions, three fully connected layers: pictures of 224 x 224."""

    def __init__(self, name: str, layout: tuple, pool_padding: tuple[int, ...], num_classes: int, in_channels: int):
        super().__init__()
        self.name, self.input_shape = name, (None, in_channels, 224, 224)
        layers: list[nn.Module] = []
        channels, pads = in_channels, iter(pool_padding)
        for item in layout:
            if item == "pool":
                layers.append(nn.MaxPool2d(3, 2, next(pads)))
            else:
                out, kernel, stride, padding = item
                layers += [nn.Conv2d(channels, out, kernel, stride, padding, initialise=init.he_normal), nn.ReLU()]
                channels = out
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(), nn.Linear(channels * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, num_classes))

    def forward(self, x):
        return self.classifier(self.body(x))


def alexnet(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """61 million parameters."""
    return AlexNet("alexnet", ALEXNET, (0, 0, 0), num_classes, in_channels)


def zfnet(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """62 million parameters."""
    return AlexNet("zfnet", ZFNET, (1, 1, 0), num_classes, in_channels)
