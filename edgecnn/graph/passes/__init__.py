"""Rewriting a specialised graph, one idea a file. Passes ask operators what they can do and know none by name."""

from __future__ import annotations

from ..ir import Graph
from . import dead_code, fold_affine, fuse_clamp, fuse_residual, simplify, sink_transposes

PASSES = (simplify, sink_transposes, fold_affine, fuse_residual, fuse_clamp, dead_code)


def optimise(g: Graph) -> Graph:
    """Runs all passes in place and verifies the graph after each."""
    for one in PASSES:
        one.run(g)
        g.sort()
        g.verify()
    return g
