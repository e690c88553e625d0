"""A tiny network and tiny pictures of two classes."""

import numpy as np
from PIL import Image

import edgecnn as ec

SIDE = 16


def make_net(classes=4, names=None, preprocessing=True, dropout=0.0):
    ec.nn.manual_seed(1)
    net = ec.nn.Sequential(
        ("conv1", ec.nn.Conv2d(3, 8, 3, stride=2, padding=1)), ("bn1", ec.nn.BatchNorm2d(8)),
        ("relu1", ec.nn.ReLU()), ("conv2", ec.nn.Conv2d(8, 8, 3, padding=1)), ("relu2", ec.nn.ReLU()),
        *([("drop", ec.nn.Dropout(dropout))] if dropout else []),
        ("flatten", ec.nn.Flatten()), ("fc", ec.nn.Linear(8 * SIDE * SIDE // 4, classes)))
    net.input_shape = (None, 3, SIDE, SIDE)
    net.name, net.class_names = "tiny", names
    if preprocessing:
        net.preprocessing = ec.Preprocessing((SIDE, SIDE), "RGB", (127.0,) * 3, (64.0,) * 3)
    return net


def make_pictures(folder, count=10, classes=("left", "right"), seed=0):
    """Noise that is brighter on one side, as PNG."""
    rng = np.random.default_rng(seed)
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 120, (20, 24, 3), dtype=np.uint8)
            pixels[:, 12 * (k % 2):12 * (k % 2) + 12] += 90
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder
