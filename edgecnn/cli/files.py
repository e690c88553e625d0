"""Output files: checked before the work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from ..errors import EdgeCNNError
from ..model import Model

OPSET = 17
MODEL_FILES = (".ecnn", ".onnx")


class OutputError(EdgeCNNError):
    """A file that cannot or should not be written."""


def is_onnx(path: Path) -> bool:
    """By its name; what is read is recognised by its content."""
    return path.suffix != ".ecnn"


def check_model_name(path: Path, option: str) -> None:
    if path.suffix not in MODEL_FILES:
        raise click.BadParameter(f"{path} must end in {' or '.join(MODEL_FILES)}", param_hint=f"'{option}'")


def check_output(path: Path, *keep: Path) -> None:
    """Raises OutputError unless a file can be written at `path` without replacing one of `keep`."""
    for other in keep:
        if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
            raise OutputError(f"{path} would replace {other}, which is still needed; choose another name")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: {path.parent} is not a folder; create it with mkdir -p")
    try:
        handle, probe = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}; choose a folder in which this "
                          "user may write") from None


def write_model(model: Model, path: Path, opset: int = OPSET) -> None:
    if is_onnx(path):
        model.export_onnx(path, opset)
    else:
        model.save(path)


def megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
