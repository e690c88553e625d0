"""Results of cheap operators that the backward pass reads are computed again there, instead of being kept (Chen, Xu, Zhang
and Guestrin 2016, Training deep nets with sublinear memory cost, section 3). It costs no time: memory that was kept for long
has left the caches, what was just computed has not."""

from __future__ import annotations

from ..ops import Node
from .ir import Graph


def recompute(g: Graph, forward: int) -> None:
    """Lets values that the first `forward` nodes, the forward pass, compute for the others live twice and not in between.
    The same kernels compute them from the same values: no bit changes."""
    before, after = g.nodes[:forward], g.nodes[forward:]
    again = _chosen(g, before, after)
    names: dict[str, str] = {}
    g.nodes = before
    for node in after:
        for value in node.inputs:
            if value in again and value not in names:
                new = again[value]
                names[value] = g.emit(new.op, new.inputs, name=new.name, **new.attrs)
        node.inputs = [names.get(v, v) for v in node.inputs]
        g.nodes.append(node)


def _chosen(g: Graph, before: list[Node], after: list[Node]) -> dict[str, Node]:
    """The values to compute again, the largest first, and the nodes that do: from values that are kept for the backward pass
    anyway, for a chain of recomputed values would have to begin long before its end is read."""
    made = {o for n in before for o in n.outputs if o}
    kept = {v for n in after for v in n.inputs if v in made}
    sources: set[str] = set()
    again: dict[str, Node] = {}
    for node in sorted(before, key=lambda n: -g.spec(n.outputs[0]).size):
        value, new = node.outputs[0], g.op(node).recomputation(g, node)
        if new is None or value not in kept or value in sources:
            continue
        needed = made.intersection(new.inputs)
        if needed <= kept and needed.isdisjoint(again):
            sources |= needed
            again[value] = new
    return again
