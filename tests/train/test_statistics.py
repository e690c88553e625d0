"""Running statistics computed again from data."""

import numpy as np
import pytest

import edgecnn as ec
from edgecnn import nn


def network():
    nn.manual_seed(4)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(6, 4, 1),
                         nn.BatchNorm2d(4), nn.GlobalAvgPool2d(), nn.Flatten())


def pictures(n, seed=0):
    return (3 + 2 * np.random.default_rng(seed).standard_normal((n, 3, 8, 8))).astype(np.float32)


def test_statistics_are_those_of_all_data():
    """The first batch norm sees the same values whatever the batches are: its moments are those of all pixels."""
    net, x = network(), pictures(12)
    before = net.state_dict()
    net(x)  # a plan with the old statistics
    assert ec.reestimate_statistics(net, [(x[:5], None), (x[5:6], None), (x[6:], None)]) == 12
    seen = net.features("0")(x).astype(np.float64)
    np.testing.assert_allclose(net.graph.params["1.running_mean"], seen.mean((0, 2, 3)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(net.graph.params["1.running_var"], seen.var((0, 2, 3)), rtol=1e-4)
    changed = [name for name, array in net.state_dict().items() if not np.array_equal(array, before[name])]
    assert changed == ["1.running_mean", "1.running_var", "5.running_mean", "5.running_var"]


def test_one_batch_is_then_normalised_exactly():
    net, x = network(), pictures(8)
    ec.reestimate_statistics(net, [x])
    y = net.features("5")(x).astype(np.float64)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-3)


def test_frozen_batch_norms_keep_theirs():
    net = network()
    net.freeze("2")
    before = net.state_dict()
    ec.reestimate_statistics(net, [pictures(4)])
    changed = [name for name, array in net.state_dict().items() if not np.array_equal(array, before[name])]
    assert changed == ["5.running_mean", "5.running_var"]


def test_nothing_changes_when_it_fails():
    net = network()
    before = net.state_dict()

    def broken():
        yield pictures(4)
        raise OSError("the camera is gone")

    for data, error in (([], ec.DataError), (broken(), OSError), ([pictures(2)[:, :2]], ec.ShapeError)):
        with pytest.raises(error):
            ec.reestimate_statistics(net, data)
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())
    with pytest.raises(ec.ModelError, match="no batch norm"):
        ec.reestimate_statistics(nn.Sequential(nn.Conv2d(3, 4, 3)), [pictures(2)])
