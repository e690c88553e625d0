"""Chains of operators that work row by row run on one band of rows after the other, so that what lies between them stays in
a core's cache: expand, depthwise and project of a MobileNet block, or a stem and the block behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..config import chosen_isa
from ..ops import ROWS_OF_THREAD, Lane, Node, Rows, get_op
from .ir import Graph


def in_bands(g: Graph, threads: int) -> Graph:
    """The same graph with chains on a single picture cut into bands: Slices of rows, the chain's nodes once for each band, a
    Concat. Of several threads each takes a part of the rows. No bit of the results depends on where the cuts are."""
    room = chosen_isa()[1]["x_block_bytes"]
    banded = g.copy()
    single = [chain for chain in chains(banded, room, threads) if g.spec(chain[0].outputs[0]).shape[0] == 1]
    for section, chain in enumerate(single, 1):
        parts = cut(banded, chain, room, threads)
        if sum(len(bands) for bands in parts) > 1:
            _write(banded, chain, parts, section)
    return banded


def chains(g: Graph, room: int, threads: int = 1) -> Iterator[list[Node]]:
    """Longest runs of nodes that work row by row, each the only reader of the one before, with more between them than
    `room` bytes a picture; but none with many weights, which each band would read again. For several threads also with less
    between them and more weights: what a thread reads then was written by itself, not by another core, and it need not
    wait for the others at every node."""
    def limits(value: str) -> tuple[int, int]:
        """The least bytes of a value between two nodes, the most of the weights of the node that made it."""
        several = threads > 1 and g.spec(value).shape[2] >= ROWS_OF_THREAD * threads
        return (room // 4, room // 2) if several else (room, room // 4)

    by_row = {v: n for n in g.nodes if rows_of(g, n) and 4 * weights(g, n) <= limits(v := n.outputs[0])[1]}
    uses = g.uses()
    links = {v: n for n in by_row.values() if (v := n.inputs[0]) in by_row and uses[v] == 1
             and 4 * g.spec(v).size > limits(v)[0] * g.spec(v).shape[0]}
    for last in by_row.values():
        if last.outputs[0] not in links:
            chain = [last]
            while chain[0].inputs[0] in links:
                chain.insert(0, by_row[chain[0].inputs[0]])
            if len(chain) > 1:
                yield chain


def weights(g: Graph, node: Node) -> int:
    """Elements of its constant inputs."""
    return sum(g.spec(v).size for v in node.inputs if v and g.value_of(v) is not None)


def rows_of(g: Graph, node: Node) -> Rows | None:
    return get_op(node.op).by_row(g, node) if g.spec(node.outputs[0]).rank == 4 and len(node.outputs) == 1 else None


def cut(g: Graph, chain: list[Node], room: int, threads: int) -> list[list[int]]:
    """For each thread the rows of the chain's output at which its bands end: as many rows a band as let two neighbouring
    values fit into `room`. A thread begins where the one before ends."""
    specs = [g.spec(node.outputs[0]) for node in chain]
    height = specs[-1].shape[2]
    most = max(1, int(room * height / max(4 * (a.size + b.size) for a, b in pairwise(specs))))
    threads = min(threads, height)
    parts = []
    for t in range(threads):
        begin, end = height * t // threads, height * (t + 1) // threads
        bands = -(-(end - begin) // most)
        parts.append([begin + (end - begin) * i // bands for i in range(1, bands + 1)])
    return parts


def _write(g: Graph, chain: list[Node], parts: list[list[int]], section: int) -> None:
    """Puts the bands in the place of the chain's last node."""
    at = next(i for i, node in enumerate(g.nodes) if node is chain[-1])
    count, results, begin = len(g.nodes), [], 0
    for thread, ends in enumerate(parts):
        first = len(g.nodes)
        stages = [Stage(node, rows, g.spec(node.inputs[0]).shape[2]) for node in chain if (rows := rows_of(g, node))]
        stages[-1].end = begin
        results += [_band(g, stages, end) for end in ends]
        begin = ends[-1]
        for node in g.nodes[first:]:
            node.lane = Lane(section, thread)
    g.emit("Concat", results, list(chain[-1].outputs), chain[-1].name, axis=2)
    g.nodes = g.nodes[:at] + g.nodes[count:] + g.nodes[at:count]
    g.remove(chain)


@dataclass
class Stage:
    """A node of a chain, how it reads its input of `height` rows, and the rows of its output at hand: `value` holds those
    from `begin` to `end`."""

    node: Node
    rows: Rows
    height: int
    value: str = ""
    begin: int = 0
    end: int = 0

    @property
    def name(self) -> str:
        return self.node.name or self.node.outputs[0]

    def slice(self, g: Graph, value: str, begin: int, end: int) -> str:
        """Emits some rows of a value."""
        if (begin, end) == (0, g.spec(value).shape[2]):
            return value
        bounds: dict[str, Any] = {"starts": np.array([begin]), "ends": np.array([end]), "axes": np.array([2])}
        return g.emit("Slice", [value], name=self.name, **bounds)


def _band(g: Graph, stages: list[Stage], end: int) -> str:
    """Emits what is missing of the last stage's rows up to `end`; returns these rows."""
    todo, needed = [], (stages[-1].end, end)
    for stage in reversed(stages):
        new = max(needed[0], stage.end), needed[1]
        todo.append((stage, needed[0], new))
        needed = stage.rows.read(*new, stage.height) if new[0] < new[1] else (0, 0)
    source, begin = stages[0].node.inputs[0], 0
    for stage, keep, new in reversed(todo):
        if new[0] < new[1]:
            first, last = stage.rows.read(*new, stage.height)
            _extend(g, stage, keep, new, stage.slice(g, source, first - begin, last - begin))
        source, begin = stage.value, stage.begin
    return source


def _extend(g: Graph, stage: Stage, keep: int, new: tuple[int, int], x: str) -> None:
    """Emits the rows `new` of a stage, from the rows x of its input, and joins them to those at hand from `keep` on. All
    under the name of the stage's node, by which a profile knows it."""
    node, name = stage.node, stage.name
    attrs = g.op(node).band(g, node, *stage.rows.outside(*new, stage.height))
    inputs = [x, *(stage.slice(g, v, *new) if i in stage.rows.others else v for i, v in enumerate(node.inputs) if i)]
    value = g.emit(node.op, inputs, name=name, **attrs)
    if keep < stage.end and stage.value:
        kept = stage.slice(g, stage.value, keep - stage.begin, stage.end - stage.begin)
        value = g.emit("Concat", [kept, value], name=name, axis=2)
        stage.begin = keep
    else:
        stage.begin = new[0]
    stage.value, stage.end = value, new[1]
