"""Views say the same as numpy's strides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from edgecnn.ops.view import Buffer, View, channels_last, collapse, row_major

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)


def as_array(view: View, memory: np.ndarray) -> np.ndarray:
    return as_strided(memory[view.offset:], view.shape, [s * memory.itemsize for s in view.strides])


def view_of(shape, strides):
    return View(Buffer(0), shape, strides)


@given(shapes, st.booleans(), st.data())
def test_reshape_keeps_the_logical_order_or_declines(shape, last, data):
    view = view_of(shape, channels_last(shape) if last else row_major(shape))
    memory = np.arange(view.size)
    factors = [f for n in shape for f in ([2, n // 2] if n == 4 else [n])]
    new, i = [], 0
    while i < len(factors):
        take = data.draw(st.integers(1, 3))
        new.append(int(np.prod(factors[i:i + take])))
        i += take
    reshaped = view.reshape(tuple(new))
    want = as_array(view, memory).reshape(new)
    if reshaped is not None:
        np.testing.assert_array_equal(as_array(reshaped, memory), want)
    elif not last:
        raise AssertionError("a row-major view can always be reshaped")


@given(shapes, st.data())
def test_slice_and_transpose(shape, data):
    view, memory = view_of(shape, channels_last(shape)), np.arange(int(np.prod(shape)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    step = data.draw(st.sampled_from([1, 2, -1, -2]))
    start, stop = (0, shape[axis]) if step > 0 else (shape[axis] - 1, -1)
    index = [slice(None)] * len(shape)
    index[axis] = slice(None, None, step)
    np.testing.assert_array_equal(as_array(view.slice(axis, start, stop, step), memory),
                                  as_array(view, memory)[tuple(index)])
    axes = data.draw(st.permutations(range(len(shape))))
    np.testing.assert_array_equal(as_array(view.transpose(axes), memory), as_array(view, memory).transpose(axes))


@given(shapes)
def test_collapse_walks_every_element(shape):
    a, b = view_of(shape, row_major(shape)), view_of(shape, channels_last(shape))
    sizes, (sa, sb) = collapse(shape, a, b)
    memory = np.arange(a.size)
    left = as_strided(memory, sizes, [s * 8 for s in sa]).ravel()
    right = as_strided(memory, sizes, [s * 8 for s in sb]).ravel()
    pairs = dict(zip(as_array(a, memory).ravel(), as_array(b, memory).ravel(), strict=True))
    assert dict(zip(left, right, strict=True)) == pairs and len(sizes) <= len(shape)


def test_dense_views_collapse_to_one_loop():
    v = view_of((2, 3, 4, 5), channels_last((2, 3, 4, 5)))
    assert collapse(v.shape, v, v)[0] == [120]
