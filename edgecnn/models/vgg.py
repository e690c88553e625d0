"""VGG (Simonyan and Zisserman 2014, Very deep convolutional networks for large-scale image recognition, table 1)."""

from __future__ import annotations

from .. import init, nn
from ._blocks import conv_bn

# Convolutions of 64, 128, 256, 512, 512 channels; a pooling layer follows each number of them.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """3x3 convolutions, three fully connected layers: pictures of 224 x 224."""

    def __init__(self, depth: int, batch_norm: bool, num_classes: int, in_channels: int):
        super().__init__()
        self.name, self.input_shape = f"vgg{depth}{'_bn' if batch_norm else ''}", (None, in_channels, 224, 224)
        layers: list[nn.Module] = []
        channels = in_channels
        for stage, count in enumerate(DEPTHS[depth]):
            out = min(512, 64 * 2**stage)
            for _ in range(count):
                plain = nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, initialise=init.he_normal), nn.ReLU())
                layers.append(conv_bn(channels, out, 3) if batch_norm else plain)
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, num_classes))

    def forward(self, x):
        return self.classifier(self.body(x))


def vgg11(num_classes: int = 1000, in_channels: int = 3, batch_norm: bool = False) -> nn.Module:
    """133 million parameters."""
    return VGG(11, batch_norm, num_classes, in_channels)


def vgg13(num_classes: int = 1000, in_channels: int = 3, batch_norm: bool = False) -> nn.Module:
    """133 million parameters."""
    return VGG(13, batch_norm, num_classes, in_channels)


def vgg16(num_classes: int = 1000, in_channels: int = 3, batch_norm: bool = False) -> nn.Module:
    """138 million parameters."""
    return VGG(16, batch_norm, num_classes, in_channels)


def vgg19(num_classes: int = 1000, in_channels: int = 3, batch_norm: bool = False) -> nn.Module:
    """144 million parameters."""
    return VGG(19, batch_norm, num_classes, in_channels)
