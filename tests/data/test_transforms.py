import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.data import ColorJitter, RandomCrop, RandomHorizontalFlip, RandomRotate90, RandomVerticalFlip
from edgecnn.errors import DataError, DTypeError

ALL = [RandomHorizontalFlip(), RandomVerticalFlip(), RandomRotate90(), RandomCrop(2), RandomCrop(9, fill=7),
       ColorJitter()]
SQUARE = np.arange(3 * 5 * 5, dtype=np.uint8).reshape(3, 5, 5)
pictures = hnp.arrays(np.uint8, st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)))
seeds = st.integers(0, 2**32)


@pytest.mark.parametrize("transform", ALL, ids=str)
@given(pixels=pictures, seed=seeds)
def test_keeps_shape_dtype_and_input_and_repeats(transform, pixels, seed):
    before = pixels.copy()
    one, two = (transform(pixels, np.random.default_rng(seed)) for _ in range(2))
    assert one.shape == pixels.shape and one.dtype == np.uint8
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(pixels, before)


def outcomes(transform, pixels, count=200):
    rng = np.random.default_rng(0)
    return [transform(pixels, rng).tobytes() for _ in range(count)]


@pytest.mark.parametrize("transform, flipped", [(RandomHorizontalFlip, SQUARE[:, :, ::-1]),
                                                (RandomVerticalFlip, SQUARE[:, ::-1])])
def test_flips(transform, flipped):
    assert set(outcomes(transform(1), SQUARE)) == {flipped.tobytes()}
    assert set(outcomes(transform(0), SQUARE)) == {SQUARE.tobytes()}
    share = outcomes(transform(.25), SQUARE).count(flipped.tobytes()) / 200
    assert .15 < share < .35


def test_rotations():
    turns = [np.rot90(SQUARE, k, (1, 2)).tobytes() for k in range(4)]
    counts = [outcomes(RandomRotate90(), SQUARE).count(turn) for turn in turns]
    assert sum(counts) == 200 and min(counts) > 30
    wide = SQUARE[:, :3]
    assert set(outcomes(RandomRotate90(), wide)) == {wide.tobytes(), wide[:, ::-1, ::-1].tobytes()}


@given(pictures, st.integers(0, 8), st.integers(0, 255), seeds)
def test_crop_is_a_window_of_the_padded_picture(pixels, padding, fill, seed):
    padded = np.pad(pixels, ((0, 0), (padding, padding), (padding, padding)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, pixels.shape)
    got = RandomCrop(padding, fill)(pixels, np.random.default_rng(seed))
    assert (windows == got).all(axis=(-3, -2, -1)).any()


def test_crop_reaches_every_shift():
    assert len(set(outcomes(RandomCrop(1), SQUARE))) == 9


def test_color_jitter():
    pixels = np.array([[[50, 150]]], np.uint8)
    assert set(outcomes(ColorJitter(0, 0), pixels)) == {pixels.tobytes()}
    brightness, contrast = (
        np.frombuffer(b"".join(outcomes(jitter, pixels)), np.uint8).reshape(-1, 2).astype(int)
        for jitter in (ColorJitter(.5, 0), ColorJitter(0, .5)))
    assert (abs(brightness[:, 0] * 3 - brightness[:, 1]) <= 2).all()
    assert 25 <= brightness[:, 0].min() < 30 and 70 < brightness[:, 0].max() <= 75
    assert (abs(contrast.sum(1) - 200) <= 1).all()
    assert 50 <= np.ptp(contrast, 1).min() < 60 and 140 < np.ptp(contrast, 1).max() <= 150
    dark = np.array([[[25, 75]]], np.uint8)
    both = np.frombuffer(b"".join(outcomes(ColorJitter(.5, .5), dark)), np.uint8).reshape(-1, 2).sum(1, int)
    assert both.min() >= 49 and both.max() <= 151  # contrast keeps the mean that brightness gave
    bright = np.full((1, 2, 2), 250, np.uint8)
    assert max(max(o) for o in outcomes(ColorJitter(.5, 0), bright)) == 255  # clipped, not wrapped round
    assert min(min(o) for o in outcomes(ColorJitter(.5, 0), bright)) >= 125


def test_wrong_values():
    with pytest.raises(DTypeError, match="ColorJitter needs uint8.*float32"):
        ColorJitter()(SQUARE.astype(np.float32), np.random.default_rng(0))
    for make in (lambda: RandomHorizontalFlip(1.5), lambda: RandomVerticalFlip(-1), lambda: RandomCrop(-1),
                 lambda: RandomCrop(1.5), lambda: RandomCrop(1, 300), lambda: ColorJitter(2),
                 lambda: ColorJitter(0, -1), lambda: ColorJitter(float("nan"))):
        with pytest.raises(DataError, match="it must"):
            make()
