"""Every network of edgecnn.models: parameters as published, a training step, an exported file in onnxruntime."""

import os

import numpy as np
import pytest

import edgecnn as ec

# Trainable parameters with 1,000 classes (lenet5: 10): of the reference implementations with which weights are published.
PARAMETERS = {
    "efficientnet_b0": 5_288_548, "googlenet": 6_624_904, "lenet5": 61_706, "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496, "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
}
LARGE = {name for name, count in PARAMETERS.items() if count > 100e6}  # seconds and gigabytes: make test-full
FULL = bool(os.environ.get("EDGECNN_TEST_FULL"))
SIZE = {"lenet5": 28, **dict.fromkeys(LARGE, 224)}
every_network = pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.skipif(name in LARGE and not FULL, reason="large: make test-full"))
    for name in ec.models.__all__])


def build(name, **kw):
    ec.nn.manual_seed(0)
    return getattr(ec.models, name)(**kw)


def pictures(name, count):
    size = 224 if FULL and name != "lenet5" else SIZE.get(name, 64)
    return np.random.default_rng(0).standard_normal((count, 1 if name == "lenet5" else 3, size, size)).astype(np.float32)


@every_network
def test_parameters_as_published(name):
    net = build(name)
    assert sum(net.graph.params[p].size for p in net.trainable()) == PARAMETERS[name]


@every_network
def test_training_lowers_the_loss(name):
    net, x, y = build(name, num_classes=3), pictures(name, 6), np.arange(6) % 3
    trainer = ec.Trainer(net, ec.optim.Adam(lr=3e-4))
    losses = [trainer.step(x, y) for _ in range(8)]
    assert np.isfinite(losses).all()
    assert min(losses[4:]) < losses[0]


@every_network
def test_exported_file_in_onnxruntime(name, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    net, x = build(name, num_classes=7), pictures(name, 2)
    net.export_onnx(tmp_path / "net.onnx")
    session = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    want = session.run(None, {session.get_inputs()[0].name: x})[0]
    assert want.shape == (2, 7)
    np.testing.assert_allclose(net(x), want, rtol=0, atol=1e-4 * np.abs(want).max())
