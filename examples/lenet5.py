#!/usr/bin/env python3
"""LeNet-5 from scratch on handwritten digits (or, with --data, on any data set in idx files, e.g. Fashion-MNIST).

    python examples/lenet5.py                      5,000 MNIST digits from assets/ (tools/fetch_assets.py mnist)
    python examples/lenet5.py --data DIR           train-images-idx3-ubyte[.gz] ... in DIR
"""

import time

import click
from common import PREPROCESSING, pictures_28

import edgecnn as ec
from edgecnn.data import Loader, RandomCrop

OPTIMIZERS = {"sgd": ec.optim.SGD, "momentum": ec.optim.Momentum, "nesterov": ec.optim.Nesterov,
              "adagrad": ec.optim.AdaGrad, "rmsprop": ec.optim.RMSprop, "adadelta": ec.optim.AdaDelta,
              "adam": ec.optim.Adam, "adamw": ec.optim.AdamW}


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False), help="folder of idx files")
@click.option("--epochs", default=20, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam", show_default=True)
@click.option("--lr", type=float, help="learning rate, the optimizer's own if not given")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False), help="write the network, .ecnn or .onnx")
def main(data, epochs, batch, optimizer, lr, seed, out):
    train, test = pictures_28(data, () if data else (RandomCrop(2),))  # few digits: shifted by up to two pixels
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
