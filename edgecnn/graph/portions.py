"""How many images of a batch go through a network at a time."""

from __future__ import annotations

from ..config import chosen_isa
from ..ops import get_op
from .ir import Graph

TRAFFIC = 3  # how much longer a byte of activations takes than one of weights: those are read in order, well ahead


def images_at_once(graph: Graph) -> int:
    """The number of images, a divisor of the batch, that makes inference fastest: few, so that what one node writes is still
    in the L2 when the next reads it; many, so that weights are read less often. The whole batch where images are not
    independent of each other. Does not depend on the number of threads."""
    sizes = {spec.shape[:1] for spec in graph.inputs.values()}
    batch = max((size[0] for size in sizes if size), default=0)
    if sizes != {(batch,)} or batch < 2 or not independent(graph, batch):
        return batch
    cache = 4 * chosen_isa()[1]["x_block_bytes"]
    weights = sum(array.nbytes for array in graph.constants.values())
    varying = depends_on_inputs(graph)
    traffic = [sum(4 * graph.spec(v).size for v in (*node.inputs, *node.outputs) if v in varying) // batch
               for node in graph.nodes]  # bytes of an image

    def cost(images: int) -> float:
        return weights / images + TRAFFIC * sum(t for t in traffic if t * images > cache)

    return min((n for n in range(1, batch + 1) if batch % n == 0), key=lambda n: (cost(n), -n))


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
