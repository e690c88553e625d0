"""Batches of a data set, decoded ahead by a few threads (Pillow and numpy release the interpreter lock)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from edgecnn.data.dataset import order_rng
from edgecnn.errors import DataError

Batch = tuple[np.ndarray, np.ndarray]


class Loader:
    """Iterates over (x float32 (N, C, H, W), y int64 (N,)); the last batch may be smaller.

    The batches depend on data set, batch_size, shuffle, seed, drop_last and the epoch, never on `workers`.

    Args:
        dataset: a Dataset, or anything with __len__ and __getitem__(i) -> (x (C, H, W), label).
        batch_size: samples in a batch.
        shuffle: a new order every epoch; call set_epoch before each.
        seed: of the order and of the random transforms.
        drop_last: leave out a last batch that is not full.
        workers: threads that decode; at most workers + 1 batches wait in memory.

    Attributes:
        dataset, batch_size: as given.
        augmented: False only if every sample is the same in every epoch, so that what is computed of it may
            be kept. A data set of another kind says so with an attribute `augmented`; without one, True is
            assumed.

    Raises:
        DataError: no samples, no full batch, pictures of different sizes in a batch; and what reading a
            sample raises.
    """

    def __init__(self, dataset: Any, batch_size: int, shuffle: bool = False, seed: int = 0,
                 drop_last: bool = False, workers: int = 1):
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("workers", workers, 1)):
            _check_whole(name, value, least)
        if len(dataset) < (batch_size if drop_last else 1):
            raise DataError(f"Loader: {len(dataset)} samples make no batch of {batch_size}; add pictures, "
                            "make batch_size smaller, or use drop_last=False")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.workers = workers
        self.epoch = 0

    @property
    def augmented(self) -> bool:
        return bool(getattr(self.dataset, "augmented", True))

    def set_epoch(self, epoch: int) -> None:
        """Chooses order and transforms of the iterations that start from now on."""
        _check_whole("epoch", epoch, 0)
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Which samples make the batches of an epoch: index arrays."""
        count = len(self.dataset)
        order = order_rng(self.seed, epoch).permutation(count) if self.shuffle else np.arange(count)
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        return [order[start:start + self.batch_size] for start in starts]

    def in_order(self) -> Loader:
        """All samples once, in the order of the data set."""
        return Loader(self.dataset, self.batch_size, workers=self.workers)

    def __iter__(self) -> Iterator[Batch]:
        return self._ahead(self.batches(self.epoch), self.epoch)

    def _ahead(self, parts: list[np.ndarray], epoch: int) -> Iterator[Batch]:
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.workers, "edgecnn-loader")
        waiting: deque[Future[Batch]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(self._batch, part, epoch, stop))
                if len(waiting) > self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also when the consumer leaves early: the threads end after the picture they are at
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _batch(self, indices: np.ndarray, epoch: int, stop: threading.Event) -> Batch:
        if not self.augmented and hasattr(self.dataset, "gather"):
            return self.dataset.gather(indices)
        y = np.empty(len(indices), np.int64)
        for n, i in enumerate(indices.tolist()):
            if stop.is_set():
                raise CancelledError
            picture, label = self._sample(i, epoch)
            if n == 0:
                x = np.empty((len(indices), *picture.shape), np.float32)
            elif picture.shape != x.shape[1:]:
                raise DataError(f"samples {indices[0]} and {i} of a batch have the shapes {x.shape[1:]} and "
                                f"{picture.shape}; they must be equal: give the preprocessing a size")
            x[n], y[n] = picture, label
        return x, y

    def _sample(self, i: int, epoch: int) -> tuple[np.ndarray, int]:
        if hasattr(self.dataset, "sample"):
            return self.dataset.sample(i, self.seed, epoch)
        return self.dataset[i]


def _check_whole(name: str, value: int, least: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise DataError(f"Loader: {name} is {value!r}; it must be a whole number from {least} on")
