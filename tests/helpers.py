"""What several tests need: one operator as a graph, run on a chosen instruction set, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn import _core
from edgecnn.graph.autodiff import differentiate
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.lowering import Lowering
from edgecnn.graph.memory import plan_arena
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import Node, TensorSpec, get_op

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
    feeds = [np.asarray(v, order="C") for v in inputs.values() if v is not None]
    shapes = {k: v.shape for k, v in inputs.items() if v is not None}
    return Plan(specialise(g, shapes), threads, options).run(*feeds)


def inside(g):
    """Puts a copy behind every float input: operators then see values as they lie within a network, channels-last
    in the arena and free to be overwritten, not as the user gives them."""
    for name, spec in g.inputs.items():
        if spec.dtype == "float32":
            copied = g.fresh(f"{name}_copied")
            for node in g.nodes:
                node.inputs = [copied if i == name else i for i in node.inputs]
            g.nodes.insert(0, Node("Scale", [name], [copied], {"factor": 1.0}))
            g.specs[copied] = spec
    return g


def run_optimised(g, inputs, threads=1):
    """Like run_graph, with the operators simplified and fused as in a model's plan."""
    graph = optimise(specialise(g, {k: v.shape for k, v in inputs.items()}))
    return Plan(graph, threads).run(*(np.asarray(v, order="C") for v in inputs.values()))


def run_op(op, inputs, attrs=None, outputs=1, threads=1, options=None, constants=None, within=False):
    """The outputs of one operator applied to arrays, by position: inputs is a dict in the order of the op's inputs.

    within: the operator stands within a network, see `inside`."""
    g = build(op, inputs, attrs, outputs, constants)
    return run_graph(inside(g) if within else g, inputs, threads, options)


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


def run_gradient(op, inputs, attrs, dy, outputs=1, threads=1, options=None, constants=None, needs=None,
                 within=False):
    """The gradients of one operator's inputs (None where there is none), given those of its outputs.

    inputs, attrs, outputs, constants, within as in run_op; dy is an array, or a list of them (None: not used) when
    there are several outputs; needs says which inputs need a gradient, all if None."""
    feeds = {k: v for k, v in inputs.items() if v is not None}
    g = specialise(build(op, inputs, attrs, outputs, constants), {k: v.shape for k, v in feeds.items()})
    (node,) = g.nodes
    names: list[str | None] = []
    for i, array in enumerate(dy if isinstance(dy, list) else [dy]):
        names.append(None if array is None else g.fresh(f"dy{i}"))
        if array is not None:
            g.inputs[names[-1]] = g.specs[names[-1]] = TensorSpec(array.shape, str(array.dtype))
            feeds[names[-1]] = array
    grads = get_op(op).gradient(g, node, names, needs or [True] * len(node.inputs))
    g.outputs = list(dict.fromkeys(grad for grad in grads if grad is not None))
    g.verify()
    plan = Plan(inside(g) if within else g, threads, options)
    results = dict(zip(g.outputs, plan.run(*(np.asarray(v, order="C") for v in feeds.values())), strict=True))
    return [None if grad is None else results[grad] for grad in grads]


def gradients(g, feeds, dy, threads=2):
    """Gradients of sum(dy * output) with respect to the inputs and parameters of g, by name: as in training, the graph is
    simplified and fused before it is differentiated."""
    g = specialise(g, {k: v.shape for k, v in feeds.items()})
    total = g.emit("ReduceSum", [g.emit("Mul", [g.outputs[0], g.constant(dy)])], keepdims=0)
    g.outputs = [g.emit("Reshape", [total], shape=(1,))]
    g = optimise(g)
    grads = differentiate(g, g.outputs[0], [*feeds, *g.params])
    g.outputs = list(dict.fromkeys(grads.values()))
    g.sort()
    g.verify()
    results = dict(zip(g.outputs, Plan(g, threads).run(*feeds.values()), strict=True))
    return {name: results[grad] for name, grad in grads.items()}


def run_placed(g, feeds, values, shape, start, threads=1):
    """Runs g with each of `values` lying inside a larger one of `shape`, from `start` on (both N, C, H, W), so that
    strides exceed sizes. Returns the outputs and the larger values, which were 7 before."""
    lowering = Lowering(specialise(g, {k: v.shape for k, v in feeds.items()}), threads)
    last = [shape[i] for i in (0, 2, 3, 1)]
    wholes = {v: np.full(last, 7, np.float32) for v in values}
    for value in values:
        view = lowering.external("whole:" + value, TensorSpec(tuple(last))).transpose((0, 3, 1, 2))
        for axis, (at, size) in enumerate(zip(start, g.spec(value).shape, strict=True)):
            view = view.slice(axis, at, at + size)
        assert lowering.place(value, view)
    lowering.run()
    outputs = {o: np.empty(g.spec(o).shape, np.float32) for o in g.outputs}
    memory = {"whole:" + v: a for v, a in wholes.items()} | feeds | {"output:" + o: a for o, a in outputs.items()}
    buffers = [memory[name] for name in lowering.externals]
    lowering.program(lowering.steps, plan_arena(lowering.buffers)).run(buffers, threads)
    return list(outputs.values()), [w.transpose(0, 3, 1, 2) for w in wholes.values()]
