"""Initial weights: fans by hand, moments within five standard errors."""

import math

import numpy as np
import pytest

from edgecnn import init
from edgecnn.errors import ShapeError

CASES = [((64, 32, 3, 3), 1), ((96, 4, 5, 3), 8), ((200, 300), 1)]


def test_fans():
    assert init.fans((64, 32, 3, 5)) == (32 * 15, 64 * 15)
    assert init.fans((96, 4, 3, 3), groups=8) == (4 * 9, 12 * 9)
    assert init.fans((10, 84)) == (84, 10)
    for shape, groups in [((7,), 1), ((10, 4, 3, 3), 4), ((4, 4), 0)]:
        with pytest.raises(ShapeError, match="needed are"):
            init.fans(shape, groups)


@pytest.mark.parametrize("shape, groups", CASES)
@pytest.mark.parametrize("name", ["glorot_normal", "glorot_uniform", "he_normal", "he_uniform"])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_moments(name, shape, groups, gain):
    w = getattr(init, name)(shape, np.random.default_rng(0), groups=groups, gain=gain)
    assert w.dtype == np.float32 and w.shape == shape
    window = math.prod(shape[2:])
    n_in, n_out = shape[1] * window, shape[0] * window // groups
    std = gain * math.sqrt(2 / (n_in + n_out if name.startswith("glorot") else n_in))
    kurtosis = 3 if name.endswith("normal") else 1.8
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    assert abs(w.std() / std - 1) < 5 * math.sqrt((kurtosis - 1) / (4 * w.size))
    largest = np.abs(w).max() / std
    assert largest > 3.5 if name.endswith("normal") else 1.72 < largest <= math.sqrt(3) * (1 + 1e-6)


def test_a_seed_decides():
    a, b = (init.glorot_normal((5, 4), np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert not init.zeros((3,)).any() and init.zeros((3,)).dtype == np.float32
