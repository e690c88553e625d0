"""edgecnn info"""

from __future__ import annotations

from pathlib import Path

import click

from ..graph.ir import format_shape, specialise
from ..graph.passes import optimise
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
    """How many operators, as training runs them, run forward and backward, and why the others do not."""
    g = optimise(specialise(model.graph, model.input_shapes()))
    reasons = [f"  {node}: {g.op(node).no_gradient}" for node in g.nodes if g.op(node).no_gradient]
    total = len(g.nodes)
    line = f"operators: forward {total}/{total}, backward {total - len(reasons)}/{total}"
    return "\n".join([f"{line}:", *reasons] if reasons else [line])
