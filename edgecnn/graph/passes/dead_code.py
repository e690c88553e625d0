"""Removes what no output and no effect needs."""

from __future__ import annotations

from ..ir import Graph


def run(g: Graph) -> None:
    needed, kept = set(g.outputs), []
    for node in reversed(g.nodes):
        if g.op(node).effect or needed.intersection(node.outputs):
            needed.update(i for i in node.inputs if i)
            kept.append(node)
    g.nodes = kept[::-1]
    g.constants = {k: v for k, v in g.constants.items() if k in needed}
    g.params = {k: v for k, v in g.params.items() if k in needed}
