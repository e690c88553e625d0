"""Activations that files spell out in arithmetic: x * sigmoid(x), and x times or over a clipped x + 3."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Node

HARD_SWISH = (1 / 6, 0.5)  # alpha and beta of its gate


def number(g: Any, value: str) -> float | None:
    """A constant of one element without axes of its own."""
    array = g.constants.get(value)
    return float(array.reshape(())) if array is not None and array.size == 1 and array.dtype.kind == "f" else None


def with_number(g: Any, node: Node | None, op: str) -> tuple[str, float] | None:
    """(x, number) of a node x op number, or number op x for operators that commute."""
    if node is None or node.op != op:
        return None
    a, b = node.inputs
    for x, other in ((a, b), (b, a)) if op != "Div" else ((a, b),):
        value = number(g, other)
        if value is not None and g.spec(x) == g.spec(node.outputs[0]):
            return x, value
    return None


def hard_gate(g: Any, value: str, scale: float) -> tuple[str, float, float] | None:
    """(x, alpha, beta) if value * scale is min(max(alpha x + beta, 0), 1)."""
    producers = g.producers()
    node = producers.get(value)
    bounds = g.op(node).as_clamp(node) if node is not None else None
    if bounds is None or bounds[0] != 0 or not np.isclose(bounds[1] * scale, 1):
        return None
    added = with_number(g, producers.get(node.inputs[0]), "Add")
    return (added[0], scale, scale * added[1]) if added else None


def scaled(g: Any, node: Node, value: str, scale: float) -> bool:
    """Makes node, which is value * scale, a HardSigmoid or a HardSwish if it is one."""
    gate = hard_gate(g, value, scale)
    if gate is not None:
        x, alpha, beta = gate
        node.op, node.inputs, node.attrs = "HardSigmoid", [x], {"alpha": alpha, "beta": beta}
        return True
    product = g.producers().get(value)
    if product is None or product.op != "Mul":
        return False
    for x, other in (product.inputs, product.inputs[::-1]):
        gate = hard_gate(g, other, scale)
        if gate is not None and gate[0] == x and np.allclose(gate[1:], HARD_SWISH):
            node.op, node.inputs, node.attrs = "HardSwish", [x], {}
            return True
    return False


def gated(g: Any, node: Node) -> bool:
    """Makes a product of x and a function of x one activation."""
    producers = g.producers()
    for x, other in (node.inputs, node.inputs[::-1]):
        gate = producers.get(other)
        if gate is None or gate.inputs[0] != x:
            continue
        if gate.op == "Sigmoid":
            node.op, node.inputs, node.attrs = "Swish", [x], {}
            return True
        if gate.op == "HardSigmoid" and np.allclose([g.op(gate).attr(gate, k) for k in ("alpha", "beta")], HARD_SWISH):
            node.op, node.inputs, node.attrs = "HardSwish", [x], {}
            return True
    return False
