"""Labelled pictures for training and evaluation: from folders, arrays or idx files, changed at random, in
batches."""

from edgecnn.data.arrays import ArrayDataset
from edgecnn.data.dataset import Dataset, Subset
from edgecnn.data.folder import ImageFolder
from edgecnn.data.idx import read_idx, read_idx_pair
from edgecnn.data.loader import Loader
from edgecnn.data.picture import read_picture
from edgecnn.data.transforms import (
    ColorJitter,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotate90,
    RandomVerticalFlip,
)

__all__ = [
    "ArrayDataset",
    "ColorJitter",
    "Dataset",
    "ImageFolder",
    "Loader",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotate90",
    "RandomVerticalFlip",
    "Subset",
    "read_idx",
    "read_idx_pair",
    "read_picture",
]
