"""The file format of MNIST and Fashion-MNIST: two zero bytes, a type code, the number of dimensions, each
dimension as a big-endian 32-bit number, then the values in C order, big-endian. Reference: Y. LeCun, C.
Cortes, C. J. C. Burges, The MNIST database of handwritten digits, section "file formats"."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from edgecnn.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DEFLATE_RATIO = 1032  # no deflate stream expands further (zlib, Technical details)


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array of one idx file, plain or gzip (told by its first bytes), in native byte order.

    Raises:
        DataError: no such file, not idx, cut off, or longer than its header says.
    """
    path = Path(path)
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            most = path.stat().st_size * (_DEFLATE_RATIO if packed else 1)
            return _parse(cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw, most)
    except FileNotFoundError:
        raise DataError(f"no such file: {path}") from None
    except (OSError, EOFError, zlib.error, DataError) as error:
        raise DataError(f"cannot read {path}: {error}; copy or download it again") from error


def read_idx_pair(directory: str | os.PathLike, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and labels of one part of an MNIST-like directory.

    Args:
        directory: holds PART-images-idx3-ubyte and PART-labels-idx1-ubyte, each perhaps with .gz.
        part: "train" or "t10k" (MNIST's name of the test part).

    Returns:
        x uint8 (N, 1, H, W), y int64 (N,).

    Raises:
        DataError: a file is missing or damaged, or the two do not fit together.
    """
    x_path = _find(Path(directory), f"{part}-images-idx3-ubyte")
    y_path = _find(Path(directory), f"{part}-labels-idx1-ubyte")
    x, y = read_idx(x_path), read_idx(y_path)
    if x.ndim != 3 or x.dtype != np.uint8:
        raise DataError(f"{x_path} holds {x.dtype} {x.shape}; pictures must be uint8 (N, H, W)")
    if y.shape != (len(x),) or y.dtype != np.uint8:
        raise DataError(f"{y_path} holds {y.dtype} {y.shape}; the {len(x)} pictures of {x_path.name} need "
                        f"uint8 ({len(x)},)")
    return x[:, None], y.astype(np.int64)


def _parse(file: BinaryIO, most: int) -> np.ndarray:
    """most: bytes the file can hold at most, so that a damaged header cannot ask for all memory."""
    zeros, code, ndim = struct.unpack(">HBB", _take(file, 4))
    if zeros != 0 or code not in _TYPES:
        raise DataError("this is not an idx file (wrong first bytes)")
    shape = struct.unpack(f">{ndim}I", _take(file, 4 * ndim))
    dtype = np.dtype(_TYPES[code])
    needed = math.prod(shape) * dtype.itemsize
    if needed > most:
        raise DataError(f"the file is cut off: shape {shape} needs {needed} bytes, it can hold at most "
                        f"{most}")
    values = np.frombuffer(_take(file, needed), dtype).reshape(shape)
    if file.read(1):
        raise DataError(f"the file goes on after the {needed} bytes of shape {shape}")
    return values.astype(dtype.newbyteorder("="))


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise DataError(f"the file is cut off: {count} bytes expected, {len(data)} found")
    return data


def _find(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"neither {name} nor {name}.gz in {directory}; give the directory that holds the idx "
                    "files")
