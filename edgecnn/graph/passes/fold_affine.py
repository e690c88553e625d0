"""Channel-wise affine maps with constant coefficients (batch norm in inference) go into the weights before them, seen
through views that leave the channels where they are (behind a fully connected layer)."""

from __future__ import annotations

from ...ops import Node
from ...ops.base import seen_constant
from ..ir import Graph
from ._chains import bypass, followed, in_turn


def run(g: Graph) -> None:
    for node in in_turn(g):
        affine = g.op(node).as_channel_affine(g, node)
        if affine is None:
            continue
        for index, value in enumerate(node.inputs):
            above = producer = followed(g, node, index) if value else None
            while producer is not None and g.op(producer).keeps_channels(g, producer):
                producer = followed(g, producer)
            if above is None or producer is None:
                continue
            settle(g, producer)
            if g.op(producer).absorb_affine(g, producer, *affine):
                bypass(g, node, above)
                break


def settle(g: Graph, node: Node) -> None:
    """Turns inputs that are views of constants (transposed weights) into constants."""
    for index, value in enumerate(node.inputs):
        array = seen_constant(g, value)
        if array is not None and value not in g.constants:
            node.inputs[index] = g.constant(array, value)
