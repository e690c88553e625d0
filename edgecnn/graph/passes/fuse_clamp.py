"""ReLU, ReLU6 and Clip go into the epilogue of what computes their input, seen through views."""

from __future__ import annotations

from ..ir import Graph
from ._chains import bypass, followed, in_turn


def run(g: Graph) -> None:
    for node in in_turn(g):
        bounds = g.op(node).as_clamp(node)
        if bounds is None:
            continue
        above = producer = followed(g, node)
        while producer is not None and g.op(producer).is_view:
            producer = followed(g, producer)
        if above is not None and producer is not None and g.op(producer).absorb_clamp(g, producer, *bounds):
            bypass(g, node, above)
