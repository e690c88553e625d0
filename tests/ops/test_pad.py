"""Pad: what becomes of it before a convolution, and errors. Its values and gradients: test_moves.py."""

import numpy as np
import pytest
from helpers import assert_close, build, run_graph, run_optimised

from edgecnn.errors import ShapeError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.ops import Node, TensorSpec, get_op

rng = np.random.default_rng(8)


def numbers(*shape):
    return rng.normal(size=shape).astype(np.float32)


def padded_conv(pad, conv=None, w_shape=(4, 3, 3, 3), extra=False):
    g = Graph(inputs={"x": TensorSpec((2, 3, 8, 9))}, params={"w": numbers(*w_shape)})
    g.specs.update(g.inputs)
    border = g.emit("Pad", ["x"], **pad)
    g.outputs = [g.emit("Conv", [border, "w"], **(conv or {}))] + ([border] if extra else [])
    return g


def ops(g):
    return [n.op for n in optimise(specialise(g, {k: s.shape for k, s in g.inputs.items()})).nodes]


@pytest.mark.parametrize("pad, conv, w_shape", [
    ({"pads": (0, 0, 1, 2, 0, 0, 2, 1)}, {}, (4, 3, 3, 3)),
    ({"pads": (0, 0, 0, 0, 0, 0, 1, 1), "constant_value": np.float32(0)}, {"strides": (2, 2)}, (4, 3, 3, 3)),
    ({"pads": np.array([1, 1, 1, 1]), "axes": np.array([-2, 3])}, {"pads": (1, 0, 2, 0)}, (4, 3, 3, 3)),
    ({"pads": (0, 0, 1, 1, 0, 0, 1, 1)}, {"auto_pad": "VALID"}, (4, 3, 3, 3)),
    ({"pads": (0, 0, 2, 2, 0, 0, 2, 2)}, {"group": 3, "dilations": (2, 2)}, (3, 1, 3, 3)),
])
def test_a_zero_border_goes_into_the_convolution(pad, conv, w_shape):
    """With the convolution's own pads added; as TensorFlow's exporters write them."""
    g = padded_conv(pad, conv, w_shape)
    x = numbers(2, 3, 8, 9)
    assert ops(g) == ["Conv"]
    assert_close(run_optimised(g, {"x": x})[0], run_graph(g, {"x": x})[0])


@pytest.mark.parametrize("pad, conv, extra", [
    ({"pads": (0, 0, 1, 1, 0, 0, 1, 1), "constant_value": 1.5}, {}, False),
    ({"pads": (0, 0, 1, 1, 0, 0, 1, 1), "mode": "edge"}, {}, False),
    ({"pads": (0, 0, -1, 1, 0, 0, 1, 1)}, {}, False),
    ({"pads": (1, 0, 1, 1, 0, 0, 1, 1)}, {}, False),
    ({"pads": (0, 0, 1, 1, 0, 0, 1, 1)}, {"auto_pad": "SAME_UPPER"}, False),
    ({"pads": (0, 0, 1, 1, 0, 0, 1, 1)}, {}, True),
])
def test_other_borders_stay(pad, conv, extra):
    g = padded_conv(pad, conv, extra=extra)
    x = numbers(2, 3, 8, 9)
    assert ops(g) == ["Pad", "Conv"]
    for got, want in zip(run_optimised(g, {"x": x}), run_graph(g, {"x": x}), strict=True):
        assert_close(got, want)


def test_a_border_that_two_convolutions_read_stays():
    g = padded_conv({"pads": (0, 0, 1, 1, 0, 0, 1, 1)})
    g.outputs.append(g.emit("Conv", [g.nodes[0].outputs[0], "w"], strides=(2, 2)))
    assert ops(g) == ["Pad", "Conv", "Conv"]


def test_the_border_may_be_the_result():
    g = build("Pad", {"x": numbers(2, 3, 4, 5)}, {"pads": (0, 0, 1, 1, 0, 0, 1, 1)})
    assert ops(g) == ["Pad"]


def test_a_computed_kernel_is_no_picture():
    """A border around the weights of a convolution is not one around its input."""
    g = Graph(inputs={"x": TensorSpec((1, 2, 8, 8)), "w": TensorSpec((3, 2, 1, 1))})
    g.specs.update(g.inputs)
    g.outputs = [g.emit("Conv", ["x", g.emit("Pad", ["w"], pads=(0, 0, 1, 1, 0, 0, 1, 1))])]
    assert ops(g) == ["Pad", "Conv"]


def test_no_border_is_nothing():
    g = Graph(inputs={"x": TensorSpec((2, 3, 4, 5))})
    g.specs.update(g.inputs)
    g.outputs = [g.emit("Tanh", [g.emit("Pad", ["x"], pads=(0,) * 8, mode="reflect")])]
    assert ops(g) == ["Tanh"]


def test_older_files():
    """Before opset 11 pads and value are attributes."""
    node = Node("Pad", ["x"], ["y"], {"pads": (0, 1), "value": 2.0})
    get_op("Pad").from_onnx(node, 9)
    assert node.attrs == {"pads": (0, 1), "constant_value": 2.0}
    assert "mode 'mirror' is not known" in get_op("Pad").unsupported(Node("Pad", ["x"], ["y"], {"mode": "mirror"}))


@pytest.mark.parametrize("attrs, message", [
    ({"pads": (1, 1, 1)}, r"3 pads for 2 axes, needed two for each"),
    ({"pads": (1, 1), "axes": (2,)}, r"axis 2 does not exist, allowed are -2 to 1"),
    ({"pads": (0, -2, 0, -2)}, r"pads \[0, -2, 0, -2\] do not fit the input \(2, 3\)"),
    ({"pads": (0, 3, 0, 0), "mode": "reflect"}, r"do not fit the input \(2, 3\)"),
    ({"pads": (0, -2, 0, 1), "mode": "reflect"}, r"do not fit the input \(2, 3\)"),
    ({"pads": (0, -4, 0, 2)}, r"do not fit the input \(2, 3\)"),
    ({"pads": (0, -3, 0, 1), "mode": "edge"}, r"do not fit the input \(2, 3\)"),
    ({"pads": (0, 0, 0, 4), "mode": "wrap"}, r"do not fit the input \(2, 3\)"),
])
def test_errors(attrs, message):
    with pytest.raises(ShapeError, match=message):
        build("Pad", {"x": np.zeros((2, 3), np.float32)}, attrs)
