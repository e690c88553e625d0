"""ONNX files in and out. The onnx package is imported here and nowhere else; it is not needed on the device."""

from ..errors import ModelError

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise ModelError("reading and writing ONNX needs the package onnx: pip install 'edgecnn[onnx]'; a device can run .ecnn "
                     "files without it (edgecnn convert net.onnx net.ecnn)") from error

from .exporter import export_model
from .importer import import_model

__all__ = ["export_model", "import_model"]
