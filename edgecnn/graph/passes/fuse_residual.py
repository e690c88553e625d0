"""The addition that joins a residual branch goes into the epilogue of the later of the two producers."""

from __future__ import annotations

from ..ir import Graph
from ._chains import bypass, followed, in_turn


def run(g: Graph) -> None:
    for node in in_turn(g):
        if not g.op(node).is_residual_add(g, node):
            continue
        order = {out: i for i, n in enumerate(g.nodes) for out in n.outputs}
        for index in sorted((0, 1), key=lambda i: -order.get(node.inputs[i], -1)):
            producer, other = followed(g, node, index), node.inputs[1 - index]
            if producer is not None and g.op(producer).absorb_residual(g, producer, other):
                bypass(g, node, producer)
                g.sort()
                break
