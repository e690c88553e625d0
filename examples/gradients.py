#!/usr/bin/env python3
"""Vanishing and exploding gradients: a plain network of 20 convolutions at its start, with four initialisations.

    python examples/gradients.py [--data DIR]

Glorot and Bengio 2010 keep the variance of the values from layer to layer; He et al. 2015 do so behind ReLU, which
loses half.
"""

from functools import partial

import click
import numpy as np
from common import new_figure, options, part, pictures_28, save, smooth, train_losses

import edgecnn as ec
from edgecnn.data import Loader

WIDTH = 16
STARTS = {"too small: half of He": partial(ec.init.he_normal, gain=0.5), "Glorot": ec.init.glorot_normal,
          "He": ec.init.he_normal, "too large: twice He": partial(ec.init.he_normal, gain=2.0)}


def plain(depth: int, initialise) -> ec.nn.Sequential:
    """Convolutions with ReLU on maps of 14 x 14, then a classifier; no batch norm, no shortcuts."""
    layers = [("pool", ec.nn.MaxPool2d(2))]
    for i in range(depth):
        layers += [(f"conv{i}", ec.nn.Conv2d(WIDTH if i else 1, WIDTH, 3, padding=1, initialise=initialise)),
                   (f"relu{i}", ec.nn.ReLU())]
    net = ec.nn.Sequential(*layers, ("mean", ec.nn.GlobalAvgPool2d()), ("flatten", ec.nn.Flatten()),
                           ("fc", ec.nn.Linear(WIDTH, 10)))
    net.input_shape = (None, 1, 28, 28)
    return net


@click.command()
@options("gradients.png")
@click.option("--depth", default=20, show_default=True)
@click.option("--steps", default=300, show_default=True, help="Training steps after the first gradient.")
def main(data, out, seed, depth, steps):
    figure = new_figure(13, 4)
    values, gradients, training = figure.subplots(1, 3)
    train, _ = pictures_28(data)
    chosen = part(train, 32 * steps, seed)
    epochs = -(-32 * steps // len(chosen))
    x, y = chosen.gather(np.arange(min(64, len(chosen))))
    for name, initialise in STARTS.items():
        ec.nn.manual_seed(seed)
        net = plain(depth, initialise)
        spread = [net.features(f"relu{i}")(x).std() for i in range(depth)]
        _, grads = ec.Trainer(net, ec.optim.SGD()).gradients(x, y)
        norms = [float(np.linalg.norm(grads[f"conv{i}.bias"])) for i in range(depth)]  # the sum of what arrives there
        losses = train_losses(net, ec.optim.Adam(lr=1e-3), Loader(chosen, 32, shuffle=True, seed=seed), epochs)
        values.plot(spread, marker=".", label=name)
        gradients.plot(norms, marker=".", label=name)
        training.plot(smooth(losses), label=name)
        print(f"{name}: the values' standard deviation goes from {spread[0]:.1e} to {spread[-1]:.1e}, a factor of "
              f"{(spread[-1] / spread[0]) ** (1 / (depth - 1)):.2f} per layer; the gradient's norm {norms[-1]:.1e} in the "
              f"last layer, {norms[0]:.1e} in the first; loss after {len(losses)} steps of Adam "
              f"{np.mean(losses[-20:]):.2f}")
    values.set(title="standard deviation of the values", xlabel="layer", yscale="log")
    gradients.set(title="norm of the biases' gradient", xlabel="layer", yscale="log")
    training.set(title="loss", xlabel="step of Adam", yscale="log", ylim=(0.5, 1e3))
    for axes in (values, gradients, training):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    training.legend()
    save(figure, out)
    print("A guess without looking has the loss ln 10 = 2.30. Every layer multiplies values and gradients by about the same "
          "factor, so the error of a factor grows with the depth; ReLU halves the variance, which He makes up for and "
          "Glorot does not.")


if __name__ == "__main__":
    main()
