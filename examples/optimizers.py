#!/usr/bin/env python3
"""All optimizers on one task (LeNet-5) and on a surface with a saddle.

    python examples/optimizers.py [--data DIR]

The surface is the loss (u^2 - v^2 - 1)^2 of a network with two weights: it falls to a saddle at u = v = 0 along the axis
u = 0, and from there to its minima where u^2 - v^2 = 1.
"""

import click
import numpy as np
from common import accuracy, new_figure, options, part, pictures_28, save, smooth, train_losses

import edgecnn as ec
from edgecnn.data import Loader

opt = ec.optim
# Learning rates for LeNet-5, and for the saddle.
OPTIMIZERS = {"SGD": (opt.SGD, 0.05, 0.05), "Momentum": (opt.Momentum, 0.01, 0.02), "Nesterov": (opt.Nesterov, 0.01, 0.02),
              "AdaGrad": (opt.AdaGrad, 0.01, 0.2), "RMSprop": (opt.RMSprop, 0.001, 0.02),
              "AdaDelta": (opt.AdaDelta, 1.0, 1.0), "Adam": (opt.Adam, 0.001, 0.05),
              "AdamW": (opt.AdamW, 0.001, 0.05)}
START = (0.01, 1.2)  # nearly on the ridge that leads into the saddle
LOW = 0.01


class Saddle(ec.nn.Module):
    """y = (u^2 - v^2) x^2, which is to be 1 for x = 1."""

    def __init__(self):
        super().__init__()
        self.u, self.v = (np.full(1, value, np.float32) for value in START)
        self.input_shape = (None, 1)

    def forward(self, x):
        u, v = (x.apply("Mul", self.path(name)) for name in "uv")
        return u * u - v * v


def saddle_path(optimizer, steps: int) -> np.ndarray:
    """(u, v) after every step, from START on."""
    net = Saddle()
    trainer, one, path = ec.Trainer(net, optimizer, loss="mse"), np.ones((1, 1), np.float32), [START]
    for _ in range(steps):
        trainer.step(one, one)
        path.append((float(net.u[0]), float(net.v[0])))
    return np.array(path)


@click.command()
@options("optimizers.png")
@click.option("--count", default=4000, show_default=True, help="Pictures to train with.")
@click.option("--epochs", default=3, show_default=True)
@click.option("--saddle-steps", default=200, show_default=True)
def main(data, out, seed, count, epochs, saddle_steps):
    figure = new_figure(14, 4.6)
    task, surface, descent = figure.subplots(1, 3)
    train, test = pictures_28(data)
    chosen, test = part(train, count, seed), part(test, 1000, seed)
    u, v = np.meshgrid(np.linspace(-1.7, 1.7, 200), np.linspace(-1.7, 1.7, 200))
    surface.contourf(u, v, np.abs(u * u - v * v - 1), levels=20, cmap="Greys", alpha=0.6)
    surface.plot(0, 0, "kx", markersize=9)
    for i, (name, (kind, rate, saddle_rate)) in enumerate(OPTIMIZERS.items()):
        ec.nn.manual_seed(seed)
        net, style = ec.models.lenet5(), {"color": f"C{i}", "linestyle": "-" if i < 4 else "--", "label": name}
        losses = train_losses(net, kind(lr=rate), Loader(chosen, 32, shuffle=True, seed=seed), epochs)
        task.plot(smooth(losses, 25), **style)
        path = saddle_path(kind(lr=saddle_rate), saddle_steps)
        loss = (path[:, 0] ** 2 - path[:, 1] ** 2 - 1) ** 2
        surface.plot(*path.T, **style)
        descent.plot(loss, **style)
        end = f"below {LOW:g} after {int(np.argmax(loss < LOW))} steps" if (loss < LOW).any() else f"still {loss[-1]:.2f}"
        print(f"{name:9} LeNet-5, lr {rate:g}: loss {np.mean(losses[-50:]):.3f}, test accuracy {accuracy(net, test):.1%}; "
              f"saddle, lr {saddle_rate:g}: loss {end}")
    task.set(title="LeNet-5", xlabel="step", ylabel="loss", yscale="log")
    surface.set(title="the saddle (x) of (u² - v² - 1)²", xlabel="u", ylabel="v", xlim=(-1.7, 1.7), ylim=(-1.7, 1.7))
    descent.set(title="loss on the saddle surface", xlabel="step", yscale="log", ylim=(1e-6, 10))
    task.grid(alpha=0.3)
    descent.grid(alpha=0.3)
    descent.legend(fontsize=8, ncols=2)
    save(figure, out)
    print("SGD, momentum and Nesterov slide down to the saddle, where the gradient vanishes: SGD turns slowly, momentum "
          "carries its speed beyond. Those that divide by the size of past gradients move along u, where gradients are "
          "small, as fast as along v, and never come near it. On LeNet-5 all arrive; each at a rate chosen for it.")


if __name__ == "__main__":
    main()
