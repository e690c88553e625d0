"""Pixels that lie a cache line further apart than their channels: the same results."""

import numpy as np
import pytest

import edgecnn as ec
from edgecnn.ops.view import image_strides

PITCH = "edgecnn.ops.view.SAME_SETS"


def x_of(n=3):
    return np.random.default_rng(0).standard_normal((n, 3, 64, 64)).astype(np.float32)


def test_pixels_do_not_share_cache_sets():
    assert image_strides((2, 1024, 7, 5)) == (1040 * 35, 1, 1040 * 5, 1040)
    assert image_strides((2, 1024, 1, 1)) == (1024, 1, 1024, 1024)  # one pixel
    assert image_strides((2, 1000, 7, 5)) == (35000, 1, 5000, 1000)


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2", "resnet50", "efficientnet_b0", "squeezenet1_1"])
def test_inference_gives_the_same_bits(name, monkeypatch):
    model = getattr(ec.models, name)(num_classes=5)
    results = []
    for same_sets in (10**9, 8):
        monkeypatch.setattr(PITCH, same_sets)
        model.changed()
        results.append(model(x_of()))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1"])
def test_gradients_are_the_same(name, monkeypatch):
    model = getattr(ec.models, name)(num_classes=5)
    results = []
    for same_sets in (10**9, 8):
        monkeypatch.setattr(PITCH, same_sets)
        results.append(ec.Trainer(model, ec.optim.SGD(lr=0.1)).gradients(x_of(), np.array([0, 3, 1])))
    (loss, grads), (other, others) = results
    assert loss == pytest.approx(other, rel=1e-5)
    for key, grad in grads.items():
        np.testing.assert_allclose(others[key], grad, atol=1e-4 * np.abs(grad).max() + 1e-7, err_msg=key)
