"""The picture of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import EdgeCNNError


def require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise EdgeCNNError("--plot needs matplotlib, which is not installed: pip install 'edgecnn[plots]'; "
                           "or train without --plot") from None


def draw_history(history: Sequence[Sequence[float | None]], path: Path) -> None:
    """Loss and accuracy over the epochs, as PNG, PDF or SVG by the file's name.

    Args: history: loss, accuracy, validation loss and accuracy (or None) of each epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = range(1, len(history) + 1)
    for axes, column, title in zip(figure.subplots(1, 2), (0, 1), ("loss", "accuracy"), strict=True):
        for offset, label in ((0, "training"), (2, "validation")):
            values = [row[column + offset] for row in history]
            if None not in values:
                axes.plot(epochs, values, marker=".", label=label)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
