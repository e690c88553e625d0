"""ShuffleNet v1 (Zhang, Zhou, Lin, Sun 2017, ShuffleNet, table 1) and v2 (Ma, Zhang, Zheng, Sun 2018, ShuffleNet V2:
practical guidelines for efficient CNN architecture design, table 5)."""

from __future__ import annotations

from .. import nn
from ..errors import ModelError
from ._blocks import Classifier, conv_bn

REPEATS = (4, 8, 4)  # units of the three stages
CHANNELS_V1 = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}
CHANNELS_V2 = {0.5: (48, 96, 192, 1024), 1.0: (116, 232, 464, 1024), 1.5: (176, 352, 704, 1024), 2.0: (244, 488, 976, 2048)}


class UnitV1(nn.Module):
    """1x1 grouped convolution, shuffle, depthwise 3x3, 1x1 grouped convolution; plus x, or with stride 2 beside the average
    of x (figure 2)."""

    def __init__(self, channels: int, out: int, stride: int, groups: int, first_groups: int):
        super().__init__()
        self.stride, wide = stride, out // 4
        self.branch = nn.Sequential(
            conv_bn(channels, wide, groups=first_groups), nn.ChannelShuffle(wide, groups),
            conv_bn(wide, wide, 3, stride, None, groups=wide),
            conv_bn(wide, out - channels if stride > 1 else out, activation=None, groups=groups))
        self.avgpool, self.concat, self.relu = nn.AvgPool2d(3, stride, 1), nn.Concat(), nn.ReLU()

    def forward(self, x):
        y = self.branch(x)
        return self.relu(x + y if self.stride == 1 else self.concat(self.avgpool(x), y))


class UnitV2(nn.Module):
    """Half of the channels passes by; the other half goes through 1x1, depthwise 3x3 and 1x1 convolutions; shuffle. With
    stride 2 all channels go both ways (figure 3)."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        half = out // 2
        self.split = nn.Split(2) if stride == 1 else None
        self.branch1 = None if stride == 1 else nn.Sequential(
            conv_bn(channels, channels, 3, stride, None, groups=channels), conv_bn(channels, half))
        self.branch2 = nn.Sequential(
            conv_bn(half if stride == 1 else channels, half), conv_bn(half, half, 3, stride, None, groups=half),
            conv_bn(half, half))
        self.concat, self.shuffle = nn.Concat(), nn.ChannelShuffle(out, 2)

    def forward(self, x):
        left, right = self.split(x) if self.split else (x, x)
        return self.shuffle(self.concat(self.branch1(left) if self.branch1 else left, self.branch2(right)))


def shufflenet_v1(num_classes: int = 1000, in_channels: int = 3, groups: int = 3) -> nn.Module:
    """1.9 million parameters with 3 groups; 1, 2, 4 and 8 are of about the same cost."""
    if groups not in CHANNELS_V1:
        raise ModelError(f"shufflenet_v1: groups is {groups}, allowed are {', '.join(map(str, CHANNELS_V1))}")
    channels = 24
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2), nn.MaxPool2d(3, 2, 1)]
    for stage, (out, repeat) in enumerate(zip(CHANNELS_V1[groups], REPEATS, strict=True)):
        for i in range(repeat):
            first = 1 if stage == i == 0 else groups  # the first convolution has too few channels to be grouped
            features.append(UnitV1(channels, out, 2 if i == 0 else 1, groups, first))
            channels = out
    return Classifier("shufflenet_v1", in_channels, features, channels, num_classes, dropout=0.0)


def shufflenet_v2(num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> nn.Module:
    """2.3 million parameters at width 1; 0.5, 1.5 and 2 are the others of the paper."""
    if width not in CHANNELS_V2:
        raise ModelError(f"shufflenet_v2: width is {width}, allowed are {', '.join(map(str, CHANNELS_V2))}")
    *stages, last = CHANNELS_V2[width]
    channels = 24
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2), nn.MaxPool2d(3, 2, 1)]
    for out, repeat in zip(stages, REPEATS, strict=True):
        for i in range(repeat):
            features.append(UnitV2(channels, out, 2 if i == 0 else 1))
            channels = out
    features.append(conv_bn(channels, last))
    return Classifier("shufflenet_v2", in_channels, features, last, num_classes, dropout=0.0)
