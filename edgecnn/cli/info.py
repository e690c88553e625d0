"""edgecnn info"""

from __future__ import annotations

from pathlib import Path

import click

from ..graph.autodiff import depends_on
from ..graph.ir import format_shape, specialise
from ..graph.passes import optimise
from ..graph.training import freeze_constants
from ..model import Model, load
from .pictures import describe

NAMES_SHOWN = 20


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
def info(model: Path) -> None:
    """Show layers, inputs, outputs, classes and what of MODEL can be trained.

    \b
    Example:
      edgecnn info net.onnx
    """
    net = load(model)
    click.echo(net.summary())
    for kind, specs in (("input", net.inputs), ("output", net.outputs)):
        for name, spec in specs.items():
            click.echo(f"{kind}: {name} {spec.dtype} {format_shape(spec.shape)}")
    click.echo(f"classes: {class_list(net.class_names)}")
    click.echo(f"preprocessing: {describe(net.preprocessing) if net.preprocessing else 'not in the file'}")
    if net.frozen:
        click.echo(f"frozen: {len(net.frozen)} of {len(net.graph.trainable())} parameters")
    click.echo(gradients(net))


def class_list(names: list[str] | None) -> str:
    if not names:
        return "not in the file"
    more = f" ... ({len(names)} in all)" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def gradients(model: Model) -> str:
    """How many operators, as training runs them, run forward and backward; why the others do not, and whether it matters:
    below the freeze point nobody asks for a gradient."""
    g = optimise(specialise(freeze_constants(model.graph, model.trainable()), model.input_shapes()))
    nodes = [n for n in g.nodes if not all(i in g.constants for i in n.inputs)]
    without = [n for n in nodes if g.op(n).no_gradient]
    line = f"operators: forward {len(nodes)}/{len(nodes)}, backward {len(nodes) - len(without)}/{len(nodes)}"
    needed = depends_on(g, [p for p in model.trainable() if p in g.params])
    below = [n for n in without if not needed.intersection(n.inputs)]
    stops = [n for n in without if needed.intersection(n.inputs)]
    if below:
        line += f": {', '.join(map(str, below))} lie{'s' if len(below) == 1 else ''} below the freeze point"
    return "\n".join([line, *(f"  no gradient through {n}: {g.op(n).no_gradient}; freeze the network until {n.outputs[0]!r}"
                              for n in stops)])
