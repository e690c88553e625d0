"""Random changes to training pictures that do not change their class.

They work on pixels (C, H, W) after resizing and before normalisation. There all pictures have one size, so a
shift of 4 pixels means the same for each; black is 0 and white is 255 whatever the network's mean and scale;
and a byte is a quarter of a float's work. A transform is a callable (pixels, rng) -> pixels that keeps the
shape and draws from rng only, so that a sample depends on seed, epoch and index and not on which thread made
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgecnn.errors import DataError, DTypeError

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirrors left and right with probability p."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_range(self, "p", self.p, 0, 1)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return pixels[..., ::-1] if rng.random() < self.p else pixels


@dataclass(frozen=True)
class RandomVerticalFlip:
    """Mirrors top and bottom with probability p: for pictures from above, where no side is up."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_range(self, "p", self.p, 0, 1)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return pixels[..., ::-1, :] if rng.random() < self.p else pixels


@dataclass(frozen=True)
class RandomRotate90:
    """Turns by 0, 90, 180 or 270 degrees, each as likely: for pictures from above.

    A picture that is not square is turned by 0 or 180 degrees only, because the shape must stay.
    """

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        quarters = int(rng.integers(4))
        if pixels.shape[-2] != pixels.shape[-1]:
            quarters = quarters // 2 * 2
        return np.rot90(pixels, quarters, axes=(-2, -1))


@dataclass(frozen=True)
class RandomCrop:
    """Adds a border of `padding` pixels of value `fill` on each side and cuts the original size out at
    random.

    That shifts a picture by up to `padding` pixels in each direction. Reference: He, Zhang, Ren, Sun (2015),
    Deep residual learning for image recognition, section 4.2 (padding 4 for 32 x 32 pictures).
    """

    padding: int = 4
    fill: float = 0

    def __post_init__(self) -> None:
        if not isinstance(self.padding, int):
            raise DataError(f"RandomCrop: padding is {self.padding!r}; it must be a whole number of pixels")
        _check_range(self, "padding", self.padding, 0, 8192)
        _check_range(self, "fill", self.fill, 0, 255)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = pixels.shape[-2:]
        top, left = rng.integers(-self.padding, self.padding + 1, 2)
        out = np.full_like(pixels, self.fill)
        source = (slice(max(top, 0), max(height + top, 0)), slice(max(left, 0), max(width + left, 0)))
        target = (slice(max(-top, 0), max(height - top, 0)), slice(max(-left, 0), max(width - left, 0)))
        out[(..., *target)] = pixels[(..., *source)]
        return out


@dataclass(frozen=True)
class ColorJitter:
    """Multiplies brightness by 1 +- `brightness` and contrast (distance from the picture's mean) by 1 +-
    `contrast`.

    Raises:
        DTypeError: pixels that are not uint8; normalised numbers have neither a black nor a white.
    """

    brightness: float = 0.2
    contrast: float = 0.2

    def __post_init__(self) -> None:
        _check_range(self, "brightness", self.brightness, 0, 1)
        _check_range(self, "contrast", self.contrast, 0, 1)

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if pixels.dtype != np.uint8:
            raise DTypeError(f"ColorJitter needs uint8 pixels (0..255), received {pixels.dtype}; give the "
                             "data set uint8 "
                             "arrays and a Preprocessing that normalises them")
        gain = rng.uniform(1 - self.brightness, 1 + self.brightness)
        spread = rng.uniform(1 - self.contrast, 1 + self.contrast)
        mean = gain * pixels.mean()
        table = (np.arange(256) * gain - mean) * spread + mean
        return np.rint(table).clip(0, 255).astype(np.uint8)[pixels]


def _check_range(transform: object, name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise DataError(f"{type(transform).__name__}: {name} is {value}; it must lie between {low} and "
                        f"{high}")
