"""edgecnn models"""

from __future__ import annotations

import click

from .. import models as networks
from ..errors import ModelError
from ..graph.ir import format_shape
from ..model import Model
from .workload import input_shapes

HEADER = f"{'network':22} {'input':18} {'parameters':>12} {'MMAC':>9} {'memory':>10}"


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), help="Pictures at once.")
def models(names: tuple[str, ...], batch: int) -> None:
    """List the networks of edgecnn.models, all or those named: parameters, multiply-accumulates and the memory of
    inference (weights, prepared weights and working memory) at their usual input.

    \b
    Example:
      edgecnn models
      edgecnn models resnet18 mobilenet_v2 --batch 8
    """
    unknown = [name for name in names if name not in networks.__all__]
    if unknown:
        raise ModelError(f"{', '.join(unknown)}: no such network; there are {', '.join(networks.__all__)}")
    click.echo(HEADER)
    for name in names or networks.__all__:
        click.echo(line(name, getattr(networks, name)(), batch))


def line(name: str, net: Model, batch: int) -> str:
    """The line of one network."""
    shapes = input_shapes(net, batch)
    parameters = sum(net.graph.params[p].size for p in net.trainable())
    memory = net.memory_plan(batch)["total"]
    return (f"{name:22} {format_shape(next(iter(shapes.values()))):18} {parameters:12,} {net.macs(batch) / 1e6:9,.1f} "
            f"{memory / 1e6:7,.1f} MB")
