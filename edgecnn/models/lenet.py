"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, fig. 2)."""

from .. import nn


def lenet5(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """For pictures of 28 x 28: convolution, pooling, convolution, pooling, three fully connected layers.

    With ReLU, maximum pooling and full connections between the maps, as it is built today; 61,706 parameters."""
    net = nn.Sequential(
        ("conv1", nn.Conv2d(in_channels, 6, 5, padding=2)), ("relu1", nn.ReLU()), ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(6, 16, 5)), ("relu2", nn.ReLU()), ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(400, 120)), ("relu3", nn.ReLU()),
        ("fc2", nn.Linear(120, 84)), ("relu4", nn.ReLU()),
        ("fc3", nn.Linear(84, num_classes)))
    net.input_shape = (None, in_channels, 28, 28)
    net.name = "lenet5"
    return net
