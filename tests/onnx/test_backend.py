"""ONNX's own backend tests, as tools/onnx_backend.py counts them: no case of the operators and types of convolutional
networks is left out but those that need one implementation's random numbers."""

import onnx_backend
import pytest

CASES = [*(c for c in onnx_backend.cases("node") if c.in_scope),
         *(c for kind in onnx_backend.CONVERTED for c in onnx_backend.cases(kind))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_case(case):
    onnx_backend.run(case)


def test_all_cases_are_there():
    """These counts are those of the onnx package that has opset 28; later ones have more."""
    assert len(CASES) >= 561 + 117 or onnx_backend.onnx.defs.onnx_opset_version() < 28
