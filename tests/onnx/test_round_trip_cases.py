"""ONNX's own node cases imported, exported and imported again: the outputs that the case wants, from edgecnn and from
onnxruntime."""

import re

import numpy as np
import onnx_backend
import onnxruntime
import pytest

import edgecnn as ec

DEFAULT = 17


def agree(case, results):
    return all(got.shape == want.shape and np.allclose(got, want, case.rtol, case.atol, equal_nan=True)
               for got, want in zip(results, case.outputs, strict=True))


def onnxruntime_agrees(case, model, feeds):
    """None where onnxruntime has no kernels for it."""
    try:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return agree(case, session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()}))
    except Exception:
        return None


def export(model, path):
    """Writes the network at the default opset, else at the one that the refusal tells to use; returns it."""
    try:
        model.export_onnx(path)
        return DEFAULT
    except ec.UnsupportedError as error:
        opset = int(re.search(r"ONNX opset 17.*; use opset (\d+)$", str(error), re.S)[1])
        model.export_onnx(path, opset=opset)
        return opset


def types(model):
    return {name: (spec.rank, spec.dtype) for name, spec in model.inputs.items()}


def there_and_back(case, path):
    """The opset of the file; raises AssertionError where something gets lost."""
    model, feeds = onnx_backend.opened(case)
    opset = export(model, path)
    again = ec.load(path)
    assert types(again) == types(model)
    assert agree(case, again.run(feeds).values())
    proto = case.model.SerializeToString()
    if onnxruntime_agrees(case, proto, {i.name: a for i, a in zip(case.model.graph.input, case.inputs, strict=False)}):
        assert onnxruntime_agrees(case, path.read_bytes(), feeds) is not False
    return opset


def computed(case):
    """Whether edgecnn runs the case, and not from constants alone."""
    try:
        return onnx_backend.run(case)
    except Exception:
        return False


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_case_that_runs(tmp_path):
    """The counts are those of the onnx package that has opset 28; later ones have more."""
    onnxruntime.set_default_logger_severity(3)
    opsets, lost = [], {}
    for case in filter(computed, onnx_backend.cases("node")):
        try:
            opsets.append(there_and_back(case, tmp_path / "net.onnx"))
        except Exception as error:
            lost[case.name] = error
    assert not lost
    if onnx_backend.onnx.defs.onnx_opset_version() >= 28:
        assert len(opsets) >= 606 and opsets.count(DEFAULT) >= 558
