"""GoogLeNet (Szegedy et al. 2014, Going deeper with convolutions, table 1), in the form with batch norm whose weights are
common today: the third branch is 3x3 where the paper has 5x5, and there is no local response normalisation."""

from __future__ import annotations

from .. import nn
from ._blocks import conv_bn


def _conv(channels: int, out: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return conv_bn(channels, out, kernel, stride, eps=1e-3)


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1, 3x3; 1x1, 3x3; pooling, 1x1. Widths: as the columns of table 1."""

    def __init__(self, channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int):
        super().__init__()
        self.branch1 = _conv(channels, one)
        self.branch2 = nn.Sequential(_conv(channels, reduce3), _conv(reduce3, three, 3))
        self.branch3 = nn.Sequential(_conv(channels, reduce5), _conv(reduce5, five, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), _conv(channels, pool))
        self.concat = nn.Concat()

    def forward(self, x):
        return self.concat(self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x))


# Pooling windows and the inception modules 3a to 5b.
MODULES = (3, (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), 3, (192, 96, 208, 16, 48, 64),
           (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
           (256, 160, 320, 32, 128, 128), 2, (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128))


AUXILIARY = (8, 11)  # where in the body the auxiliary heads sit: behind 4a and 4d


class Auxiliary(nn.Sequential):
    """A classifier on an early layer of 14 x 14 pixels, for training only (section 5)."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__(nn.AvgPool2d(5, 3), _conv(channels, 128), nn.Flatten(), nn.Linear(128 * 4 * 4, 1024), nn.ReLU(),
                         nn.Dropout(0.7), nn.Linear(1024, num_classes))


class GoogLeNet(nn.Module):
    """Stem, nine inception modules, global average, classifier; two more outputs if auxiliary."""

    def __init__(self, num_classes: int, in_channels: int, auxiliary: bool):
        super().__init__()
        size = 224 if auxiliary else None
        self.name, self.input_shape = "googlenet", (None, in_channels, size, size)
        layers: list[nn.Module] = [_conv(in_channels, 64, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), _conv(64, 64),
                                   _conv(64, 192, 3)]
        channels = 192
        for item in MODULES:
            if isinstance(item, int):
                layers.append(nn.MaxPool2d(item, 2, ceil_mode=True))
            else:
                layers.append(Inception(channels, *item))
                one, _, three, _, five, pool = item
                channels = one + three + five + pool
        self.body = nn.Sequential(*layers)
        self.avgpool, self.flatten, self.dropout = nn.GlobalAvgPool2d(), nn.Flatten(), nn.Dropout(0.2)
        self.fc = nn.Linear(channels, num_classes)
        self.heads = nn.Sequential(*(Auxiliary(c, num_classes) for c in (512, 528))) if auxiliary else None
        self.layers = layers

    def forward(self, x):
        early = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if self.heads and i in AUXILIARY:
                early.append(getattr(self.heads, str(len(early)))(x))
        scores = self.fc(self.dropout(self.flatten(self.avgpool(x))))
        return (scores, *early) if early else scores


def googlenet(num_classes: int = 1000, in_channels: int = 3, auxiliary: bool = False) -> nn.Module:
    """6.6 million parameters.

    auxiliary: for training from scratch on 224 x 224 pixels, three outputs: scores, and those of the auxiliary heads (6.4
    million parameters more), to be weighted by Trainer(output_weights=(1, 0.3, 0.3)); features("fc") is the network
    without them."""
    return GoogLeNet(num_classes, in_channels, auxiliary)
