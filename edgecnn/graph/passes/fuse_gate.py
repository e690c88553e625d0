"""The gradient of a clamp goes into what computes the gradient of its result: in training graphs, after differentiation."""

from __future__ import annotations

from ..ir import Graph
from ._chains import bypass, followed, in_turn


def run(g: Graph) -> None:
    for node in in_turn(g):
        gate = g.op(node).as_gate(node)
        above = followed(g, node) if gate else None
        if gate and above is not None and g.op(above).absorb_gate(g, above, *gate):
            bypass(g, node, above)
