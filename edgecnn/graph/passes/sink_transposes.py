"""Transposes move towards the outputs, through whatever does not mind the order of axes, until they meet their opposites.

Networks from frameworks that keep channels last come with a pair of them around every convolution. A transpose costs
nothing by itself, but it hides a bias, an activation or a residual from the convolution that could take it in."""

from __future__ import annotations

from ...ops import Node
from ..ir import Graph
from . import dead_code, simplify
from ._chains import in_turn


def run(g: Graph) -> None:
    producers, sunk = g.producers(), False
    for node in in_turn(g):
        if node.op == "Transpose":
            if g.op(node).simplify(g, node):
                producers = g.producers()
            continue
        computed = [i for i in node.inputs if i and g.value_of(i) is None]
        above = {i: producers[i] for i in computed if i in producers and producers[i].op == "Transpose"}
        perms = {n.attrs["perm"] for n in above.values()}
        if len(perms) != 1 or not above.keys() >= set(computed):
            continue
        after = g.op(node).before_transpose(g, node, perms.pop())
        if after is None:
            continue
        node.inputs = [above[i].inputs[0] if i in above else i for i in node.inputs]
        for index, y in enumerate(node.outputs):
            if y:
                node.outputs[index] = g.fresh(f"{y}_untransposed")
                producers[y] = Node("Transpose", [node.outputs[index]], [y], {"perm": after}, node.name)
                g.nodes.append(producers[y])
        g.infer_node(node)
        sunk = True
    if sunk:
        g.sort()
        dead_code.run(g)
        simplify.run(g)
