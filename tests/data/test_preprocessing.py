import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecnn.errors import DataError, DTypeError, EdgeCNNError, ModelError, ShapeError
from edgecnn.preprocessing import Preprocessing

PLAIN = Preprocessing(None, "RGB", (0, 0, 0), (1, 1, 1))
GRAY = Preprocessing(None, "GRAY", (0,), (1,))
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 7, 3), np.uint8)

numbers = st.floats(-1e6, 1e6)
scales = st.floats(0.01, 1e6) | st.floats(-1e6, -0.01)


@st.composite
def preprocessings(draw):
    order = draw(st.sampled_from(["RGB", "BGR", "GRAY"]))
    count = 1 if order == "GRAY" else 3
    size = draw(st.none() | st.tuples(st.integers(1, 40), st.integers(1, 40)))
    return Preprocessing(size, order, *(tuple(draw(st.lists(s, min_size=count, max_size=count)))
                                        for s in (numbers, scales)))


@given(preprocessings())
def test_json_round_trip(preprocessing):
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing
    assert set(json.loads(preprocessing.to_json())) == {"size", "channel_order", "mean", "scale"}


@given(preprocessings(), st.integers(1, 9), st.integers(1, 9))
def test_formula(preprocessing, height, width):
    picture = np.random.default_rng(height * 10 + width).integers(0, 256, (height, width, 3), np.uint8)
    x = preprocessing(picture)
    assert x.dtype == np.float32 and x.flags.c_contiguous
    assert x.shape == (preprocessing.channels, *(preprocessing.size or (height, width)))
    pixels = preprocessing.pixels(picture)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    for c in range(preprocessing.channels):
        expected = (pixels[c].astype(np.float64) - preprocessing.mean[c]) / preprocessing.scale[c]
        error = 1e-6 * (abs(preprocessing.mean[c]) + 255) / abs(preprocessing.scale[c])
        np.testing.assert_allclose(x[c], expected, rtol=1e-6, atol=error)


def test_hand_computed():
    x = Preprocessing(None, "RGB", (127, 127, 127), (128, 128, 128))(np.full((1, 1, 3), 255, np.uint8))
    assert x.tolist() == [[[1.0]], [[1.0]], [[1.0]]]
    x = Preprocessing(None, "BGR", (1, 2, 3), (1, 2, 4))(np.array([[[11, 22, 33]]], np.uint8))
    assert x.ravel().tolist() == [32.0, 10.0, 2.0]
    assert Preprocessing(None, "GRAY", (0,), (-1,))(np.array([[9]], np.uint8)).tolist() == [[[-9.0]]]


def test_channel_orders():
    rgb, bgr = PLAIN.pixels(PIXELS), Preprocessing(None, "BGR", (0, 0, 0), (1, 1, 1)).pixels(PIXELS)
    np.testing.assert_array_equal(rgb, PIXELS.transpose(2, 0, 1))
    np.testing.assert_array_equal(bgr, rgb[::-1])
    luma = PIXELS @ np.array([.299, .587, .114])
    assert np.abs(GRAY.pixels(PIXELS)[0] - luma).max() <= 1
    np.testing.assert_array_equal(PLAIN.pixels(PIXELS[:, :, 0]), np.repeat(PIXELS[None, :, :, 0], 3, 0))


def test_array_and_image_agree_and_input_is_untouched():
    picture, image = PIXELS.copy(), Image.fromarray(PIXELS)
    preprocessing = Preprocessing((4, 3), "RGB", (1, 2, 3), (4, 5, 6))
    np.testing.assert_array_equal(preprocessing(picture), preprocessing(image))
    np.testing.assert_array_equal(preprocessing(picture[:, ::-1]), preprocessing(picture[:, ::-1].copy()))
    assert (picture == PIXELS).all() and (np.asarray(image) == PIXELS).all()


def test_resize_takes_height_first_and_averages():
    assert Preprocessing((2, 5), "GRAY", (0,), (1,)).pixels(PIXELS).shape == (1, 2, 5)
    halves = np.zeros((8, 8), np.uint8)
    halves[:, 4:] = 200
    small = Preprocessing((2, 2), "GRAY", (0,), (1,)).pixels(halves)[0]
    assert (small[:, 0] < 60).all() and (small[:, 1] > 140).all()
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    assert np.abs(Preprocessing((8, 8), "GRAY", (0,), (1,))(stripes) - 127.5).max() < 6  # no aliasing


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK",
                                  "YCbCr", "HSV", "I;16", "I;16B", "I"])
@pytest.mark.parametrize("preprocessing", [PLAIN, GRAY])
def test_every_mode(mode, preprocessing):
    level = np.full((6, 6), 255, np.uint8)
    if mode.startswith("I"):
        image = Image.fromarray(np.full((6, 6), 65535, np.int32), "I") if mode == "I" else Image.frombytes(
            mode, (6, 6), b"\xff" * 72)
    else:
        image = Image.fromarray(level)
        for step in {"LA": ["LA"], "PA": ["P", "PA"], "RGBa": ["RGBA", "RGBa"],
                     "HSV": ["RGB", "HSV"], "YCbCr": ["RGB", "YCbCr"], "CMYK": ["RGB", "CMYK"],
                     "RGBA": ["RGBA"], "RGBX": ["RGB", "RGBX"]}.get(mode, [mode]):
            image = image.convert(step)
    assert image.mode == mode
    pixels = preprocessing.pixels(image)
    assert pixels.shape == (preprocessing.channels, 6, 6) and (pixels == 255).all()


def test_sixteen_bit_is_scaled_not_clipped():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    pixels = GRAY.pixels(Image.fromarray(values))
    assert pixels.ravel().tolist() == [0, 0, 1, 1, 128, 255]


def test_transparent_palette_gives_no_warning():
    image = Image.fromarray(PIXELS).convert("P")
    image.info["transparency"] = bytes(range(256))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PLAIN(image).shape == (3, 5, 7)


@pytest.mark.parametrize("values", [np.full((2, 2), 70000, np.int32), np.full((2, 2), -1, np.int32),
                                    np.full((2, 2), .5, np.float32)])
def test_unknown_range_is_refused(values):
    with pytest.raises(DataError, match="8.*16 bits"):
        PLAIN(Image.fromarray(values))


def test_mode_without_conversion_is_refused():
    with pytest.raises(DataError, match="mode La "):
        GRAY(Image.new("La", (2, 2)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, suffix, orientation):
    upright = np.zeros((32, 48), np.uint8)
    upright[:16, :16], upright[:16, 32:] = 250, 120  # top left bright, top right dim
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
              6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).convert("RGB").save(tmp_path / f"x.{suffix}", exif=exif, quality=95)
    with Image.open(tmp_path / f"x.{suffix}") as image:
        pixels = GRAY.pixels(image)[0].astype(int)
    assert pixels.shape == upright.shape and np.abs(pixels - upright).mean() < 3


def test_damaged_exif_is_ignored():
    image = Image.fromarray(PIXELS)
    image.info["exif"] = b"Exif\0\0garbage"
    np.testing.assert_array_equal(PLAIN.pixels(image), PIXELS.transpose(2, 0, 1))


@pytest.mark.parametrize("picture, error", [
    ("x.jpg", DTypeError), (None, DTypeError), (PIXELS.astype(np.float32), DTypeError),
    (PIXELS[None], ShapeError), (PIXELS[:, :, :2], ShapeError), (PIXELS[:0], ShapeError),
    (PIXELS[0, 0], ShapeError)])
def test_wrong_pictures(picture, error):
    with pytest.raises(error, match="picture"):
        PLAIN(picture)


def test_normalise_batch_and_wrong_channels():
    batch = RNG.integers(0, 256, (4, 3, 2, 2), np.uint8)
    preprocessing = Preprocessing(None, "RGB", (1, 2, 3), (4, 5, 6))
    np.testing.assert_array_equal(preprocessing.normalise(batch), [preprocessing.normalise(x) for x in batch])
    with pytest.raises(ShapeError, match="3, H, W"):
        preprocessing.normalise(batch[:, :1])


GOOD = {"size": [2, 3], "channel_order": "RGB", "mean": [1, 2, 3], "scale": [1, 1, 1]}


@pytest.mark.parametrize("change", [
    {"size": [2]}, {"size": [2, 3, 4]}, {"size": [0, 3]}, {"size": [2, -3]}, {"size": [2.0, 3]},
    {"size": [True, 3]}, {"size": "23"}, {"size": [10**9, 3]}, {"size": 5}, {"size": {"h": 1}},
    {"channel_order": "rgb"}, {"channel_order": None}, {"channel_order": []}, {"channel_order": "GRAY"},
    {"mean": [1, 2]}, {"mean": 1}, {"mean": None}, {"mean": ["1", "2", "3"]}, {"mean": "123"},
    {"mean": [float("nan"), 0, 0]}, {"mean": [1e300, 0, 0]}, {"mean": [10**400, 0, 0]},
    {"mean": [True, 0, 0]},
    {"scale": [0, 1, 1]}, {"scale": [float("inf"), 1, 1]}, {"scale": [1e-300, 1, 1]}, {"scale": [[1], 1, 1]},
    {"crop": 7}])
def test_malformed_values(change):
    with pytest.raises(ModelError, match=f"preprocessing: .*{next(iter(change))}|crop"):
        Preprocessing.from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "{}", '{"size": null}', "[" * 100000, None, 7,
                                  "1" * 5000])
def test_malformed_json(text):
    with pytest.raises(ModelError, match="preprocessing"):
        Preprocessing.from_json(text)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(sorted(GOOD)), inner, max_size=4), max_leaves=8))
def test_any_json_gives_a_value_or_a_model_error(values):
    try:
        Preprocessing.from_json(json.dumps(values))
    except EdgeCNNError as error:
        assert isinstance(error, ModelError)


@given(st.sampled_from(sorted(GOOD)),
       st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3)
       | st.lists(st.none() | st.floats() | st.integers(), max_size=4))
def test_any_entry_gives_a_value_or_a_model_error(key, value):
    try:
        Preprocessing.from_json(json.dumps(GOOD | {key: value}))
    except EdgeCNNError as error:
        assert isinstance(error, ModelError)
