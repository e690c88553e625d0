"""edgecnn evaluate, and the tables that train prints too"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from ..data import ImageFolder, Loader
from ..errors import DataError
from ..model import Model, load
from ..train import Evaluation
from .pictures import batches, class_scores, preprocessing_options, use_preprocessing

MATRIX_LIMIT = 20


@click.command()
@click.option("--model", required=True, type=click.Path(path_type=Path), help="An .ecnn or .onnx file.")
@click.option("--data", required=True, type=click.Path(path_type=Path),
              help="Holds one folder of pictures per class.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1), help="Pictures at once.")
@preprocessing_options
def evaluate(model: Path, data: Path, batch: int, **given: Any) -> None:
    """Measure accuracy on labelled pictures: per class, and what is taken for what.

    \b
    Example:
      edgecnn evaluate --model mine.ecnn --data pictures/test
    """
    net = load(model)
    use_preprocessing(net, **given)
    assert net.preprocessing is not None
    pictures = ImageFolder(data, net.preprocessing, classes=net.class_names)
    _check_classes(net, pictures)
    pictures.verify()
    click.echo(report(measure(net, batches(net, pictures, batch)), pictures.classes))


def _check_classes(model: Model, pictures: ImageFolder) -> None:
    width = next(iter(model.outputs.values())).shape[1:2]
    if width not in ((len(pictures.classes),), (None,)):
        raise DataError(f"{pictures.directory} holds {len(pictures.classes)} classes, the network tells "
                        f"{width[0] if width else 'no'} classes apart; give the data it was trained for, or "
                        "train it for these with edgecnn train")
    if model.class_names is None:
        click.echo(f"edgecnn: warning: {model.name} does not name its classes; assuming the folders in "
                   "alphabetical order", err=True)


def measure(model: Model, data: Loader) -> Evaluation:
    """Counts the predictions of all pictures, with a bar on a terminal."""
    result = None
    for x, y in tqdm(data, "classifying", unit="batch", disable=None):
        scores = class_scores(model(x), model.name)
        result = result or Evaluation(scores.shape[1])
        result.add(scores, y, "cross_entropy")
    assert result is not None
    return result


def report(result: Evaluation, classes: Sequence[str]) -> str:
    """Accuracy; recall and precision of each class; the confusion matrix or, of many classes, the mix-ups."""
    right, matrix = np.diag(result.confusion), result.confusion
    width = max(map(len, (*classes, "class")))
    lines = [f"accuracy {result.accuracy:.1%} ({right.sum()} of {result.count} pictures)", "",
             f"{'class':<{width}}  pictures  recall  precision"]
    for name, hits, true, said in zip(classes, right, matrix.sum(1), matrix.sum(0), strict=True):
        lines.append(f"{name:<{width}}  {true:>8}  {_share(hits, true):>6}  {_share(hits, said):>9}")
    mistakes = _matrix if len(classes) <= MATRIX_LIMIT else _mix_ups
    return "\n".join([*lines, "", *mistakes(matrix, classes, width)])


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _matrix(matrix: np.ndarray, classes: Sequence[str], width: int) -> list[str]:
    cells = [max(len(name), len(str(column.max()))) for name, column in zip(classes, matrix.T, strict=True)]

    def row(first: str, values: Sequence) -> str:
        return "  ".join([f"{first:<{width}}", *(f"{v:>{w}}" for v, w in zip(values, cells, strict=True))])

    return ["confusion matrix (a row is a true class, a column what was said)", row("", list(classes)),
            *(row(name, list(counts)) for name, counts in zip(classes, matrix, strict=True))]


def _mix_ups(matrix: np.ndarray, classes: Sequence[str], width: int) -> list[str]:
    wrong = matrix - np.diag(np.diag(matrix))
    worst = np.argsort(-wrong, axis=None, kind="stable")[:MATRIX_LIMIT]
    pairs = [divmod(int(i), len(classes)) for i in worst]
    return ["most frequent mix-ups", *(f"{classes[t]:<{width}} taken for {classes[s]}: {wrong[t, s]}"
                                       for t, s in pairs if wrong[t, s])]
