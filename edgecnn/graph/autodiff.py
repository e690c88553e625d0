"""Reverse-mode differentiation as a graph transformation: gradients are ordinary nodes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import UnsupportedError
from .ir import Graph


def depends_on(g: Graph, sources: Iterable[str]) -> set[str]:
    """All values that are computed from any of `sources`, and these themselves."""
    found = set(sources)
    for node in g.nodes:
        if found.intersection(node.inputs):
            found.update(o for o in node.outputs if o)
    return found


def differentiate(g: Graph, loss: str, wrt: Iterable[str]) -> dict[str, str]:
    """Appends the backward pass of the (1,) value `loss` and returns the name of the gradient of each `wrt`. Its nodes are
    named like the ones they differentiate.

    A value that the loss does not depend on has no entry. Raises UnsupportedError with the reason where an operator on the
    way has no gradient."""
    wrt = list(wrt)
    active = depends_on(g, wrt)
    parts: dict[str, list[str]] = {loss: [g.constant(np.ones(1, np.float32), "loss_gradient")]}
    for node in list(reversed(g.nodes)):
        if not any(o in parts for o in node.outputs) or not active.intersection(node.inputs):
            continue
        op = g.op(node)
        if op.no_gradient:
            raise UnsupportedError(f"{node} has no gradient: {op.no_gradient}. Freeze the network up to this node: "
                                   f"model.freeze(until={node.outputs[0]!r})")
        dy = [_total(g, o, parts) if o in parts else None for o in node.outputs]
        needs = [i in active for i in node.inputs]
        made = len(g.nodes)
        grads = op.gradient(g, node, dy, needs)
        for new in g.nodes[made:]:
            new.name = new.name or node.name or node.outputs[0]
        for value, grad in zip(node.inputs, grads, strict=True):
            if grad is not None and value in active:
                parts.setdefault(value, []).append(grad)
    return {name: _total(g, name, parts) for name in wrt if name in parts}


def _total(g: Graph, value: str, parts: dict[str, list[str]]) -> str:
    """The sum of the gradients that reached a value, in the order in which they came."""
    grads = parts[value]
    while len(grads) > 1:
        grads[:2] = [g.emit("Add", grads[:2])]
    return grads[0]
