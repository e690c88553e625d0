import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.data import ArrayDataset, Subset
from edgecnn.errors import DataError, DTypeError, ShapeError
from edgecnn.preprocessing import Preprocessing

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 3, 4, 5), np.uint8)
Y = [0, 1, 2, 0, 1, 2]


def test_float32_passes_unchanged_as_a_copy():
    x = RNG.standard_normal((6, 3, 4, 5)).astype(np.float32)
    dataset = ArrayDataset(x, Y)
    assert len(dataset) == 6 and dataset.classes == ("0", "1", "2") and not dataset.augmented
    assert dataset.labels.dtype == np.int64 and dataset.labels.tolist() == Y
    sample, label = dataset[4]
    np.testing.assert_array_equal(sample, x[4])
    assert label == 1 and isinstance(label, int)
    sample[:] = 0
    assert x[4].any()


def test_uint8_becomes_pixels_or_normalised():
    plain, label = ArrayDataset(X, Y)[2]
    assert plain.dtype == np.float32 and (plain == X[2]).all()
    preprocessing = Preprocessing((4, 5), "BGR", (1, 2, 3), (4, 5, 6))
    dataset = ArrayDataset(X, Y, preprocessing=preprocessing)
    np.testing.assert_array_equal(dataset[2][0], preprocessing.normalise(X[2]))
    x, y = dataset.gather(np.array([5, 0]))
    np.testing.assert_array_equal(x, [dataset[5][0], dataset[0][0]])
    assert y.tolist() == [2, 0] and y.dtype == np.int64


def test_gray_pictures_get_a_channel():
    assert ArrayDataset(X[:, 0], Y)[0][0].shape == (1, 4, 5)


def test_transforms_apply_in_order_before_normalisation():
    dataset = ArrayDataset(X, Y, [lambda x, rng: x // 2, lambda x, rng: x + np.uint8(rng.integers(1, 9))],
                           preprocessing=Preprocessing(None, "RGB", (0, 0, 0), (2, 2, 2)))
    added = dataset[1][0] * 2 - X[1] // 2
    assert dataset.augmented and (added == added.flat[0]).all() and 1 <= added.flat[0] < 9
    np.testing.assert_array_equal(dataset[1][0], dataset.sample(1, seed=0, epoch=0)[0])


@pytest.mark.parametrize("x, y, error, match", [
    (X.tolist(), Y, DTypeError, "x is list"),
    (X.astype(float), Y, DTypeError, "float64.*uint8 or float32"),
    (X[0, 0], Y, ShapeError, r"\(4, 5\)"),
    (X[:0], [], ShapeError, "none of them 0"),
    (X, Y[:5], ShapeError, r"\(5,\) for 6 pictures"),
    (X, [Y], ShapeError, r"\(1, 6\)"),
    (X, np.array(Y, float), DTypeError, "float64.*whole numbers"),
    (X, ["cat"] * 6, DTypeError, "whole numbers"),
    (X, [-1, 1, 2, 0, 1, 2], DataError, "-1 to 2"),
    (X, [2**40, 1, 2, 0, 1, 2], DataError, "start at 0"),
    (np.full((6, 4, 5), np.nan, np.float32), Y, DataError, "NaN"),
    (np.full((6, 4, 5), -np.inf, np.float32), Y, DataError, "infinity"),
])
def test_wrong_arrays(x, y, error, match):
    with pytest.raises(error, match=match):
        ArrayDataset(x, y)


def test_wrong_classes_or_preprocessing():
    assert ArrayDataset(X, Y, classes=["a", "b", "c", "d"]).classes == ("a", "b", "c", "d")
    with pytest.raises(DataError, match="label 2, but there are 2 classes"):
        ArrayDataset(X, Y, classes=["a", "b"])
    rgb = Preprocessing((4, 5), "RGB", (0, 0, 0), (1, 1, 1))
    with pytest.raises(DTypeError, match="uint8"):
        ArrayDataset(X.astype(np.float32), Y, preprocessing=rgb)
    for x in (X[:, :1], X[:, :, :3]):
        with pytest.raises(ShapeError, match=r"3 channel\(s\) and size \(4, 5\)"):
            ArrayDataset(x, Y, preprocessing=rgb)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.floats(.01, .99), st.integers(0, 5))
def test_split_keeps_the_share_of_every_class(labels, fraction, seed):
    labels = np.repeat(labels, 2)  # so that every class has two
    dataset = ArrayDataset(np.zeros((len(labels), 1, 1), np.uint8), labels)
    parts = dataset.split(fraction, seed)
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(len(labels)))
    for label in np.unique(labels):
        count, first = (labels == label).sum(), (parts[0].labels == label).sum()
        assert 1 <= first <= count - 1 and abs(first - fraction * count) <= 1


def test_subset():
    subset = Subset(ArrayDataset(X, Y), [4, 0])
    assert len(subset) == 2 and subset.labels.tolist() == [1, 0] and subset.classes == ("0", "1", "2")
    np.testing.assert_array_equal(subset[0][0], X[4])
    for indices in ([6], [-1], [[0]]):
        with pytest.raises(DataError, match="from 0 to 5"):
            Subset(ArrayDataset(X, Y), indices)
