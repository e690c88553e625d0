"""Every network of edgecnn.models: parameters as published, a training step, an exported file in onnxruntime."""

import os

import numpy as np
import pytest

import edgecnn as ec

# Trainable parameters at the default number of classes, of the implementations with which weights are published:
# torchvision; timm for EfficientNet-Lite and PP-LCNet; pytorchcv for MobileNet v1, ShuffleNet v1, ZFNet, Inception v2
# (BN-Inception less its 10,016 biases of convolutions before batch norm) and the ResNets for 32 x 32 (0.27, 0.46 and 0.85
# million in the paper's table 6; 272,474 and 855,770 less 2,752 of projections that shortcuts of option A do not have).
PARAMETERS = {
    "alexnet": 61_100_840, "densenet121": 7_978_856, "efficientnet_b0": 5_288_548, "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680, "efficientnet_lite2": 6_092_072, "efficientnet_lite3": 8_197_096,
    "efficientnet_lite4": 13_006_568, "googlenet": 6_624_904, "inception_v2": 11_295_240 - 10_016, "lenet5": 61_706,
    "mobilenet_v1": 4_231_976, "mobilenet_v2": 3_504_872, "mobilenet_v3_large": 5_483_032, "mobilenet_v3_small": 2_542_856,
    "plain20": 269_722, "plain32": 464_154, "plain56": 853_018, "pplcnet": 2_953_800, "resnet18": 11_689_512,
    "resnet20": 269_722, "resnet32": 464_154, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet56": 853_018,
    "resnet101": 44_549_160, "resnet152": 60_192_808, "shufflenet_v1": 1_865_728, "shufflenet_v2": 2_278_604,
    "squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496, "vgg11": 132_863_336, "vgg13": 133_047_848,
    "vgg16": 138_357_544, "vgg19": 143_667_240, "zfnet": 62_357_608,
}
# VGG with batch norm: less the biases of its convolutions, which batch norm would take away again.
VARIANTS = [("alexnet", {"lrn": False}, 61_100_840), ("zfnet", {"lrn": False}, 62_357_608),
            ("shufflenet_v1", {"groups": 1}, 1_531_936), ("shufflenet_v1", {"groups": 2}, 1_733_848),
            ("shufflenet_v1", {"groups": 4}, 1_968_344), ("shufflenet_v1", {"groups": 8}, 2_434_768),
            ("shufflenet_v2", {"width": 0.5}, 1_366_792), ("shufflenet_v2", {"width": 1.5}, 3_503_624),
            ("shufflenet_v2", {"width": 2.0}, 7_393_996), ("vgg11", {"batch_norm": True}, 132_868_840 - 2_752),
            ("vgg13", {"batch_norm": True}, 133_053_736 - 2_944), ("vgg16", {"batch_norm": True}, 138_365_992 - 4_224),
            ("vgg19", {"batch_norm": True}, 143_678_248 - 5_504)]
# Seconds and gigabytes, or a deeper twin of one that is tested here: make test-full.
LARGE = {name for name, count in PARAMETERS.items() if count > 40e6} | {
    "efficientnet_lite1", "efficientnet_lite2", "efficientnet_lite3", "efficientnet_lite4", "plain32", "plain56", "resnet32",
    "resnet34", "resnet56"}
# No batch norm, but dropout of 4,096 channels, whose noise hides what a few steps bring: these are judged in inference.
WIDE = {"alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "zfnet"}
FULL = bool(os.environ.get("EDGECNN_TEST_FULL"))
every_network = pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.skipif(name in LARGE and not FULL, reason="large: make test-full"))
    for name in ec.models.__all__])


def build(name, **kw):
    ec.nn.manual_seed(0)
    return getattr(ec.models, name)(**kw)


def pictures(net, count):
    """At the network's own size in the full tests, else not larger than needed."""
    ((n, c, *size),) = net.input_shapes(count).values()
    if not FULL and net.inputs["input"].shape[2] is None:
        size = [min(n, 64) for n in size]
    return np.random.default_rng(0).standard_normal((n, c, *size)).astype(np.float32)


def trained_parameters(net):
    return sum(net.graph.params[p].size for p in net.trainable())


@every_network
def test_parameters_as_published(name):
    assert trained_parameters(build(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name, options, count", VARIANTS)
def test_parameters_of_variants(name, options, count):
    if name in LARGE and not FULL:
        pytest.skip("large: make test-full")
    assert trained_parameters(build(name, **options)) == count


@every_network
def test_training_lowers_the_loss(name):
    net, y = build(name, num_classes=3), np.arange(6) % 3
    x = pictures(net, 6)
    trainer = ec.Trainer(net, ec.optim.Adam(lr=1e-5 if name in WIDE else 3e-4))
    before = trainer.evaluate([(x, y)]).loss
    losses = [trainer.step(x, y) for _ in range(8)]
    assert np.isfinite(losses).all()
    if name in WIDE:
        assert trainer.evaluate([(x, y)]).loss < before
    else:
        assert min(losses[4:]) < losses[0]


@every_network
def test_exported_file_in_onnxruntime(name, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    net = build(name, num_classes=7)
    x = pictures(net, 2)
    net.export_onnx(tmp_path / "net.onnx")
    session = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    want = session.run(None, {session.get_inputs()[0].name: x})[0]
    assert want.shape == (2, 7)
    np.testing.assert_allclose(net(x), want, rtol=0, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("wrong", [lambda: ec.models.shufflenet_v1(groups=5), lambda: ec.models.shufflenet_v2(width=0.7),
                                   lambda: ec.models.resnet_cifar.resnet_cifar(21)])
def test_options_that_are_not_offered(wrong):
    with pytest.raises(ec.errors.ModelError, match="allowed are"):
        wrong()


def test_shortcuts_of_the_small_residual_networks():
    """Option A: every other pixel of x, zeros in the new channels."""
    net = ec.models.resnet_cifar.Shortcut(2, 4, 2)
    net.input_shape = (None, 2, 6, 6)
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(net(x)[:, :2], x[:, :, ::2, ::2])
    assert not net(x)[:, 2:].any()
