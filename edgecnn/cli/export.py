"""edgecnn export"""

from __future__ import annotations

from pathlib import Path

import click

from ..model import load
from .files import OPSET, check_output, megabytes


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.onnx", type=click.Path(path_type=Path))
@click.option("--opset", default=OPSET, show_default=True)
def export(model: Path, out: Path, opset: int) -> None:
    """Write MODEL as ONNX, with class names and preprocessing in its metadata.

    \b
    Example:
      edgecnn export mine.ecnn mine.onnx
    """
    if out.suffix != ".onnx":
        raise click.BadParameter(f"{out} must end in .onnx", param_hint="'OUT.onnx'")
    check_output(out, model)
    load(model).export_onnx(out, opset)
    click.echo(f"{out}: {megabytes(out)}, opset {opset}")
