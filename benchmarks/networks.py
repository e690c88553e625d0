"""What is measured: the networks, their inputs, and the ratios they must reach (issue: peer's time / edgecnn's time)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A network of edgecnn.models. Ratios: the targets of inference at batch 1 and of training."""

    title: str
    shape: tuple[int, int, int] = (3, 224, 224)
    classes: int = 1000
    inference: float | None = None
    training: float | None = None
    training_batch: int = 8


NETWORKS = {
    "lenet5": Network("LeNet-5", (1, 28, 28), 10, inference=2.5, training=4, training_batch=32),
    "squeezenet1_1": Network("SqueezeNet 1.1", inference=1.4, training=1.8),
    "mobilenet_v2": Network("MobileNetV2", inference=1.5, training=2.5),
    "efficientnet_b0": Network("EfficientNet-B0", inference=1.6),
    "googlenet": Network("GoogLeNet", inference=1.5),
    "resnet18": Network("ResNet-18", inference=1.8, training=2.2),
    "resnet50": Network("ResNet-50", inference=1.35, training=1.7),
    "vgg16": Network("VGG-16", inference=2.2),
}
TRAINED = [name for name, network in NETWORKS.items() if network.training]

LEAST = {"inference": 1.15, "training": 1.3, "memory": 2.0}  # every network
MEAN = {("inference", 1): 1.7, ("inference", 16): 1.6, ("training", 0): 2.2, ("memory", 0): 3.0}  # geometric means
LATENCY_US = {"inference": 25, "library": 15}  # LeNet-5 at batch 1, AVX-512


def build(name: str):
    """The network as edgecnn makes it, with random weights."""
    import edgecnn as ec

    if name not in ec.models.__all__:
        raise LookupError(f"edgecnn.models has no {name}")
    return getattr(ec.models, name)(num_classes=NETWORKS[name].classes)
