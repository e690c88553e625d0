"""How much memory a training step will take."""

from __future__ import annotations

from ..graph.ir import Graph
from ..graph.plan import program_memory
from ..graph.training import TrainingGraph


def memory_report(training: TrainingGraph, graph: Graph, threads: int) -> dict[str, int]:
    """Bytes by kind, see program_memory; `total` is the sum of the kinds before it."""
    report = {
        "parameters": sum(a.nbytes for a in graph.params.values()),
        "optimizer": sum(a.nbytes for arrays in training.states.values() for a in arrays.values()),
        **program_memory(training.graph, threads),
    }
    report["total"] = sum(report.values())
    return report
