"""How many images of a batch go through a network at a time."""

from __future__ import annotations

from ..config import chosen_isa
from ..ops import get_op
from .bands import chains
from .ir import Graph

TRAFFIC = 1.5  # how much longer a byte of activations takes than one of weights: those are read in order, well ahead
FEW = 4  # portions that keep the threads of a small machine busy side by side
FLOPS_OF_SHARING = 240  # in which threads that share the nodes lose as much by waiting as a byte of weights costs


def images_at_once(graph: Graph) -> int:
    """The number of images, a divisor of the batch, that makes inference fastest: few, so that what one node writes is still
    in the L2 when the next reads it, and threads need not share a portion; many, so that weights are read less often. The
    whole batch where images are not independent of each other. Does not depend on the number of threads."""
    sizes = {spec.shape[:1] for spec in graph.inputs.values()}
    batch = max((size[0] for size in sizes if size), default=0)
    if sizes != {(batch,)} or batch < 2 or not independent(graph, batch):
        return batch
    cache = 4 * chosen_isa()[1]["x_block_bytes"]
    weights = sum(array.nbytes for array in graph.constants.values())
    varying = depends_on_inputs(graph)
    in_cache = {node.outputs[0] for chain in chains(graph, cache // 4) for node in chain[:-1]}  # of single images
    sharing = sum(graph.flops(node) for node in graph.nodes) / batch / FLOPS_OF_SHARING

    def traffic(images: int) -> float:
        values = varying - in_cache if images == 1 else varying
        sizes = (sum(graph.spec(v).size for v in (*n.inputs, *n.outputs) if v in values) for n in graph.nodes)
        return sum(4 * size / batch for size in sizes if 4 * size * images > cache * batch)

    def cost(images: int) -> float:
        return weights / images * (weights > cache) + TRAFFIC * traffic(images) + sharing * (images * FEW > batch)

    return min((n for n in range(1, batch + 1) if batch % n == 0), key=lambda n: (cost(n), -n))


def side_by_side(portions: int, threads: int) -> int:
    """How many copies of the program run portions at the same time, each on a thread: one for each thread where that keeps
    them busy, for then nobody waits and each core has its own pictures; else 1."""
    rounds = -(-portions // threads)
    return threads if portions * 4 >= rounds * threads * 3 else 1


def depends_on_inputs(graph: Graph) -> set[str]:
    """The values that are not the same in each run."""
    varying = set(graph.inputs)
    for node in graph.nodes:
        if not varying.isdisjoint(node.inputs):
            varying.update(node.outputs)
    return varying


def independent(graph: Graph, batch: int) -> bool:
    """Whether image i of every output follows from image i of the inputs alone; axis 0 counts images."""
    varying = depends_on_inputs(graph)
    for node in graph.nodes:
        values = [v for v in (*node.inputs, *node.outputs) if v in varying]
        if not values:
            continue
        rank = graph.spec(node.outputs[0]).rank
        fixed = [graph.spec(v).shape for v in node.inputs if v and v not in varying]
        if not get_op(node.op).by_image(node, rank) or any(graph.spec(v).shape[:1] != (batch,) for v in values):
            return False
        if get_op(node.op).broadcasts and (any(len(shape) == rank and shape[0] > 1 for shape in fixed)
                                           or any(graph.spec(v).rank != rank for v in values)):
            return False
    return varying.issuperset(graph.outputs)
