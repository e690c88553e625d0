import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecnn.data import ArrayDataset, ImageFolder, Loader, RandomCrop, RandomHorizontalFlip
from edgecnn.errors import DataError
from edgecnn.preprocessing import Preprocessing

X = np.random.default_rng(0).integers(0, 256, (23, 2, 4, 4), np.uint8)
Y = np.arange(23)
AUGMENTED = ArrayDataset(X, Y, [RandomHorizontalFlip(), RandomCrop(2)])


def everything(loader):
    batches = list(loader)
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("edgecnn-loader")]


@given(st.integers(1, 30), st.booleans(), st.booleans(), st.integers(1, 4), st.integers(0, 9))
def test_every_sample_once(batch_size, shuffle, drop_last, workers, epoch):
    if drop_last and batch_size > 23:
        return
    loader = Loader(ArrayDataset(X, Y), batch_size, shuffle, 5, drop_last, workers)
    loader.set_epoch(epoch)
    batches = list(loader)
    assert len(batches) == len(loader) == (23 // batch_size if drop_last else -(-23 // batch_size))
    assert all(len(x) == batch_size for x, _ in batches[:-1])
    x, y = everything(loader)
    assert x.dtype == np.float32 and x.flags.c_contiguous and y.dtype == np.int64
    np.testing.assert_array_equal(x, X[y])
    assert len(set(y.tolist())) == len(y) == (23 // batch_size * batch_size if drop_last else 23)
    if not shuffle:
        assert y.tolist() == list(range(len(y)))


def test_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch, workers=1, dataset=AUGMENTED, batch_size=4):
        loader = Loader(dataset, batch_size, shuffle=True, seed=seed, workers=workers)
        loader.set_epoch(epoch)
        return everything(loader)[1].tolist()

    assert order(1, 2) == order(1, 2, workers=3) == order(1, 2, dataset=ArrayDataset(X, Y), batch_size=7)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_augmentation_depends_on_seed_epoch_and_index_only():
    def pictures(seed, epoch, **options):
        loader = Loader(AUGMENTED, seed=seed, **options)
        loader.set_epoch(epoch)
        x, y = everything(loader)
        return x[np.argsort(y)]

    reference = pictures(1, 2, batch_size=4)
    for options in ({"batch_size": 4, "workers": 4}, {"batch_size": 5}, {"batch_size": 23, "shuffle": True}):
        np.testing.assert_array_equal(pictures(1, 2, **options), reference)
    for seed, epoch in ((1, 3), (2, 2)):
        assert (pictures(seed, epoch, batch_size=4) != reference).any(axis=(1, 2, 3)).sum() > 15
    np.testing.assert_array_equal(pictures(0, 0, batch_size=4), [AUGMENTED[i][0] for i in range(23)])


def test_batches_tell_what_an_epoch_gives():
    loader = Loader(AUGMENTED, 6, shuffle=True, seed=2, drop_last=True)
    loader.set_epoch(3)
    told = loader.batches(3)
    assert len(told) == len(loader) == 3
    for indices, (_, y) in zip(told, loader, strict=True):
        np.testing.assert_array_equal(Y[indices], y)
    assert everything(loader.in_order())[1].tolist() == list(range(23))


def test_epoch_holds_for_a_running_iteration():
    loader = Loader(AUGMENTED, 4, shuffle=True)
    expected = everything(loader)
    running = iter(loader)
    loader.set_epoch(7)
    np.testing.assert_array_equal(np.concatenate([y for _, y in running]), expected[1])
    assert everything(loader)[1].tolist() != expected[1].tolist()


def test_repeated_and_nested_iteration():
    loader = Loader(AUGMENTED, 6)
    assert [(a.tolist(), b.tolist()) for (_, a), (_, b) in zip(loader, loader, strict=True)] == [
        (y.tolist(), y.tolist()) for _, y in loader]


class Recorder:
    """A data set of its own kind that notes who reads what, and can fail or wait."""

    def __init__(self, fail_at=None, gate=None):
        self.read, self.threads = [], set()
        self.fail_at, self.gate = fail_at, gate

    def __len__(self):
        return 40

    def __getitem__(self, i):
        self.read.append(i)
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            self.gate.wait(5)
        if i == self.fail_at:
            raise OSError(f"the card was pulled at {i}")
        return np.full((1, 2, 2), i, np.float32), i % 3


def test_any_data_set_works_and_counts_as_augmented():
    loader = Loader(Recorder(), 8)
    x, y = everything(loader)
    assert x[:, 0, 0, 0].tolist() == list(range(40)) and y.tolist() == [i % 3 for i in range(40)]
    assert loader.augmented
    loader.dataset.augmented = False
    assert not loader.augmented
    assert Loader(AUGMENTED, 4).augmented and not Loader(ArrayDataset(X, Y), 4).augmented


@pytest.mark.parametrize("workers", [1, 3])
def test_error_of_a_worker_reaches_the_consumer(workers):
    loader = Loader(Recorder(fail_at=17), 4, workers=workers)
    seen = []
    with pytest.raises(OSError, match="the card was pulled at 17"):
        for _, y in loader:
            seen.append(len(y))
    assert seen == [4] * 4 and not loader_threads()


def test_reads_ahead_but_not_without_bound():
    dataset = Recorder()
    batches = iter(Loader(dataset, 2, workers=2))
    next(batches)
    deadline = time.monotonic() + 5
    while len(dataset.read) < 6 and time.monotonic() < deadline:
        time.sleep(.001)
    time.sleep(.02)
    assert len(dataset.read) == 6  # the batch given out and workers = 2 more
    batches.close()


def test_decodes_in_several_threads():
    gate = threading.Barrier(3)  # passes only if 3 threads are in __getitem__ at once
    dataset = Recorder(gate=gate)
    batches = iter(Loader(dataset, 1, workers=3))
    next(batches)
    assert len(dataset.threads) == 3
    gate.abort()
    batches.close()


def test_abandoned_iteration_leaves_no_threads():
    dataset = Recorder()
    for _ in Loader(dataset, 10, workers=2):
        break
    gc.collect()
    assert not loader_threads() and len(dataset.read) < 40
    batches = iter(Loader(dataset, 4, workers=3))
    next(batches)
    assert loader_threads()
    del batches
    gc.collect()
    assert not loader_threads()
    iter(Loader(dataset, 4))
    assert not loader_threads()


def test_abandoned_iteration_stops_within_a_batch():
    dataset = Recorder(gate=threading.Event())
    dataset.gate.wait = lambda timeout: time.sleep(.02)
    batches = iter(Loader(dataset, 20, workers=1))
    next(batches)
    batches.close()
    assert len(dataset.read) < 40


def test_wrong_values():
    dataset = ArrayDataset(X, Y)
    for options in ({"batch_size": 0}, {"batch_size": 2.5}, {"batch_size": True},
                    {"batch_size": 2, "seed": -1}, {"batch_size": 2, "workers": 0}):
        with pytest.raises(DataError, match="it must be a whole number from"):
            Loader(dataset, **options)
    with pytest.raises(DataError, match="epoch is -1"):
        Loader(dataset, 2).set_epoch(-1)
    with pytest.raises(DataError, match="23 samples make no batch of 24"):
        Loader(dataset, 24, drop_last=True)
    with pytest.raises(DataError, match="0 samples"):
        Loader([], 1)


def test_pictures_of_different_sizes(tmp_path):
    (tmp_path / "a").mkdir()
    for i, size in enumerate([(4, 4), (4, 4), (4, 5)]):
        Image.new("RGB", size).save(tmp_path / "a" / f"{i}.png")
    any_size, one_size = (Preprocessing(size, "RGB", (0, 0, 0), (1, 1, 1)) for size in (None, (3, 3)))
    with pytest.raises(DataError, match=r"samples 0 and 2 .*\(3, 4, 4\) and \(3, 5, 4\).*a size"):
        list(Loader(ImageFolder(tmp_path, any_size), 3))
    assert everything(Loader(ImageFolder(tmp_path, one_size), 3))[0].shape == (3, 3, 3, 3)


def test_unreadable_picture_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="cannot read picture .*broken.jpg"):
        list(Loader(ImageFolder(tmp_path, Preprocessing(None, "RGB", (0,) * 3, (1,) * 3)), 1))
