"""Lets every operator replace itself by simpler ones until none wants to."""

from __future__ import annotations

from ...errors import ModelError
from ..ir import Graph

ROUNDS = 100


def run(g: Graph) -> None:
    for _ in range(ROUNDS):
        changed = False
        for node in list(g.nodes):
            if any(n is node for n in g.nodes) and g.op(node).simplify(g, node):
                changed = True
        if not changed:
            return
        g.sort()
    raise ModelError(f"simplification did not come to an end in {ROUNDS} rounds; last nodes: {g.nodes[-3:]}")
