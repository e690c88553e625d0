"""Pairs of a node and the only reader of its result."""

from __future__ import annotations

from collections.abc import Iterator

from ...ops import Node
from ..ir import Graph


def followed(g: Graph, node: Node, index: int = 0) -> Node | None:
    """The node that computes input `index` of `node`, if nobody else reads it."""
    value = node.inputs[index]
    producer = g.producers().get(value)
    return producer if producer is not None and g.uses()[value] == 1 and producer.outputs[0] == value else None


def bypass(g: Graph, node: Node, producer: Node) -> None:
    """Removes `node`, whose work `producer` has taken over: the producer's result gets the node's name."""
    old, new = producer.outputs[0], node.outputs[0]
    producer.outputs[0] = new
    g.specs[new] = g.specs.pop(old)
    g.remove([node])


def in_turn(g: Graph) -> Iterator[Node]:
    """The nodes as they stand now; nodes that a pass removed meanwhile are left out."""
    for node in list(g.nodes):
        if any(n is node for n in g.nodes):
            yield node
