"""DepthToSpace and SpaceToDepth: numpy says where elements go, and each is the other's inverse."""

import numpy as np
import pytest
from helpers import build, gradients, run_optimised

from edgecnn.errors import ShapeError


def depth_to_space(x, b, mode):
    n, c, h, w = x.shape
    if mode == "DCR":
        x = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // b**2, h * b, w * b)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode):
    x = np.random.default_rng(0).normal(size=(2, 12, 3, 5)).astype(np.float32)
    attrs = {"blocksize": 2, "mode": mode}
    (y,) = run_optimised(build("DepthToSpace", {"x": x}, attrs), {"x": x})
    np.testing.assert_array_equal(y, depth_to_space(x, 2, mode))
    (dx,) = gradients(build("DepthToSpace", {"x": x}, attrs), {"x": x}, y).values()
    np.testing.assert_array_equal(dx, x)  # a permutation: its transpose is its inverse


def test_space_to_depth():
    x = np.random.default_rng(0).normal(size=(2, 18, 3, 5)).astype(np.float32)
    wide = depth_to_space(x, 3, "DCR")
    (y,) = run_optimised(build("SpaceToDepth", {"x": wide}, {"blocksize": 3}), {"x": wide})
    np.testing.assert_array_equal(y, x)
    (dx,) = gradients(build("SpaceToDepth", {"x": wide}, {"blocksize": 3}), {"x": wide}, x).values()
    np.testing.assert_array_equal(dx, wide)


def test_errors():
    x = np.zeros((1, 6, 3, 3), np.float32)
    with pytest.raises(ShapeError, match="multiple of blocksize squared"):
        build("DepthToSpace", {"x": x}, {"blocksize": 2})
    with pytest.raises(ShapeError, match="whole number of blocks"):
        build("SpaceToDepth", {"x": x}, {"blocksize": 2})
