"""The whole way in a few seconds and without optional packages: build, train, use, save, load."""

import numpy as np

import edgecnn as ec
from edgecnn import nn


def bars(n, seed=0):
    """Pictures of 8x8 with a bright row (class 0) or a bright column (class 1)."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, 1, 8, 8)).astype(np.float32) * 0.3, rng.integers(0, 2, n)
    for picture, label, place in zip(x[:, 0], y, rng.integers(0, 8, n), strict=True):
        picture[(place, slice(None)) if label == 0 else (slice(None), place)] += 1.0
    return x, y


def test_build_train_use_save_load(tmp_path):
    nn.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(16, 2))
    net.input_shape = (None, 1, 8, 8)
    trainer = ec.Trainer(net, ec.optim.Adam(lr=0.02))
    trainer.fit([bars(32, seed) for seed in range(12)], epochs=4, progress=False)
    x, y = bars(200, 99)
    assert trainer.evaluate([(x, y)]).accuracy > 0.95
    net.save(tmp_path / "bars.ecnn")
    np.testing.assert_array_equal(ec.load(tmp_path / "bars.ecnn")(x), net(x))


def test_one_picture_or_many_one_thread_or_more():
    net = ec.models.lenet5()
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28)).astype(np.float32)
    together = net(x)
    for threads in (1, 2, 3):
        ec.set_num_threads(threads)
        assert b"".join(net(x[i:i + 1]).tobytes() for i in range(3)) == together.tobytes() == net(x).tobytes()
