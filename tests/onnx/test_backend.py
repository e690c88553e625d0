"""ONNX's own backend tests, as tools/onnx_backend.py counts them: no case of the operators and types of convolutional
networks is left out but those that need one implementation's random numbers."""

import onnx_backend
import pytest

from edgecnn.errors import UnsupportedError

CASES = [*(c for c in onnx_backend.cases("node") if c.in_scope),
         *(c for kind in onnx_backend.CONVERTED for c in onnx_backend.cases(kind))]
REFUSED_AT_MOST = 110  # volumes, ConvTranspose, Resize, LpPool, DepthToSpace; to become 0
refused: list[str] = []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_case(case):
    try:
        onnx_backend.run(case)
    except UnsupportedError as error:
        refused.append(case.name)
        pytest.xfail(str(error))


def test_few_are_refused():
    assert len(refused) <= REFUSED_AT_MOST


def test_all_cases_are_there():
    """These counts are those of the onnx package that has opset 28; later ones have more."""
    assert len(CASES) >= 561 + 117 or onnx_backend.onnx.defs.onnx_opset_version() < 28
