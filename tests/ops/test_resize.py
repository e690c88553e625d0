"""Resize against ONNX's reference implementation; the gradient is the transposed map: <R x, dy> = <x, dx>."""

import numpy as np
import pytest
from helpers import assert_close, build, every_isa, gradients, run_optimised

from edgecnn.errors import ShapeError
from edgecnn.ops import get_op

onnx = pytest.importorskip("onnx")
evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator

rng = np.random.default_rng(3)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


MODES = [{}, {"nearest_mode": "floor"}, {"nearest_mode": "ceil"}, {"nearest_mode": "round_prefer_ceil"},
         {"mode": "linear"}, {"mode": "cubic"}, {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5},
         {"mode": "linear", "antialias": 1},
         {"mode": "cubic", "antialias": 1}]
COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
SHAPES = [((1, 3, 4, 6), {"scales": np.array([1, 1, 2, 1.5], np.float32)}),
          ((2, 5, 8, 5), {"sizes": np.array([2, 5, 3, 4])}),
          ((1, 20, 5), {"sizes": np.array([7]), "axes": [2]})]


def reference(x, attrs):
    arrays = {k: attrs[k] for k in ("roi", "scales", "sizes") if k in attrs}
    inputs = [k if k in arrays else "" for k in ("roi", "scales", "sizes")]
    rest = {k: v for k, v in attrs.items() if k not in arrays}
    node = onnx.helper.make_node("Resize", ["x", *inputs], ["y"], **rest)
    values = [onnx.helper.make_tensor_value_info(k, onnx.TensorProto.UNDEFINED, None) for k in ["x", *arrays]]
    graph = onnx.helper.make_graph([node], "g", values,
                                   [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    return evaluator(model).run(None, {"x": x, **arrays})[0]


@pytest.mark.parametrize("shape, size", SHAPES)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_against_the_reference(shape, size, coordinates, mode):
    check(normal(*shape), {**size, **mode, "coordinate_transformation_mode": coordinates})


@every_isa
@pytest.mark.parametrize("channels", [1, 3, 16, 37])
def test_instruction_sets(isa, channels, monkeypatch):
    """The maps themselves do not depend on the instruction set, the loops over them do."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    check(normal(2, channels, 4, 5), {"sizes": np.array([7, 3]), "axes": [2, 3], "mode": "cubic"})


@pytest.mark.parametrize("mode", [{}, {"mode": "linear"}, {"mode": "cubic"}], ids=str)
@pytest.mark.parametrize("more", [
    {"sizes": np.array([1, 2, 3, 4]), "roi": np.array([0, 0, 0.4, 0.6, 1, 1, 0.6, 0.8], np.float32)},
    {"sizes": np.array([5, 4]), "roi": np.array([0.2, -0.3, 1.4, 0.7], np.float32), "axes": [3, 2],
     "extrapolation_value": 10.0}], ids=str)
def test_cropped_regions(mode, more):
    check(normal(1, 2, 4, 5), {**mode, **more, "coordinate_transformation_mode": "tf_crop_and_resize"})


@pytest.mark.parametrize("policy, size", [("not_larger", (7, 5)), ("not_smaller", (11, 8))])
def test_keeping_the_aspect(policy, size):
    attrs = {"sizes": np.array([7, 8]), "axes": [2, 3], "keep_aspect_ratio_policy": policy, "mode": "linear"}
    x = normal(1, 2, 4, 3)
    assert get_op("Resize").infer(build("Resize", {"x": x}, attrs).nodes[0], [build("Resize", {"x": x}, attrs).spec("x")])[
        0].shape[2:] == size
    check(x, attrs)


def check(x, attrs):
    feeds = {"x": x}
    results = [run_optimised(build("Resize", feeds, attrs), feeds, threads)[0] for threads in (1, 2, 3)]
    assert_close(results[0], reference(x, attrs))
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
    dy = normal(*results[0].shape)
    (dx,) = gradients(build("Resize", feeds, attrs), feeds, dy).values()
    zero = run_optimised(build("Resize", feeds, attrs), {"x": np.zeros_like(x)})[0].astype(np.float64)
    for _ in range(3):
        u = normal(*x.shape)
        y = run_optimised(build("Resize", feeds, attrs), {"x": u})[0] - zero
        assert abs((y * dy).sum() - (dx.astype(np.float64) * u).sum()) <= 1e-5 * max(1, np.abs(y * dy).sum())


def test_errors():
    x = normal(1, 2, 3, 4)
    with pytest.raises(ShapeError, match="not both"):
        build("Resize", {"x": x})
    with pytest.raises(ShapeError, match="do not fit"):
        build("Resize", {"x": x}, {"scales": np.array([2, 2], np.float32)})
