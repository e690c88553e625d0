"""A frozen beginning of the network, run once per picture instead of once per epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..graph.ir import Graph
from ..graph.training import split_frozen
from ..model import Model
from ..ops import TensorSpec

SHARE_OF_MEMORY = 0.25


class FeatureCache:
    """The results of the frozen part for all training and validation pictures.

    Attributes: graph: the rest of the network, which takes them as its input."""

    def __init__(self, prefix: Model, graph: Graph, train: Any, val: Any):
        self.graph = graph
        self._loader = train
        self._train = self._run(prefix, train)
        self._val = list(self._batches(prefix, val)) if val is not None else None

    @classmethod
    def prepare(cls, model: Model, trainable: list[str], train: Any, val: Any) -> FeatureCache | None:
        """None where there is no frozen part, pictures are augmented, or the results would not fit into memory."""
        if getattr(train, "augmented", True) or not hasattr(train, "dataset"):
            return None
        parts = split_frozen(model.graph, trainable)
        if parts is None or len(parts[0].outputs) != 1:
            return None
        prefix = Model(parts[0], name=model.name)
        cut, graph = parts[0].outputs[0], parts[1]
        x, _ = next(iter(train))
        shape = prefix(x).shape
        pictures = len(train.dataset) + (len(val.dataset) if hasattr(val, "dataset") else 0)
        if not shape or shape[0] != len(x) or pictures * int(np.prod(shape[1:])) * 4 > SHARE_OF_MEMORY * _memory():
            return None
        graph.inputs = {cut: TensorSpec((None, *shape[1:]))}
        return cls(prefix, graph, train, val)

    def _batches(self, prefix: Model, data: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for x, y in data:
            yield prefix(x), y

    def _run(self, prefix: Model, loader: Any) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of the whole data set in its own order."""
        parts = list(self._batches(prefix, loader.in_order()))
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

    def train(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of one epoch, in the order in which the loader would give its pictures."""
        x, y = self._train
        for indices in self._loader.batches(epoch):
            yield np.ascontiguousarray(x[indices]), y[indices]

    def val(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The validation batches."""
        assert self._val is not None
        return self._val


def _memory() -> float:
    """Bytes of memory that are free now."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
