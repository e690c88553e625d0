"""From a picture to the numbers a network was trained on. A model carries one Preprocessing, so that a device
needs no second file to know what its network expects."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from edgecnn.errors import DataError, DTypeError, ModelError, ShapeError

CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}
MAX_SIDE = 8192
"""Largest height or width a model may ask for: a damaged or hostile file must not make a device run out of
memory."""

_ORIENTATION_TAG = 0x0112
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_UPRIGHT = {  # EXIF 2.32, tag Orientation: what brings the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of a picture: x = (pixel - mean) / scale, pixel in 0..255, channel by channel.

    Args:
        size: (H, W) in pixels, or None to keep each picture's own size. A picture is resized as a whole,
            without cropping and without keeping its proportions, so that nothing at its border is lost;
            bilinear with anti-aliasing (Pillow's BILINEAR).
        channel_order: "RGB", "BGR" or "GRAY" (ITU-R 601 luma).
        mean, scale: one number per channel, in the channel order, in units of pixel values.

    Raises:
        ModelError: a value that makes no sense.
    """

    size: tuple[int, int] | None
    channel_order: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.channel_order, str) or self.channel_order not in CHANNELS:
            raise ModelError(f"preprocessing: channel_order is {self.channel_order!r}; allowed are "
                             f"{', '.join(CHANNELS)}")
        object.__setattr__(self, "size", _checked_size(self.size))
        for name in ("mean", "scale"):
            object.__setattr__(self, name, self._checked_numbers(name))
        if not all(abs(s) >= _SMALLEST for s in self.scale):
            raise ModelError(f"preprocessing: scale is {list(self.scale)}; pixels are divided by it, so no "
                             "entry may be 0")

    def _checked_numbers(self, name: str) -> tuple[float, ...]:
        received = getattr(self, name)
        try:
            if any(isinstance(v, (str, bool)) for v in received):
                raise TypeError
            values = tuple(float(v) for v in received)
        except (TypeError, ValueError, OverflowError):
            values = ()
        count = CHANNELS[self.channel_order]
        if len(values) != count or not all(abs(v) <= _LARGEST for v in values):
            raise ModelError(f"preprocessing: {name} is {received!r}; channel_order {self.channel_order} "
                             f"needs a list of {count} finite number(s), one per channel")
        return values

    @property
    def channels(self) -> int:
        """C: 3 for RGB and BGR, 1 for GRAY."""
        return CHANNELS[self.channel_order]

    def __call__(self, picture: Image.Image | np.ndarray) -> np.ndarray:
        """The network's input for one picture.

        Args:
            picture: a Pillow image of any integer mode, or a uint8 array (H, W, 3) in RGB order or (H, W)
                gray.

        Returns:
            float32 (C, H, W), contiguous.

        Raises:
            DTypeError, ShapeError: neither of the two. DataError: a picture whose pixel range is unknown.
        """
        return self.normalise(self.pixels(picture))

    def pixels(self, picture: Image.Image | np.ndarray) -> np.ndarray:
        """The first half of a call: upright, in size and channel order, still in 0..255.

        EXIF orientation is applied, transparency is dropped, 16-bit gray is scaled down to 8 bits.

        Returns:
            uint8 (C, H, W), contiguous.
        """
        image = _upright(_as_image(picture))
        image = _eight_bit(image, "L" if self.channel_order == "GRAY" else "RGB")
        if self.size is not None and image.size != self.size[::-1]:
            image = image.resize(self.size[::-1], Image.Resampling.BILINEAR)
        values = np.asarray(image)
        if self.channel_order == "GRAY":
            return np.array(values[None])
        if self.channel_order == "BGR":
            values = values[:, :, ::-1]
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """The second half of a call: (pixels - mean) / scale.

        Args:
            pixels: (..., C, H, W) in 0..255, any numeric dtype.

        Returns:
            float32 of the same shape, contiguous, a copy.
        """
        if pixels.ndim < 3 or pixels.shape[-3] != self.channels:
            raise ShapeError(f"preprocessing: pixels have shape {pixels.shape}; channel_order "
                             f"{self.channel_order} "
                             f"needs (..., {self.channels}, H, W)")
        x = np.array(pixels, np.float32, order="C")
        x -= np.array(self.mean, np.float32)[:, None, None]
        x /= np.array(self.scale, np.float32)[:, None, None]
        return x

    def to_json(self) -> str:
        """A JSON object with the keys size, channel_order, mean, scale; from_json gives back an equal
        object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The inverse of to_json.

        Raises:
            ModelError: not JSON, a key missing or unknown, or a value that makes no sense. An unknown key is
                refused because ignoring it would give the network other pixels than it was trained on.
        """
        try:
            values = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ModelError(f"preprocessing: not valid JSON ({error})") from error
        wanted = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != wanted:
            received = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise ModelError(f"preprocessing: expected a JSON object with the keys {sorted(wanted)}, "
                             f"received {received}")
        return cls(**values)


def _checked_size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    ints = isinstance(size, (tuple, list)) and all(
        isinstance(v, (int, np.integer)) and not isinstance(v, bool) and 1 <= v <= MAX_SIDE for v in size)
    if not ints or len(size) != 2:
        raise ModelError(f"preprocessing: size is {size!r}; it must be null (None) or two whole numbers "
                         f"(height, width) from 1 to {MAX_SIDE}")
    return int(size[0]), int(size[1])


def _as_image(picture: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        array = isinstance(picture, np.ndarray)
        received = f"an array of {picture.dtype}" if array else type(picture).__name__
        raise DTypeError(f"picture is {received}; give a Pillow image or a uint8 array of values 0..255")
    if not (picture.ndim == 2 or picture.ndim == 3 and picture.shape[2] == 3) or picture.size == 0:
        raise ShapeError(f"picture has shape {picture.shape}; a uint8 array must be (H, W, 3) in RGB order "
                         "or (H, W)")
    return Image.fromarray(np.ascontiguousarray(picture))


def _upright(image: Image.Image) -> Image.Image:
    if image.format == "TIFF":  # Pillow turns it while loading; older versions leave the tag nevertheless
        return image
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF, seen in several exception types; the picture itself is fine
        turn = None
    return image if turn is None else image.transpose(turn)


def _eight_bit(image: Image.Image, mode: str) -> Image.Image:
    """image as "L" or "RGB"."""
    if image.mode == "F":
        raise DataError("the picture holds floating-point pixels (mode F), whose range is unknown; save it "
                        "with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _from_sixteen_bit(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    if image.mode not in ("L", "RGB"):
        try:
            image = image.convert("RGB")
        except ValueError as error:
            raise DataError(f"a picture of mode {image.mode} cannot be converted to RGB ({error}); save it "
                            "as RGB") from error
    return image if image.mode == mode else image.convert(mode)


def _from_sixteen_bit(image: Image.Image) -> Image.Image:
    """Mode I counts as 16 bits too: older versions of Pillow open 16-bit PNG files with it."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"the picture holds pixel values from {values.min()} to {values.max()}; allowed are "
                        "8 and 16 bits "
                        "(0..65535); save it with 8 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
