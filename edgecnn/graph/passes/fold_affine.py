"""Channel-wise affine maps with constant coefficients (batch norm in inference) go into the weights before them."""

from __future__ import annotations

from ..ir import Graph
from ._chains import bypass, followed, in_turn


def run(g: Graph) -> None:
    for node in in_turn(g):
        affine = g.op(node).as_channel_affine(g, node)
        if affine is None:
            continue
        for index, value in enumerate(node.inputs):
            producer = followed(g, node, index) if value else None
            if producer is not None and g.op(producer).absorb_affine(g, producer, *affine):
                bypass(g, node, producer)
                break
