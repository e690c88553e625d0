import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.data import read_idx, read_idx_pair
from edgecnn.errors import DataError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
X = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
Y = np.array([3, 1, 4, 1, 5], np.uint8)


def encode(array):
    """Written from the format's description, independently of the reader."""
    code = CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + b"".join(struct.pack(">i", n) for n in array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@given(array=st.sampled_from(sorted(CODES)).flatmap(
    lambda code: hnp.arrays(code, hnp.array_shapes(max_dims=4, max_side=4))), packed=st.booleans())
def test_round_trip(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "x"
    path.write_bytes(gzip.compress(encode(array)) if packed else encode(array))
    got = read_idx(path)
    assert got.dtype == array.dtype and got.flags.writeable
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_pair(tmp_path, suffix):
    pack = gzip.compress if suffix else bytes
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(encode(X)))
    with pytest.raises(DataError, match="neither train-labels-idx1-ubyte nor"):
        read_idx_pair(tmp_path, "train")
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(encode(Y)))
    x, y = read_idx_pair(tmp_path, "train")
    assert x.shape == (5, 1, 4, 3) and x.dtype == np.uint8 and y.dtype == np.int64
    np.testing.assert_array_equal(x[:, 0], X)
    np.testing.assert_array_equal(y, Y)
    with pytest.raises(DataError, match="neither t10k-images-idx3-ubyte nor"):
        read_idx_pair(tmp_path, "t10k")


@pytest.mark.parametrize("x, y, match", [
    (X, Y[:4], "5 pictures"), (X[0], Y, "pictures must be"), (X, X, "5 pictures"),
    (X.astype("i4"), Y, "int32"), (X, Y.astype("f4"), "float32")])
def test_pair_that_does_not_fit(tmp_path, x, y, match):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(encode(x))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encode(y))
    with pytest.raises(DataError, match=match):
        read_idx_pair(tmp_path, "t10k")


GOOD = encode(X)
PACKED = gzip.compress(GOOD)


@pytest.mark.parametrize("content, match", [
    (b"", "cut off"), (GOOD[:3], "cut off"), (GOOD[:9], "cut off"), (GOOD[:-1], "cut off"),
    (GOOD + b"x", "goes on"), (b"\x89PNG....", "not an idx file"),
    (b"\x01" + GOOD[1:], "not an idx file"), (GOOD[:2] + b"\x0a" + GOOD[3:], "not an idx file"),
    (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "can hold at most 76"),
    (PACKED[:1], "cut off"), (PACKED[:15], "x: "), (PACKED[:-9], "x: "),
    (gzip.compress(GOOD[:-1]), "cut off"),
    (gzip.compress(GOOD + b"x"), "goes on"), (PACKED[:30] + b"\0\0\0" + PACKED[33:], "x: "),
    (PACKED[:-8] + bytes(8), "CRC"), (gzip.compress(GOOD[:4] + b"\x7f" * 12), "can hold at most"),
])
def test_damaged_files(tmp_path, content, match):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        read_idx(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value) and "again" in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_idx(tmp_path / "x")
    with pytest.raises(DataError, match="cannot read"):
        read_idx(tmp_path)


@given(st.binary(max_size=40))
def test_any_bytes_give_an_array_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.idx"
    for start in (b"", b"\0\0\x08", b"\x1f\x8b"):
        path.write_bytes(start + content)
        try:
            assert isinstance(read_idx(path), np.ndarray)
        except DataError:
            pass
