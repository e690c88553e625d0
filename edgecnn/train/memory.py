"""How much memory a training step will take."""

from __future__ import annotations

from ..graph.ir import Graph
from ..graph.lowering import Lowering
from ..graph.memory import plan_arena
from ..graph.training import TrainingGraph


def memory_report(training: TrainingGraph, graph: Graph, threads: int) -> dict[str, int]:
    """Bytes by kind; nothing is allocated. `arena` holds activations, gradients and workspace at the worst moment, and
    `total` is the sum of the kinds before it."""
    lowering = Lowering(training.graph, threads)
    lowering.run()
    report = {
        "parameters": sum(a.nbytes for a in graph.params.values()),
        "optimizer": sum(a.nbytes for arrays in training.states.values() for a in arrays.values()),
        "prepared weights": lowering.kept_bytes,
        "arena": plan_arena(lowering.buffers),
    }
    report["total"] = sum(report.values())
    return report
