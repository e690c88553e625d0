"""edgecnn convert"""

from __future__ import annotations

import os
from pathlib import Path

import click
import numpy as np

from ..errors import EdgeCNNError, ModelError
from ..model import Model, load
from .files import OPSET, check_model_name, check_output, is_onnx, megabytes, write_model
from .workload import random_inputs

TOLERANCE = 1e-4
PICTURES = 4


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True,
              help="Compare with onnxruntime on random input; OUT is written only if the difference is at "
              f"most {TOLERANCE:g} of the largest output.")
@click.option("--opset", default=OPSET, show_default=True, help="Of an ONNX file to be written.")
@click.option("--seed", default=0, show_default=True, help="Of the random input.")
def convert(source: Path, out: Path, check: bool, opset: int, seed: int) -> None:
    """Convert IN to OUT: .onnx to .ecnn, .ecnn to .onnx, or .onnx to .onnx.

    A device reads .ecnn files without the package onnx.

    \b
    Example:
      edgecnn convert net.onnx net.ecnn --check
    """
    check_model_name(out, "OUT")
    if not is_onnx(source) and not is_onnx(out):
        raise click.UsageError(f"{source} and {out} are both .ecnn: nothing to convert; copy the file")
    check_output(out, source)
    if check:
        import_onnxruntime()
    model = load(source)
    if not check:
        write_model(model, out, opset)
    else:
        draft = out.with_name(f".{out.stem}.unchecked{out.suffix}")
        try:
            write_model(model, draft, opset)
            compare(load(draft), {"IN": source, "OUT": draft}, seed)
            os.replace(draft, out)
        finally:
            draft.unlink(missing_ok=True)
    click.echo(f"{out}: {megabytes(out)}")


def import_onnxruntime():
    try:
        import onnxruntime
    except ImportError:
        raise EdgeCNNError("--check needs onnxruntime, which is not installed: pip install onnxruntime; or "
                           "convert without --check") from None
    return onnxruntime


def compare(model: Model, files: dict[str, Path], seed: int) -> None:
    """Prints how far the model is from onnxruntime on each ONNX file, on normally distributed random input.

    Raises ModelError where the largest difference is more than TOLERANCE of the largest output."""
    inputs = random_inputs(model, model.input_shapes(PICTURES), seed)
    results = list(model.run(inputs).values())
    for name, path in files.items():
        if not is_onnx(path):
            continue
        expected = run_onnxruntime(path, list(inputs.values()))
        worst = max(relative_difference(a, b) for a, b in zip(results, expected, strict=True))
        top = all(np.array_equal(_top(a), _top(b)) for a, b in zip(results, expected, strict=True))
        click.echo(f"{name} in onnxruntime: largest difference {worst:.1e} of the largest output, "
                   f"{'same' if top else 'different'} top-1")
        if not worst <= TOLERANCE:
            raise ModelError(f"edgecnn and onnxruntime differ by {worst:.1e} of the largest output, allowed "
                             f"are {TOLERANCE:g}; OUT was not written. Please report "
                             "the network as a bug of edgecnn")


def run_onnxruntime(path: Path, inputs: list[np.ndarray]) -> list[np.ndarray]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session.run(None, dict(zip((i.name for i in session.get_inputs()), inputs, strict=True)))
    except Exception as error:  # onnxruntime's exceptions share no base class
        first = (str(error).splitlines() or [""])[0]
        raise ModelError(f"onnxruntime does not run {path}: {first}; convert without --check") from None


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """max|a - b| / max|b|; infinite for different shapes or a NaN on one side only."""
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    a, b = (np.nan_to_num(v.astype(np.float64)) for v in (a, b))
    return float(np.abs(a - b).max() / max(np.abs(b).max(), np.finfo(np.float32).tiny))


def _top(scores: np.ndarray) -> np.ndarray:
    return scores.argmax(axis=min(1, scores.ndim - 1))
