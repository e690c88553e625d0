"""ONNX files in and out. The onnx package is imported here and nowhere else; it is not needed on the device."""

from .exporter import export_model
from .importer import import_model

__all__ = ["export_model", "import_model"]
