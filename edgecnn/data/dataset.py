"""What every data set has: labelled pictures by index, random transforms, a stratified split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecnn.data.transforms import Transform
from edgecnn.errors import DataError


def order_rng(seed: int, epoch: int) -> np.random.Generator:
    """The randomness of one epoch's order."""
    return np.random.default_rng((seed, epoch, 0))


class Dataset:
    """Base class: a data set defines load() and normalise(), and sets the attributes below.

    Attributes:
        labels: int64 (N,), the class index of every sample.
        classes: the name of each class, by class index.
        transforms: callables (pixels, rng) -> pixels, applied in order by sample(); see
            edgecnn.data.transforms.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    transforms: tuple[Transform, ...] = ()

    def load(self, i: int) -> np.ndarray:
        """Sample i before transforms and normalisation: uint8 or float32 (C, H, W)."""
        raise NotImplementedError

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """float32, contiguous, a copy; (C, H, W) or (N, C, H, W)."""
        raise NotImplementedError

    @property
    def augmented(self) -> bool:
        """True if a sample differs from epoch to epoch."""
        return bool(self.transforms)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        """(x float32 (C, H, W), label); with transforms, what a Loader with seed 0 gives in epoch 0."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} of a data set of {len(self)} samples")
        return self.sample(i % len(self))

    def sample(self, i: int, seed: int = 0, epoch: int = 0) -> tuple[np.ndarray, int]:
        """(x float32 (C, H, W), label), a function of these three alone: any thread may make it."""
        pixels = self.load(i)
        if self.transforms:
            rng = np.random.default_rng((seed, epoch, i + 1))  # 0 is the order's, see order_rng
            for transform in self.transforms:
                pixels = transform(pixels, rng)
        return self.normalise(pixels), int(self.labels[i])

    def split(self, fraction: float, seed: int = 0) -> tuple[Subset, Subset]:
        """Two parts with (up to rounding) the same share of every class; each class has a sample in both.

        Args:
            fraction: the share of the first part, between 0 and 1. It keeps the transforms; the second part,
                held out to be evaluated on, has none.
            seed: chooses which samples go where.

        Raises:
            DataError: a class of one sample, or a fraction out of range.

        Notes:
            A random split flatters when several pictures show the same plant or animal: then keep those
            together, in two folders.
        """
        if not 0 < fraction < 1:
            raise DataError(f"split: fraction is {fraction}; it must lie between 0 and 1")
        rng = np.random.default_rng(seed)
        first, second = [], []
        for label in np.unique(self.labels):
            members = rng.permutation(np.flatnonzero(self.labels == label))
            if len(members) < 2:
                raise DataError(f"split: class {self.classes[label]!r} has only one sample; both parts need "
                                "one, add more")
            cut = min(max(round(fraction * len(members)), 1), len(members) - 1)
            first.append(members[:cut])
            second.append(members[cut:])
        return (Subset(self, np.sort(np.concatenate(first)), self.transforms),
                Subset(self, np.sort(np.concatenate(second)), ()))


class Subset(Dataset):
    """Some samples of another data set.

    Args:
        dataset: the other data set; its own transforms are not used.
        indices: which of its samples, in which order.
        transforms: of this subset.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int] | np.ndarray,
                 transforms: Sequence[Transform] = ()):
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)
        if self.indices.ndim != 1 or not ((0 <= self.indices) & (self.indices < len(dataset))).all():
            raise DataError(f"subset: indices must be a list of whole numbers from 0 to {len(dataset) - 1}")
        self.labels = dataset.labels[self.indices]
        self.classes = dataset.classes
        self.transforms = tuple(transforms)

    def load(self, i: int) -> np.ndarray:
        return self.dataset.load(int(self.indices[i]))

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        return self.dataset.normalise(pixels)

    def path(self, i: int) -> Path:
        """The file of sample i, of a subset of an ImageFolder."""
        return self.dataset.path(int(self.indices[i]))  # type: ignore[attr-defined]
