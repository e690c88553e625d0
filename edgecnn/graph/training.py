"""One training step as one graph: forward, loss, backward, update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from ..errors import ModelError, ShapeError
from ..ops import TensorSpec
from .autodiff import depends_on, differentiate
from .ir import Graph, specialise
from .passes import dead_code, fuse_gate, optimise
from .recompute import recompute

LOSSES = {"cross_entropy": ("SoftmaxCrossEntropy", "int64"), "mse": ("MeanSquaredError", "float32")}
TARGET, HYPER = "target", "hyper"
HYPER_SIZE = 8


@dataclass
class TrainingGraph:
    """A step's graph and what is where in it.

    Attributes:
        graph: inputs are the network's, then target, then hyper and step where something reads them; the outputs are
            loss and the loss's further results (number of correct rows), then `extra` in this order.
        trained: the parameters that the step updates, with their gradients' value names.
        states: optimizer state arrays by parameter and state name; the same arrays are in graph.params.
    """

    graph: Graph
    trained: dict[str, str]
    states: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def freeze_constants(graph: Graph, trainable: Iterable[str]) -> Graph:
    """A copy in which every parameter that training leaves alone is a constant. The buffers (running statistics) of a
    node stay with its trainable parameters: a frozen batch norm keeps its statistics."""
    g = graph.copy()
    live = set(trainable)
    for node in g.nodes:
        op = g.op(node)
        named = [(op.formal(i), v) for i, v in enumerate(node.inputs) if v in graph.params]
        if any(v in live for _, v in named):
            live.update(v for formal, v in named if formal in op.buffers)
    for name in [p for p in g.params if p not in live]:
        g.constants[name] = g.params.pop(name)
    return g


def _forward(graph: Graph, shapes: Mapping[str, tuple[int, ...]], trainable: list[str], running: bool) -> Graph:
    """The specialised training forward pass. Nodes before the last frozen parameter behave as in inference, and so do all
    batch norms if `running`: then they keep and use their running statistics."""
    g = specialise(freeze_constants(graph, trainable), dict(shapes))
    frozen = [i for i, n in enumerate(g.nodes)
              if any(v in graph.params and v not in g.params and g.op(n).formal(k) in g.op(n).parameters
                     for k, v in enumerate(n.inputs))]
    before_frozen: set[str] = {v for i in frozen for v in g.nodes[i].inputs}
    for node in reversed(g.nodes):
        if before_frozen.intersection(node.outputs):
            before_frozen.update(node.inputs)
    for i, node in enumerate(g.nodes):
        kept = before_frozen.intersection(node.outputs) or i in frozen or (running and g.op(node).batch_statistics)
        if not kept:
            g.nodes[i] = g.op(node).for_training(g, node) or node
    return g


def statistics_graph(graph: Graph, shapes: Mapping[str, tuple[int, ...]],
                     trainable: list[str]) -> tuple[Graph, list[tuple[str, str]]]:
    """A forward pass that leaves the statistics of its batch in the running ones; and the names of these, (mean, variance)
    of each batch norm with a trainable parameter. It has no outputs."""
    g = specialise(freeze_constants(graph, trainable), dict(shapes))
    g.outputs, pairs = [], []
    for i, node in enumerate(g.nodes):
        op = g.op(node)
        new = op.for_training(g, node) if op.batch_statistics else None
        if new is not None:
            new.attrs["momentum"] = 0.0
            g.nodes[i] = new
            mean, var = (v for k, v in enumerate(node.inputs) if op.formal(k) in op.buffers)
            pairs.append((mean, var))
    return optimise(g), pairs


def loss_graph(graph: Graph, shapes: Mapping[str, tuple[int, ...]], trainable: list[str], loss: str,
               loss_options: Mapping[str, Any] | None = None, running: bool = False,
               output_weights: Sequence[float] = (1.0,)) -> TrainingGraph:
    """Forward, loss and backward; no parameter is updated. The outputs are the loss and what else the loss operator gives
    for the network's first output.

    running: batch norms use their running statistics and leave them as they are. output_weights: the loss is the weighted
    sum of those of the outputs, which all have the same target."""
    if loss not in LOSSES:
        raise ModelError(f"loss {loss!r} is not known, choose one of {sorted(LOSSES)}")
    if len(graph.outputs) != len(output_weights):
        raise ModelError(f"training needs a weight for the loss of each output: the outputs are {graph.outputs}, the "
                         f"weights {tuple(output_weights)}; use Trainer(..., output_weights=...) or model.features(name)")
    g = _forward(graph, shapes, trainable, running)
    if TARGET in g.specs:
        raise ModelError(f"a value of the network is called {TARGET!r}, which names the labels in a training graph")
    results = [_loss(g, output, loss, loss_options or {}) for output in g.outputs]
    g.outputs = [_weighted_sum(g, [r[0] for r in results], output_weights), *results[0][1:]]
    g = optimise(g)
    forward = len(g.nodes)
    grads = differentiate(g, g.outputs[0], [p for p in trainable if p in g.params])
    fuse_gate.run(g)
    recompute(g, forward)
    g.sort()
    g.verify()
    return TrainingGraph(g, grads)


def _loss(g: Graph, output: str, loss: str, options: Mapping[str, Any]) -> list[str]:
    """The results of the loss operator for one output of the network."""
    op, dtype = LOSSES[loss]
    spec = g.spec(output)
    if loss == "cross_entropy" and spec.rank != 2:
        output = _flat_scores(g, output, spec)
        spec = g.spec(output)
    g.inputs[TARGET] = g.specs[TARGET] = TensorSpec(spec.shape[:1] if dtype == "int64" else spec.shape, dtype)
    results = g.emit(op, [output, TARGET], 2 if loss == "cross_entropy" else 1, **options)
    return results if isinstance(results, list) else [results]


def _weighted_sum(g: Graph, values: list[str], weights: Sequence[float]) -> str:
    scaled = [v if w == 1 else g.emit("Scale", [v], factor=float(w)) for v, w in zip(values, weights, strict=True)]
    return reduce(lambda a, b: g.emit("Add", [a, b]), scaled)


def _flat_scores(g: Graph, output: str, spec: TensorSpec) -> str:
    if any(d != 1 for d in spec.shape[2:]):
        raise ShapeError(f"cross entropy needs one score per class, the network's output {output!r} has shape {spec.shape}")
    return g.emit("Reshape", [output], shape=np.array(spec.shape[:2], np.int64))


def add_updates(step: TrainingGraph, optimizer: Any, params: Mapping[str, np.ndarray],
                states: Mapping[str, Mapping[str, np.ndarray]] | None = None, norms: bool = False) -> TrainingGraph:
    """Ends the step with an update of every trained parameter, each as soon as its gradient exists.

    Args:
        optimizer: see edgecnn.optim.
        params: the master copies; states: the optimizer's arrays to go on with, zero if None.
        norms: add the squared norm of each gradient (in the order of `trained`) to the outputs.
    """
    g = step.graph
    g.inputs[HYPER] = g.specs[HYPER] = TensorSpec((HYPER_SIZE,))
    squares = {}
    if norms or optimizer.clip_norm is not None:
        squares = {name: g.emit("SquaredSum", [grad]) for name, grad in step.trained.items()}
    if norms:
        g.outputs += list(squares.values())
    scale = None
    if optimizer.clip_norm is not None and squares:
        scale = g.emit("ClipScale", list(squares.values()), max_norm=float(optimizer.clip_norm))
    for name, grad in step.trained.items():
        given = (states or {}).get(name, {})
        step.states[name] = {s: given.get(s, np.zeros_like(params[name])) for s in optimizer.states}
        slots = []
        for state, array in step.states[name].items():
            slot = g.fresh(f"{name}.{state}")
            g.params[slot] = array
            slots.append(slot)
        current = _ahead(g, optimizer, name, slots) if optimizer.ahead else name
        g.emit(optimizer.update, [current, grad, *slots, HYPER, *([scale] if scale else [])], name=name,
               **optimizer.attrs())
    order_effects(g)
    dead_code.run(g)
    g.verify()
    return step


def _ahead(g: Graph, optimizer: Any, name: str, slots: list[str]) -> str:
    """Lets the whole step read the parameter at the optimizer's look-ahead point."""
    readers = list(g.nodes)
    ahead = g.emit(optimizer.ahead, [name, *slots], **optimizer.ahead_attrs())
    for node in readers:
        node.inputs = [ahead if i == name else i for i in node.inputs]
    g.nodes.insert(0, g.nodes.pop())
    return ahead


def order_effects(g: Graph) -> None:
    """Moves every update (an effect whose result nobody reads) to the earliest place after all readers of what it
    changes, so that a gradient lives no longer than it must."""
    uses = g.uses()
    updates = [n for n in g.nodes if g.op(n).effect and not any(uses[o] for o in n.outputs)]
    moved = {id(n) for n in updates}
    others = [n for n in g.nodes if id(n) not in moved]
    last = {value: i for i, n in enumerate(others) for value in (*n.inputs, *n.outputs) if value}
    places = [(i, 0, n) for i, n in enumerate(others)]
    places += [(max(last.get(v, -1) for v in n.inputs if v), 1, n) for n in updates]
    g.nodes = [n for *_, n in sorted(places, key=lambda p: p[:2])]


def split_frozen(graph: Graph, trainable: Iterable[str]) -> tuple[Graph, Graph] | None:
    """The part of the network that training never changes, and the rest, which takes the former's results as inputs.

    None if there is nothing to gain: no operation before the first trainable parameter."""
    live = depends_on(graph, trainable)
    random = {o for n in graph.nodes if graph.op(n).random_in_training for o in n.outputs}
    live |= depends_on(graph, random)
    prefix = [n for n in graph.nodes if not live.intersection(n.outputs)]
    rest = [n for n in graph.nodes if live.intersection(n.outputs)]
    made = {o for n in prefix for o in n.outputs}
    cut = list(dict.fromkeys(i for n in rest for i in n.inputs if i in made))
    if not cut or not any(i in graph.params for n in prefix for i in n.inputs):
        return None
    if any(i in graph.inputs for n in rest for i in n.inputs) or any(o in made for o in graph.outputs):
        return None
    first, second = graph.copy(), graph.copy()
    first.nodes, first.outputs = prefix, cut
    second.nodes, second.inputs = rest, {}
    for g in (first, second):
        dead_code.run(g)
    return first, second

