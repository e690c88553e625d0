"""What several tests need: one operator as a graph, run on a chosen instruction set, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn import _core
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.plan import Plan
from edgecnn.ops import TensorSpec

ISAS = list(_core.isas())
every_isa = pytest.mark.parametrize("isa", ISAS)


def build(op, inputs, attrs=None, outputs=1, constants=None):
    """A graph of one node. inputs: name -> array (given at run time), "" entries via None are absent inputs."""
    g = Graph(inputs={k: TensorSpec(v.shape, str(v.dtype)) for k, v in inputs.items() if v is not None},
              constants=dict(constants or {}))
    g.specs.update(g.inputs)
    names = [k if v is not None else None for k, v in inputs.items()] + list(constants or {})
    out = g.emit(op, names, outputs, **(attrs or {}))
    g.outputs = [out] if isinstance(out, str) else list(out)
    g.verify()
    return g


def run_graph(g, inputs, threads=1, options=None):
    feeds = [np.ascontiguousarray(v) for v in inputs.values() if v is not None]
    shapes = {k: v.shape for k, v in inputs.items() if v is not None}
    return Plan(specialise(g, shapes), threads, options).run(*feeds)


def run_op(op, inputs, attrs=None, outputs=1, threads=1, options=None, constants=None):
    """The outputs of one operator applied to arrays, by position: inputs is a dict in the order of the op's inputs."""
    return run_graph(build(op, inputs, attrs, outputs, constants), inputs, threads, options)


def numeric_gradient(f, x, eps=1e-6):
    """d sum(f(x)) / dx by central differences in float64; f returns an array already multiplied with its weights."""
    x = np.array(x, np.float64)
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + eps
        up = f(x).sum()
        x[i] = old - eps
        grad[i] = (up - f(x).sum()) / (2 * eps)
        x[i] = old
    return grad


def assert_close(got, want, tolerance=1e-5):
    """Largest error within tolerance of the largest value (at least 1)."""
    want = np.asarray(want)
    assert got.shape == want.shape
    error = np.abs(got - want).max(initial=0.0)
    assert error <= tolerance * max(1.0, np.abs(want).max(initial=0.0)), f"error {error}"
