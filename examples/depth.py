#!/usr/bin/env python3
"""Plain against residual networks as they grow deeper (He, Zhang, Ren, Sun 2015, section 4.2), batch norm in both.

    python examples/depth.py [--data DIR]
"""

import click
import numpy as np
from common import accuracy, new_figure, options, part, pictures_28, save, smooth, train_losses

import edgecnn as ec
from edgecnn.data import Loader
from edgecnn.models.resnet_cifar import resnet_cifar


@click.command()
@options("depth.png")
@click.option("--depths", default="8,20,32,56", show_default=True, help="Layers: 8, 14, 20 ... (6n + 2).")
@click.option("--count", default=2000, show_default=True, help="Pictures to train with.")
@click.option("--epochs", default=2, show_default=True)
def main(data, out, seed, depths, count, epochs):
    figure = new_figure(13, 4)
    axes = figure.subplots(1, 3)
    train, test = pictures_28(data)
    chosen, test = part(train, count, seed), part(test, 1000, seed)
    depths = [int(d) for d in depths.split(",")]
    ends = {True: [], False: []}
    for residual, ax in zip((False, True), axes, strict=False):
        kind = "residual" if residual else "plain"
        for depth in depths:
            ec.nn.manual_seed(seed)
            net = ec.nn.Sequential(("half", ec.nn.MaxPool2d(2)), ("net", resnet_cifar(depth, residual, 10, 1)))
            net.input_shape = (None, 1, 28, 28)
            losses = train_losses(net, ec.optim.Momentum(lr=0.02), Loader(chosen, 32, shuffle=True, seed=seed), epochs)
            ends[residual].append(float(np.mean(losses[-30:])))
            ax.plot(smooth(losses, 25), label=f"{depth} layers")
            print(f"{kind}, {depth} layers: loss {ends[residual][-1]:.3f} at the end, "
                  f"test accuracy {accuracy(net, test):.1%}", flush=True)
        ax.set(title=kind, xlabel="step", ylabel="loss", ylim=(0, 2.5))
        ax.legend()
        axes[2].plot(depths, ends[residual], marker="o", label=kind)
    axes[2].set(title="loss at the end", xlabel="layers", xticks=depths, ylim=(0, None))
    axes[2].legend()
    for ax in axes:
        ax.grid(alpha=0.3)
    save(figure, out)
    change = {residual: values[-1] - values[0] for residual, values in ends.items()}
    print(f"From {depths[0]} to {depths[-1]} layers the loss of the plain networks changes by {change[False]:+.3f}, "
          f"that of the residual ones by {change[True]:+.3f}. It is the loss in training, so this is not "
          "overfitting: a deep plain network is harder to train, while a block that adds to its input starts near the "
          "identity and lets the gradient through unchanged.")


if __name__ == "__main__":
    main()
