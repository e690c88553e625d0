"""PP-LCNet (Cui et al. 2021, PP-LCNet: a lightweight CPU convolutional neural network, section 3)."""

from __future__ import annotations

from .. import nn
from ._blocks import Classifier, SqueezeExcite, conv_bn, depthwise_separable, round_channels

# kernel, output channels, stride, squeeze and excitation
LAYERS = ((3, 32, 1, False), (3, 64, 2, False), (3, 64, 1, False), (3, 128, 2, False), (3, 128, 1, False),
          (3, 256, 2, False), *[(5, 256, 1, False)] * 5, (5, 512, 2, True), (5, 512, 1, True))


def pplcnet(num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> nn.Module:
    """3.0 million parameters at width 1, which scales all channels but the last."""
    channels = round_channels(16 * width)
    features: list[nn.Module] = [conv_bn(in_channels, channels, 3, 2, nn.HardSwish)]
    for kernel, out, stride, squeeze in LAYERS:
        excite = SqueezeExcite(channels, channels // 4) if squeeze else None
        features.append(depthwise_separable(channels, round_channels(out * width), kernel, stride, nn.HardSwish, excite))
        channels = round_channels(out * width)
    hidden = nn.Linear(channels, 1280), nn.HardSwish()
    return Classifier("pplcnet", in_channels, features, 1280, num_classes, hidden=hidden)
