#!/usr/bin/env python3
"""LeNet-5 from scratch on handwritten digits (or, with --data, on any data set in idx files, e.g. Fashion-MNIST).

    python examples/lenet5.py                      5,000 MNIST digits from assets/ (tools/fetch_assets.py mnist)
    python examples/lenet5.py --data DIR           train-images-idx3-ubyte[.gz] ... in DIR
"""

import time
from pathlib import Path

import click
import numpy as np

import edgecnn as ec
from edgecnn.data import ArrayDataset, Loader, RandomCrop, read_idx_pair

OPTIMIZERS = {"sgd": ec.optim.SGD, "momentum": ec.optim.Momentum, "nesterov": ec.optim.Nesterov,
              "adagrad": ec.optim.AdaGrad, "rmsprop": ec.optim.RMSprop, "adadelta": ec.optim.AdaDelta,
              "adam": ec.optim.Adam, "adamw": ec.optim.AdamW}
# One over the standard deviation of a digit's pixels is near 1/78, whatever the data set.
PREPROCESSING = ec.Preprocessing(size=(28, 28), channel_order="GRAY", mean=(33.0,), scale=(78.0,))


def mnist_5k(path: Path) -> tuple[ArrayDataset, ArrayDataset]:
    """4,000 digits to train, shifted at random by up to two pixels, and 1,000 to test; the same share of each class in
    both."""
    if not path.exists():
        raise click.ClickException(f"{path} is missing; run: python tools/fetch_assets.py mnist")
    arrays = np.load(path)
    images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    rank = np.argsort(np.argsort(labels, kind="stable"))  # position within the data set sorted by class
    test = (rank % 500) >= 400
    return (ArrayDataset(images[~test], labels[~test], (RandomCrop(2),), preprocessing=PREPROCESSING),
            ArrayDataset(images[test], labels[test], preprocessing=PREPROCESSING))


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False), help="folder of idx files")
@click.option("--epochs", default=20, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam", show_default=True)
@click.option("--lr", type=float, help="learning rate, the optimizer's own if not given")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False), help="write the network, .ecnn or .onnx")
def main(data, epochs, batch, optimizer, lr, seed, out):
    if data:
        parts = [read_idx_pair(data, part) for part in ("train", "t10k")]
        train, test = (ArrayDataset(x, y, preprocessing=PREPROCESSING) for x, y in parts)
    else:
        train, test = mnist_5k(Path(__file__).parent.parent / "assets" / "mnist_5k.npz")
    ec.nn.manual_seed(seed)
    net = ec.models.lenet5(num_classes=10)
    net.preprocessing = PREPROCESSING
    pictures = Loader(train, batch, shuffle=True, seed=seed, workers=2)
    kind = OPTIMIZERS[optimizer]
    trainer = ec.Trainer(net, kind(lr=ec.optim.Cosine(lr or kind().lr, epochs * len(pictures))))
    start = time.perf_counter()
    trainer.fit(pictures, Loader(test, 250), epochs)
    result = trainer.evaluate(Loader(test, 250))
    print(f"{len(train)} pictures, {epochs} epochs of {optimizer} in {time.perf_counter() - start:.1f} s: "
          f"test accuracy {result.accuracy:.2%} on {len(test)} pictures")
    if out:
        (net.export_onnx if out.endswith(".onnx") else net.save)(out)


if __name__ == "__main__":
    main()
