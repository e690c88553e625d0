"""Running statistics of batch norms, computed again from data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..config import get_num_threads
from ..errors import DataError, ModelError
from ..graph.plan import Plan
from ..graph.training import statistics_graph
from ..model import Model


def reestimate_statistics(model: Model, data: Iterable[Any]) -> int:
    """Sets the running means and variances of all batch norms that are not frozen to those of some data, no weight changes.

    For a network that was trained elsewhere and now sees other pictures: cheaper than training, often much of its gain.

    Args: data: batches x or (x, y) as for training, better large ones: each batch is normalised with its own statistics.
    Returns: the number of pictures.
    Raises: ModelError if there is no such batch norm, DataError without data; then nothing has changed.
    Reference: Wu and Johnson 2021, Rethinking "Batch" in BatchNorm, section 3 (PreciseBN): moments are averaged over the
        data, not weighted towards its end.
    """
    params, name = model.graph.params, next(iter(model.graph.inputs))
    _, pairs = statistics_graph(model.graph, model.input_shapes(2), model.trainable())
    if not pairs:
        raise ModelError(f"{model.name} has no batch norm with running statistics that is not frozen")
    before = {v: params[v].copy() for pair in pairs for v in pair}
    sums = {v: np.zeros(array.shape) for v, array in before.items()}
    plans: dict[tuple[int, ...], Plan] = {}
    count = 0
    try:
        for batch in data:
            x = batch[0] if isinstance(batch, tuple) else batch
            if x.shape not in plans:
                graph, _ = statistics_graph(model.graph, {name: x.shape}, model.trainable())
                plans[x.shape] = Plan(graph, get_num_threads())
            plans[x.shape].run(x)
            count += len(x)
            for mean, var in pairs:
                now = params[mean].astype(np.float64)
                sums[mean] += len(x) * now
                sums[var] += len(x) * (params[var] + now * now)
        if not count:
            raise DataError("reestimate_statistics: the data is empty")
    except BaseException:
        for v, array in before.items():
            params[v][...] = array
        raise
    finally:
        model.changed()
    for mean, var in pairs:
        params[mean][...] = sums[mean] / count
        params[var][...] = np.maximum(sums[var] / count - np.square(sums[mean] / count), 0)
    return count
