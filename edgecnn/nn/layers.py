"""Layers. Arguments, parameter names and shapes are those that users of PyTorch know; the formulas are ONNX's."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..errors import ModelError
from .module import Module, Tensor

_seeds = np.random.SeedSequence(0)


def manual_seed(seed: int) -> None:
    """Makes the initial weights of the layers built from now on those of this seed (0 when a program starts)."""
    global _seeds
    _seeds = np.random.SeedSequence(seed)


def _rng() -> np.random.Generator:
    return np.random.default_rng(_seeds.spawn(1)[0])


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


class Conv2d(Module):
    """y = x * weight + bias (cross-correlation).

    Args: channels in and out, kernel_size, stride, padding (both sides), dilation: int or (h, w); groups; bias;
        initialise: a function of edgecnn.init.
    Shape: x (N, C, H, W); weight (OC, C / groups, KH, KW); bias (OC,).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, initialise: Any = init.glorot_normal):
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ModelError(f"Conv2d: {in_channels} and {out_channels} channels cannot be split into {groups} groups")
        self.in_channels = in_channels
        pads = _pair(padding)
        self.attrs: dict[str, Any] = {"strides": _pair(stride), "pads": (*pads, *pads), "dilations": _pair(dilation),
                                      "group": groups}
        self.weight = initialise((out_channels, in_channels // groups, *_pair(kernel_size)), _rng(), groups=groups)
        if bias:
            self.bias = np.zeros(out_channels, np.float32)

    def forward(self, x: Tensor) -> Tensor:
        x.expect(None, self.in_channels, None, None)
        bias = self.path("bias") if hasattr(self, "bias") else None
        return x.apply("Conv", self.path("weight"), bias, name=self.path(), **self.attrs)


class Linear(Module):
    """y = x weight^T + bias. Shape: x (N, in); weight (out, in); bias (out,)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, initialise: Any = init.glorot_normal):
        super().__init__()
        self.in_features = in_features
        self.weight = initialise((out_features, in_features), _rng())
        if bias:
            self.bias = np.zeros(out_features, np.float32)

    def forward(self, x: Tensor) -> Tensor:
        x.expect(None, self.in_features)
        bias = self.path("bias") if hasattr(self, "bias") else None
        return x.apply("Gemm", self.path("weight"), bias, name=self.path(), transB=1)


class BatchNorm2d(Module):
    """Batch normalisation per channel (Ioffe and Szegedy 2015).

    Args: eps inside the root; momentum is the weight of the NEW value in the running statistics (0.1), which are the
        biased variance as in ONNX.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.attrs: dict[str, Any] = {"epsilon": eps, "momentum": 1.0 - momentum}
        self.weight = np.ones(num_features, np.float32)
        self.bias = np.zeros(num_features, np.float32)
        self.running_mean = np.zeros(num_features, np.float32)
        self.running_var = np.ones(num_features, np.float32)

    def forward(self, x: Tensor) -> Tensor:
        names = ("weight", "bias", "running_mean", "running_var")
        return x.apply("BatchNormalization", *map(self.path, names), name=self.path(), **self.attrs)


class _Pool(Module):
    op = ""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, **attrs: Any):
        super().__init__()
        pads = _pair(padding)
        self.attrs = {"kernel_shape": _pair(kernel_size), "strides": _pair(kernel_size if stride is None else stride),
                      "pads": (*pads, *pads), "ceil_mode": int(ceil_mode), **attrs}

    def forward(self, x: Tensor) -> Tensor:
        return x.apply(self.op, name=self.path(), **self.attrs)


class MaxPool2d(_Pool):
    """Largest value of each window; stride = kernel_size if not given."""

    op = "MaxPool"


class AvgPool2d(_Pool):
    """Mean of each window; padding counts as zeros if count_include_pad."""

    op = "AveragePool"

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True):
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad=int(count_include_pad))


class _Pointwise(Module):
    """One operator without parameters; arguments are its ONNX attributes."""

    op = ""

    def __init__(self, **attrs: Any):
        super().__init__()
        self.attrs = attrs

    def forward(self, x: Tensor) -> Tensor:
        return x.apply(self.op, name=self.path(), **self.attrs)


class GlobalAvgPool2d(_Pointwise):
    """Mean over all pixels: (N, C, H, W) -> (N, C, 1, 1)."""

    op = "GlobalAveragePool"


class LocalResponseNorm(_Pointwise):
    """y = x / (k + alpha / size * sum of x^2 over `size` channels around each one)^beta, (N, C, ...) -> (N, C, ...)
    (Krizhevsky et al. 2012, section 3.3, whose alpha is not divided by size)."""

    op = "LRN"

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__(size=size, alpha=alpha, beta=beta, bias=k)


class ReLU(_Pointwise):
    """max(0, x)"""

    op = "Relu"


class ReLU6(_Pointwise):
    """min(max(0, x), 6)"""

    op = "Clip"

    def __init__(self) -> None:
        super().__init__(min=0.0, max=6.0)


class LeakyReLU(_Pointwise):
    """x where x > 0, else alpha x"""

    op = "LeakyRelu"

    def __init__(self, alpha: float = 0.01):
        super().__init__(alpha=alpha)


class ELU(_Pointwise):
    """x where x > 0, else alpha (exp(x) - 1) (Clevert et al. 2015)"""

    op = "Elu"

    def __init__(self, alpha: float = 1.0):
        super().__init__(alpha=alpha)


class Sigmoid(_Pointwise):
    """1 / (1 + exp(-x))"""

    op = "Sigmoid"


class Tanh(_Pointwise):
    """tanh(x)"""

    op = "Tanh"


class HardSigmoid(_Pointwise):
    """min(max(0, x / 6 + 1/2), 1)"""

    op = "HardSigmoid"

    def __init__(self) -> None:
        super().__init__(alpha=1 / 6, beta=0.5)


class HardSwish(_Pointwise):
    """x HardSigmoid(x) (Howard et al. 2019)"""

    op = "HardSwish"


class SiLU(_Pointwise):
    """x sigmoid(x) (Elfwing et al. 2018)"""

    op = "Swish"


class Softmax(_Pointwise):
    """exp(x) / sum(exp(x)) along an axis"""

    op = "Softmax"

    def __init__(self, axis: int = -1):
        super().__init__(axis=axis)


class Flatten(_Pointwise):
    """(N, ...) -> (N, product)"""

    op = "Flatten"


class Dropout(_Pointwise):
    """In training sets a share p of the values to zero and divides the rest by 1 - p; nothing in inference
    (Srivastava et al. 2014)."""

    op = "Dropout"

    def __init__(self, p: float = 0.5):
        if not 0 <= p < 1:
            raise ModelError(f"Dropout: p is {p}, allowed are 0 <= p < 1")
        super().__init__(ratio=p)


class Concat(Module):
    """The inputs one after the other along an axis, of channels if not told otherwise."""

    def __init__(self, axis: int = 1):
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return x.apply("Concat", *others, name=self.path(), axis=self.axis)


class Split(Module):
    """Equal parts along an axis, of channels if not told otherwise: a list of tensors."""

    def __init__(self, parts: int, axis: int = 1):
        super().__init__()
        self.count, self.axis = parts, axis

    def forward(self, x: Tensor) -> list[Tensor]:
        return x.apply("Split", name=self.path(), outputs=self.count, axis=self.axis)


class ChannelShuffle(Module):
    """Channel i of group g becomes channel g of run i: the next grouped convolution sees all groups
    (Zhang et al. 2017, ShuffleNet, section 3.1)."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        if channels % groups:
            raise ModelError(f"ChannelShuffle: {channels} channels cannot be split into {groups} groups")
        self.shape = (0, groups, channels // groups, -1)

    def forward(self, x: Tensor) -> Tensor:
        groups = x.apply("Reshape", name=self.path(), shape=np.array(self.shape, np.int64))
        return groups.apply("Transpose", perm=(0, 2, 1, 3)).apply("Reshape", x.apply("Shape"))
