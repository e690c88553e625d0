"""What the examples share: pictures to learn from, and the plots they save."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

import edgecnn as ec
from edgecnn.data import ArrayDataset, Loader, read_idx_pair
from edgecnn.data.transforms import Transform

ROOT = Path(__file__).resolve().parent.parent
# One over the standard deviation of a digit's pixels is near 1/78, whatever the data set.
PREPROCESSING = ec.Preprocessing(size=(28, 28), channel_order="GRAY", mean=(33.0,), scale=(78.0,))


def pictures_28(data: str | None, transforms: Sequence[Transform] = ()) -> tuple[ArrayDataset, ArrayDataset]:
    """Pictures to train with (changed at random by the transforms) and to test with: the idx files in the folder
    `data`, such as Fashion-MNIST, else the 5,000 digits of tools/fetch_assets.py, a fifth of each class for the test."""
    if data:
        train, test = (read_idx_pair(data, part) for part in ("train", "t10k"))
    else:
        arrays = np.load(asset("mnist_5k.npz", "mnist"))
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
        rank = np.argsort(np.argsort(labels, kind="stable"))  # position within the data set sorted by class
        later = (rank % 500) >= 400
        train, test = (images[~later], labels[~later]), (images[later], labels[later])
    return (ArrayDataset(*train, transforms, preprocessing=PREPROCESSING),
            ArrayDataset(*test, preprocessing=PREPROCESSING))


def part(pictures: ArrayDataset, count: int, seed: int = 0) -> ArrayDataset:
    """`count` of the pictures, drawn at random (all of them if they are fewer)."""
    chosen = np.random.default_rng(seed).permutation(len(pictures))[:count]
    return ArrayDataset(pictures.x[chosen], pictures.labels[chosen], preprocessing=pictures.preprocessing)


def asset(name: str, fetched_as: str) -> Path:
    """The path of a file or folder that tools/fetch_assets.py makes."""
    path = ROOT / "assets" / name
    if not path.exists():
        raise click.ClickException(f"{path} is missing; run: python tools/fetch_assets.py {fetched_as}")
    return path


def train_losses(net: ec.Model, optimizer: Any, data: Loader, epochs: int) -> list[float]:
    """Trains and returns the loss of every step; ends early where it is no longer a number."""
    trainer, losses = ec.Trainer(net, optimizer), []
    for epoch in range(epochs):
        data.set_epoch(epoch)
        for x, y in data:
            losses.append(trainer.step(x, y))
            if not np.isfinite(losses[-1]):
                return losses
    return losses


def accuracy(net: ec.Model, data: ArrayDataset) -> float:
    """Share of the pictures whose highest score is their class."""
    return sum(int((net(x).argmax(1) == y).sum()) for x, y in Loader(data, 250)) / len(data)


def smooth(values: Sequence[float], width: int = 15) -> np.ndarray:
    """Means of `width` neighbours."""
    return np.convolve(values, np.ones(width) / width, "valid") if len(values) >= width else np.asarray(values)


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise click.ClickException("the plot needs matplotlib, which is not installed: "
                                   "pip install 'edgecnn[plots]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, path: Path) -> None:
    """Writes the figure, as PNG, PDF or SVG by the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")


def options(plot: str) -> Any:
    """Adds --data, --out and --seed to an example that saves one plot."""
    found = [click.option("--data", type=click.Path(exists=True, file_okay=False),
                          help="Folder of idx files, e.g. of Fashion-MNIST.  [default: 5,000 MNIST digits from assets/]"),
             click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=ROOT / "out" / plot,
                          help=f"The plot.  [default: out/{plot}]"),
             click.option("--seed", default=0, show_default=True)]

    def add(command: Any) -> Any:
        for option in reversed(found):
            command = option(command)
        return command

    return add
