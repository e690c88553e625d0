"""edgecnn predict"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..data import read_picture
from ..errors import DataError
from ..model import Model, load
from .pictures import class_scores, preprocessing_options, use_preprocessing


@click.command()
@click.option("--model", required=True, type=click.Path(path_type=Path), help="An .ecnn or .onnx file.")
@click.argument("pictures", metavar="PICTURE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="How many classes to name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@preprocessing_options
def predict(model: Path, pictures: tuple[Path, ...], top: int, as_json: bool, **given: Any) -> None:
    """Name the most likely classes of each PICTURE, with probabilities.

    Pictures that cannot be read are reported at the end; the others are classified nevertheless.

    \b
    Example:
      edgecnn predict --model mine.ecnn barn1.jpg barn2.jpg
    """
    net = load(model)
    use_preprocessing(net, **given)
    results, problems = [], []
    for path in pictures:
        try:
            found = classify(net, path, top)
        except DataError as error:
            problems.append(str(error))
            continue
        results.append({"picture": str(path), "classes": [{"name": n, "probability": p} for n, p in found]})
        if not as_json:
            click.echo(f"{path}: " + ", ".join(f"{name} {p:.1%}" for name, p in found))
    if as_json:
        click.echo(json.dumps(results, indent=2))
    if problems:
        raise DataError("\n".join(problems))


def classify(model: Model, path: Path, top: int) -> list[tuple[str, float]]:
    """Names and probabilities of the `top` most likely classes of one picture file."""
    assert model.preprocessing is not None
    picture = read_picture(path, model.preprocessing.size)
    try:
        x = model.preprocessing(picture)
    except DataError as error:
        raise DataError(f"cannot use picture {path}: {error}") from None
    chances = probabilities(class_scores(model(x[None]), model.name)[0])
    names = model.class_names or [f"class {i}" for i in range(len(chances))]
    best = np.argsort(-chances, kind="stable")[:top]
    return [(names[i] if i < len(names) else f"class {i}", float(chances[i])) for i in best]


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax, except where the network ends with one already: then its scores are a distribution."""
    z = scores.astype(np.float64)
    if z.min() >= 0 and abs(z.sum() - 1) < 1e-4:
        return z
    e = np.exp(z - z.max())
    return e / e.sum()
