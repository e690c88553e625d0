"""HardSwish: y = x * min(max(x / 6 + 1/2, 0), 1) (Howard et al. 2019, MobileNetV3, section 5.2)."""

from ._elementwise import Activation, ActivationBackward


class HardSwish(Activation):
    name = "HardSwish"
    kernel = "hard_swish"
    work = 5
    slope_from_output = False


class HardSwishBackward(ActivationBackward):
    """dX = 0 for X <= -3, dY for X >= 3, dY * (X / 3 + 1/2) between"""

    name = "HardSwishBackward"
    inputs = ("dY", "X")
    kernel = "hard_swish_backward"
    work = 5
