#!/usr/bin/env python3
"""What a CNN sees: the filters of a trained LeNet-5, the maps they make of a picture, and what each of them is worth.

    python examples/filters.py [--data DIR]
"""

import click
import numpy as np
from common import accuracy, new_figure, options, part, pictures_28, save

import edgecnn as ec
from edgecnn.data import Loader

STAGES = ("relu1", "pool1", "relu2", "pool2")


@click.command()
@options("filters.png")
@click.option("--count", default=4000, show_default=True, help="Pictures to train with.")
@click.option("--epochs", default=6, show_default=True)
def main(data, out, seed, count, epochs):
    figure = new_figure(11, 6.5)
    train, test = pictures_28(data)
    ec.nn.manual_seed(seed)
    net = ec.models.lenet5()
    ec.Trainer(net, ec.optim.Adam()).fit(Loader(part(train, count, seed), 32, shuffle=True, seed=seed), epochs=epochs)
    test = part(test, 1000, seed)
    whole = accuracy(net, test)
    losses = [whole - without(net, i, test) for i in range(len(net.conv1.weight))]

    picture = test.gather(np.arange(1))[0]
    maps = {name: net.features(name)(picture)[0] for name in STAGES}
    draw(figure, net, picture, maps, losses)
    save(figure, out)
    shared = sum(p.size for n, p in net.graph.params.items() if n.startswith("conv"))
    print(f"Test accuracy {whole:.1%} on {len(test)}. The two convolutions, whose filters are shared by all places, "
          f"hold {shared:,} of the {sum(p.size for p in net.graph.params.values()):,} parameters.")
    worst = int(np.argmax(losses))
    print("A filter answers to strokes that lie where it is red and not where it is blue. Without filter "
          f"{worst} the accuracy falls by {losses[worst]:.1%}, without filter {int(np.argmin(losses))} by {min(losses):.1%}:"
          " later layers rely on some more than on others.")
    print("Maps get smaller and more: " + ", ".join(f"{n} {size(m)}" for n, m in maps.items())
          + "; ReLU sets " + ", ".join(f"{(maps[n] == 0).mean():.0%} of {n}" for n in ("relu1", "relu2")) + " to zero.")


def size(maps: np.ndarray) -> str:
    return " x ".join(map(str, maps.shape))


def without(net: ec.nn.Module, i: int, test) -> float:
    """The accuracy with filter i of the first layer set to zero."""
    state = net.state_dict()
    net.conv1.weight[i] = net.conv1.bias[i] = 0
    net.changed()
    result = accuracy(net, test)
    net.load_state_dict(state)
    return result


def draw(figure, net, picture, maps, losses):
    """Left the picture and the filters with what they are worth, right the maps of the picture stage by stage."""
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2.2))
    filters = net.conv1.weight[:, 0]
    left.suptitle("filters: red adds, blue subtracts", fontsize=10)
    axes = left.subplots(len(filters) // 2 + 1, 2)
    show(axes[0, 0], picture[0, 0], "the picture", cmap="gray_r")
    axes[0, 1].axis("off")
    for i, ax in enumerate(axes[1:].flat):
        show(ax, filters[i], f"filter {i}: {-losses[i]:+.1%} without", cmap="RdBu", vmax=np.abs(filters).max())
    for part_, (name, values) in zip(right.subfigures(len(maps), 1, height_ratios=(2, 2, 2.6, 2.6)), maps.items(),
                                     strict=True):
        part_.suptitle(f"{name}: {size(values)}", fontsize=10)
        rows = -(-len(values) // 8)
        axes = np.atleast_2d(part_.subplots(rows, min(8, len(values))))
        for value, ax in zip(values, axes.flat, strict=False):
            show(ax, value, cmap="gray_r")


def show(ax, image, title="", cmap="gray_r", vmax=None):
    ax.imshow(image, cmap=cmap, vmin=None if vmax is None else -vmax, vmax=vmax)
    ax.set_title(title, fontsize=9)
    ax.set(xticks=[], yticks=[])


if __name__ == "__main__":
    main()
