#!/usr/bin/env python3
"""Converts between .onnx and .ecnn, both ways: convert_onnx.py IN OUT [--check]

--check runs IN in onnxruntime and OUT in edgecnn (or onnxruntime) on random input and fails if they differ."""

import sys

from edgecnn.cli import main

if __name__ == "__main__":
    main(["convert", *sys.argv[1:]], prog_name="convert_onnx.py")
