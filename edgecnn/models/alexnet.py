"""AlexNet (Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks: the network of 2012 for one
device) and ZFNet (Zeiler and Fergus 2013, Visualizing and understanding convolutional networks, figure 3)."""

from __future__ import annotations

from .. import init, nn

# Convolutions: channels, kernel, stride, padding; between them "pool", with the padding of the network, and "norm".
ALEXNET = ((64, 11, 4, 2), "norm", "pool", (192, 5, 1, 2), "norm", "pool", (384, 3, 1, 1), (256, 3, 1, 1),
           (256, 3, 1, 1), "pool")
ZFNET = ((96, 7, 2, 1), "pool", "norm", (256, 5, 2, 0), "pool", "norm", (384, 3, 1, 1), (384, 3, 1, 1),
         (256, 3, 1, 1), "pool")


class AlexNet(nn.Module):
    """Five convolutions, three fully connected layers: pictures of 224 x 224."""

    def __init__(self, name: str, layout: tuple, pool_padding: tuple[int, ...], num_classes: int, in_channels: int,
                 lrn: bool):
        super().__init__()
        self.name, self.input_shape = name, (None, in_channels, 224, 224)
        layers: list[nn.Module] = []
        channels, pads = in_channels, iter(pool_padding)
        for item in layout:
            if item == "pool":
                layers.append(nn.MaxPool2d(3, 2, next(pads)))
            elif item == "norm":  # Krizhevsky et al. 2012, section 3.3, whose alpha of 1e-4 is not divided by the size
                layers += [nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)] if lrn else []
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


def alexnet(num_classes: int = 1000, in_channels: int = 3, lrn: bool = True) -> nn.Module:
    """61 million parameters; lrn: local response normalisation, which torchvision's weights go without."""
    return AlexNet("alexnet", ALEXNET, (0, 0, 0), num_classes, in_channels, lrn)


def zfnet(num_classes: int = 1000, in_channels: int = 3, lrn: bool = True) -> nn.Module:
    """62 million parameters; lrn: local response normalisation, the paper's contrast normalisation across channels."""
    return AlexNet("zfnet", ZFNET, (1, 1, 0), num_classes, in_channels, lrn)
