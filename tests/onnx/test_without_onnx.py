"""A device has no onnx package: everything but ONNX files works, and these say what to install."""

import subprocess
import sys

import pytest

CODE = """
import sys
sys.modules["onnx"] = None  # as if it were not installed
import numpy as np
import edgecnn as ec
from edgecnn import nn

net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GlobalAvgPool2d(), nn.Flatten())
net.save(sys.argv[1] + "/net.ecnn")
assert ec.load(sys.argv[1] + "/net.ecnn")(np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 4)
for action in (lambda: ec.load(b"not edgecnn's own format"), lambda: net.export_onnx(sys.argv[1] + "/net.onnx")):
    for attempt in range(2):
        try:
            action()
        except ec.ModelError as error:
            assert "pip install 'edgecnn[onnx]'" in str(error), error
        else:
            raise AssertionError("no error")
"""


@pytest.mark.native
def test_without_onnx(tmp_path):
    result = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
