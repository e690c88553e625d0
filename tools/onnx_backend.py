"""Runs ONNX's own backend tests through edgecnn: node cases as far as their operators and types are those of convolutional
networks, the networks that PyTorch's converter wrote, and the share of all node cases.

Inputs that edgecnn wants to know at load (integers, shapes, axes) are given there; everything else is given when the network
runs. A case whose results follow from what is known at load never reaches a kernel; such cases are counted.

    python tools/onnx_backend.py [WORD]    only cases whose name contains WORD
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import edgecnn
from edgecnn.ops import get_op, has_op

# The operators of networks of convolutions.
OPERATORS = frozenset("""
    Conv ConvTranspose MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool
    BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LRN Gemm MatMul
    Relu LeakyRelu PRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign ThresholdedRelu Mish Gelu Clip
    Softmax LogSoftmax Dropout Identity Flatten Reshape Transpose Concat Split Slice Squeeze Unsqueeze Pad Resize Upsample
    DepthToSpace SpaceToDepth Add Sub Mul Div Sum Mean Max Min Pow Sqrt Exp Log Neg Abs
    ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare
    Shape Constant ConstantOfShape Cast Gather Expand Tile Range
""".split())
TYPES = ("float32", "float64", "int32", "int64", "bool")
RANDOM = "test_training_dropout"  # their masks come out of one implementation's random generator
CONVERTED = ("pytorch-converted", "pytorch-operator")


@dataclass
class Case:
    """A network with inputs and the outputs they should give; an array is None where the test has no tensor."""

    name: str
    model: onnx.ModelProto
    inputs: list[np.ndarray | None]
    outputs: list[np.ndarray | None]
    rtol: float
    atol: float

    @property
    def in_scope(self) -> bool:
        """Whether only the operators and types of convolutional networks occur, and no random numbers."""
        arrays = [*self.inputs, *self.outputs]
        return (all(n.op_type in OPERATORS and n.domain in ("", "ai.onnx") for n in self.model.graph.node)
                and all(a is not None and str(a.dtype) in TYPES for a in arrays) and not self.name.startswith(RANDOM))


def cases(kind: str) -> Iterator[Case]:
    """All cases of a kind: node, simple, pytorch-converted, pytorch-operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found = load_model_tests(kind=kind)
    for case in sorted(found, key=lambda c: c.name):
        model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
        for inputs, outputs in case.data_sets or _read(Path(case.model_dir)):
            yield Case(case.name, model, [*map(_array, inputs)], [*map(_array, outputs)], case.rtol, case.atol)


def _read(folder: Path) -> list[tuple[list, list]]:
    def tensors(data: Path, kind: str) -> list[onnx.TensorProto | None]:
        return [_tensor((data / f"{kind}_{i}.pb").read_bytes()) for i in range(len([*data.glob(f"{kind}_*.pb")]))]

    return [(tensors(data, "input"), tensors(data, "output")) for data in sorted(folder.glob("test_data_set_*"))]


def _tensor(data: bytes) -> onnx.TensorProto | None:
    try:
        return onnx.TensorProto.FromString(data)
    except Exception:  # a sequence, a map
        return None


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else None


def known_at_load(case: Case, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs that cannot be given at run time: integers and booleans, with the others where the result is of integers
    too; what operators want to know when a plan is made; and doubles that float32 cannot hold."""
    static = {value for node in case.model.graph.node if has_op(node.op_type) for i, value in enumerate(node.input)
              if get_op(node.op_type).formal(i) in get_op(node.op_type).static}
    whole = {n for n, a in inputs.items() if a.dtype.kind in "iub"}
    if whole and case.outputs[0].dtype.kind in "iub" or any(_too_large(a) for a in inputs.values()):
        return inputs
    return {n: a for n, a in inputs.items() if n in whole or n in static}


def _too_large(array: np.ndarray) -> bool:
    finite = np.abs(array[np.isfinite(array)]) if array.dtype == np.float64 else ()
    return np.max(finite, initial=0) > np.finfo(np.float32).max


def opened(case: Case) -> tuple[edgecnn.Model, dict[str, np.ndarray]]:
    """The network of a case with what has to be known at load, and the inputs that it takes when it runs."""
    if any(a is None for a in (*case.inputs, *case.outputs)):
        raise edgecnn.UnsupportedError("inputs or outputs that are no tensors")
    inputs = dict(zip((i.name for i in case.model.graph.input), case.inputs, strict=False))
    known = known_at_load(case, inputs)
    return edgecnn.load(case.model, constants=known), {n: a for n, a in inputs.items() if n not in known}


def run(case: Case) -> bool:
    """Raises what edgecnn raises, or AssertionError where the outputs are wrong; whether kernels ran."""
    model, feeds = opened(case)
    results = model.run(feeds)
    for name, want in zip((o.name for o in case.model.graph.output), case.outputs, strict=True):
        got = results[name]
        assert (got.dtype, got.shape) == (want.dtype, want.shape), \
            f"{name} is {got.dtype} {got.shape}, should be {want.dtype} {want.shape}"
        np.testing.assert_allclose(got, want, case.rtol, case.atol)
    return any(plan.steps for plan in model._plans.values())


def sweep(title: str, found: list[Case], quiet: bool = False) -> int:
    """Runs cases, prints those that fail and a line of figures; how many passed."""
    passed = computed = 0
    for case in found:
        try:
            computed += run(case)
            passed += 1
        except Exception as error:
            reason = " ".join(str(error).split())
            if not quiet:
                print(f"  {case.name}: {type(error).__name__}: {reason[:200]}")
    print(f"{title}: {passed}/{len(found)} passed, {computed} of these computed by kernels, the others known at load")
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="?", default="", help="run only cases whose name contains this")
    word = parser.parse_args().word

    def named(kind: str) -> list[Case]:
        return [c for c in cases(kind) if word in c.name]

    nodes = named("node")
    sweep("node cases of operators of convolutional networks", [c for c in nodes if c.in_scope])
    for kind in CONVERTED:
        sweep(kind, named(kind))
    sweep("simple", named("simple"), quiet=True)
    sweep("all node cases", nodes, quiet=True)


if __name__ == "__main__":
    main()
