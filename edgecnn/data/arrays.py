"""Pictures that are in memory already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecnn.data.dataset import Dataset
from edgecnn.data.transforms import Transform
from edgecnn.errors import DataError, DTypeError, ShapeError
from edgecnn.preprocessing import Preprocessing


class ArrayDataset(Dataset):
    """Arrays with labels; they are kept, not copied.

    Args:
        x: uint8 pixels or finite float32 numbers, (N, C, H, W), or (N, H, W) for one channel.
        y: class indices >= 0, whole numbers, (N,).
        transforms: random changes for training, see edgecnn.data.transforms.
        classes: the name of each class; "0", "1", ... if None.
        preprocessing: normalises uint8 pixels, whose channels must be in its channel order and its size.
            Without it pixels become float32 unchanged, 0 to 255.

    Raises:
        ShapeError, DTypeError, DataError: arrays that are not as above.
    """

    def __init__(self, x: np.ndarray, y: Any, transforms: Sequence[Transform] = (),
                 classes: Sequence[str] | None = None, preprocessing: Preprocessing | None = None):
        self.x = _checked_pictures(x)
        self.labels = _checked_labels(y, len(self.x))
        self.classes = _checked_classes(classes, int(self.labels.max()))
        self.transforms = tuple(transforms)
        self.preprocessing = preprocessing
        if preprocessing is not None:
            _check_fits(preprocessing, self.x)

    def load(self, i: int) -> np.ndarray:
        return self.x[i]

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        if self.preprocessing is not None:
            return self.preprocessing.normalise(pixels)
        return np.array(pixels, np.float32, order="C")

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples without transforms, all at once: (x float32 (n, C, H, W), y int64 (n,))."""
        return self.normalise(self.x[indices]), self.labels[indices]


def _checked_pictures(x: np.ndarray) -> np.ndarray:
    if not isinstance(x, np.ndarray) or x.dtype not in (np.uint8, np.float32):
        received = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise DTypeError(f"x is {received}; it must be an array of uint8 or float32, convert it with "
                         "x.astype('float32')")
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.size == 0:
        raise ShapeError(f"x has shape {x.shape}; it must be (N, C, H, W) or (N, H, W), none of them 0")
    if x.dtype == np.float32 and not np.isfinite([x.min(), x.max()]).all():
        raise DataError("x holds NaN or infinity; training on it would spoil every weight, remove those "
                        "samples")
    return x


def _checked_labels(y: Any, count: int) -> np.ndarray:
    y = np.asarray(y)
    if y.dtype.kind not in "iu":
        raise DTypeError(f"y is an array of {y.dtype}; labels are class indices, whole numbers 0, 1, 2, ...")
    if y.shape != (count,):
        raise ShapeError(f"y has shape {y.shape} for {count} pictures; it must be ({count},), one label each")
    if y.min() < 0 or y.max() > np.iinfo(np.int32).max:
        raise DataError(f"y holds labels from {y.min()} to {y.max()}; class indices start at 0")
    return y.astype(np.int64)


def _checked_classes(classes: Sequence[str] | None, largest: int) -> tuple[str, ...]:
    if classes is None:
        return tuple(str(i) for i in range(largest + 1))
    if largest >= len(classes):
        raise DataError(f"y holds the label {largest}, but there are {len(classes)} classes; labels are 0 to "
                        f"{len(classes) - 1}")
    return tuple(classes)


def _check_fits(preprocessing: Preprocessing, x: np.ndarray) -> None:
    if x.dtype != np.uint8:
        raise DTypeError("x is float32 and a preprocessing is given, which normalises uint8 pixels; leave "
                         "one of them out")
    if x.shape[1] != preprocessing.channels or preprocessing.size not in (None, x.shape[2:]):
        raise ShapeError(f"x has shape {x.shape}; the preprocessing needs {preprocessing.channels} "
                         f"channel(s) and size {preprocessing.size or 'any'}")
