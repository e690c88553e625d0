#!/usr/bin/env python3
"""With and without batch norm (Ioffe and Szegedy 2015): the same small network at four learning rates.

    python examples/batchnorm.py [--data DIR]
"""

import click
import numpy as np
from common import accuracy, new_figure, options, part, pictures_28, save, smooth, train_losses

import edgecnn as ec
from edgecnn.data import Loader

RATES = (0.02, 0.1, 0.5, 2.0)


def small_net(batch_norm: bool) -> ec.nn.Sequential:
    """Six convolutions, halved twice."""
    layers, channels = [], 1
    for i, out in enumerate((16, 16, 32, 32, 64, 64)):
        layers.append((f"conv{i}", ec.nn.Conv2d(channels, out, 3, 1 + (i in (2, 4)), 1, initialise=ec.init.he_normal)))
        if batch_norm:
            layers.append((f"bn{i}", ec.nn.BatchNorm2d(out)))
        layers.append((f"relu{i}", ec.nn.ReLU()))
        channels = out
    return ec.nn.Sequential(*layers, ("mean", ec.nn.GlobalAvgPool2d()), ("flatten", ec.nn.Flatten()),
                            ("fc", ec.nn.Linear(channels, 10)))


@click.command()
@options("batchnorm.png")
@click.option("--count", default=4000, show_default=True, help="Pictures to train with.")
@click.option("--epochs", default=3, show_default=True)
def main(data, out, seed, count, epochs):
    figure = new_figure(4 * len(RATES) - 2, 4)
    train, test = pictures_28(data)
    chosen, test = part(train, count, seed), part(test, 1000, seed)
    result = {}
    for ax, rate in zip(figure.subplots(1, len(RATES), sharey=True), RATES, strict=True):
        for batch_norm in (False, True):
            ec.nn.manual_seed(seed)
            net = small_net(batch_norm)
            losses = train_losses(net, ec.optim.SGD(lr=rate), Loader(chosen, 32, shuffle=True, seed=seed), epochs)
            finite = bool(np.isfinite(losses).all())
            result[rate, batch_norm] = accuracy(net, test) if finite else float("nan")
            label = f"{'with' if batch_norm else 'without'} batch norm: " + (
                f"{result[rate, batch_norm]:.1%}" if finite else f"no number after step {len(losses)}")
            ax.plot(smooth(losses), label=label)
            print(f"learning rate {rate:g}, {label}")
        ax.set(title=f"SGD, learning rate {rate:g}", xlabel="step", ylim=(0, 3))
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8, title="test accuracy", title_fontsize=8)
    figure.axes[0].set_ylabel("loss")
    save(figure, out)
    best = {bn: max((a, r) for (r, b), a in result.items() if b == bn and a == a) for bn in (False, True)}
    print(f"Best without batch norm {best[False][0]:.1%} at rate {best[False][1]:g}, with it {best[True][0]:.1%} at "
          f"{best[True][1]:g}. Every batch norm brings its input back to mean 0 and variance 1 whatever the layers below "
          "do: the scale of the weights no longer matters, and steps may be larger.")


if __name__ == "__main__":
    main()
