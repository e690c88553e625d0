"""Views: how a value lies in memory. A layout is nothing but strides, so a transposed, sliced or padded value, a weight
with flipped taps, a branch of a concatenation are all views of some buffer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(eq=False)
class Buffer:
    """Memory of a program: part of the arena, a constant (data), or given at run time (external index)."""

    nbytes: int
    data: np.ndarray | None = None
    external: int | None = None
    first: int = -1  # steps of first and last use: the lifetime in the arena; -1 if never used
    last: int = -1
    lane: Any = None  # the base.Lane of all uses; None where others use it too
    offset: int = 0  # in the arena, bytes
    label: str = ""

    @property
    def used(self) -> bool:
        return self.first >= 0

    def used_at(self, step: int, lane: Any) -> None:
        self.lane = lane if lane == self.lane or not self.used else None
        self.first = min(self.first, step) if self.used else step
        self.last = max(self.last, step)


@dataclass(frozen=True)
class Arg:
    """A pointer argument of a kernel with the strides it asks for."""

    view: View
    strides: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """Elements buffer[offset + sum(i[k] * strides[k])] of logical shape; strides and offset count elements."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    dtype: str = "float32"
    extra: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def arg(self, *axes: int) -> Arg:
        """A pointer with the strides of these axes (an axis of size 1 counts as contiguous)."""
        return Arg(self, tuple(self.stride(a) for a in axes))

    def stride(self, axis: int) -> int:
        return 1 if self.shape[axis] == 1 and axis == 1 else self.strides[axis]

    @property
    def nhw(self) -> Arg:
        """Pointer and strides of images, rows, pixels: how image kernels want a channels-last view."""
        return self.arg(0, 2, 3)

    @property
    def is_image(self) -> bool:
        """Whether the channels of a pixel lie side by side."""
        return len(self.shape) == 4 and self.stride(1) == 1

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def transpose(self, axes) -> View:
        return replace(self, shape=tuple(self.shape[a] for a in axes), strides=tuple(self.strides[a] for a in axes))

    def slice(self, axis: int, start: int, stop: int, step: int = 1) -> View:
        """Elements start, start + step, ... before stop of one axis; a negative step flips it."""
        count = max(0, -((start - stop) // step))
        shape, strides = list(self.shape), list(self.strides)
        shape[axis], strides[axis] = count, self.strides[axis] * step
        return replace(self, shape=tuple(shape), strides=tuple(strides),
                       offset=self.offset + start * self.strides[axis])

    def expand(self, shape: tuple[int, ...]) -> View:
        """Broadcast to `shape`: missing and size-1 axes get stride 0."""
        lead = len(shape) - len(self.shape)
        strides = [0] * lead + [0 if mine == 1 and want != 1 else s
                                for mine, want, s in zip(self.shape, shape[lead:], self.strides, strict=True)]
        return replace(self, shape=shape, strides=tuple(strides))

    def reshape(self, shape: tuple[int, ...]) -> View | None:
        """The same elements, in logical row-major order, as another shape; None if no strides can say that."""
        if self.size == 0:
            return replace(self, shape=shape, strides=row_major(shape))
        dims = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        strides, i = [], 0
        merged: list[list[int]] = []  # runs of axes that behave as one: [size, stride of the innermost]
        for n, s in dims:
            if merged and merged[-1][1] == n * s:
                merged[-1] = [merged[-1][0] * n, s]
            else:
                merged.append([n, s])
        left = merged[0][0] if merged else 1
        for n in shape:
            if n == 1:
                strides.append(1)
                continue
            if left == 1 and i + 1 < len(merged):
                i += 1
                left = merged[i][0]
            if left % n:
                return None
            left //= n
            strides.append(left * merged[i][1])
        return replace(self, shape=shape, strides=tuple(strides)) if left == 1 and i >= len(merged) - 1 else None


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides without gaps, axis 1 innermost."""
    if len(shape) < 3:
        return row_major(shape)
    order = [0, *range(2, len(shape)), 1]
    inner = row_major(tuple(shape[a] for a in order))
    strides = [0] * len(shape)
    for axis, stride in zip(order, inner, strict=True):
        strides[axis] = stride
    return tuple(strides)


SAME_SETS = 512  # floats: pixels 2 KB apart, of which a convolution of stride 2 reads every other one
LINE = 16  # floats in a cache line


def pixel_pitch(channels: int) -> int:
    """Floats from one pixel to the next: a cache line more than the channels where else the pixels of a register tile would
    all lie in the same few sets of the L1 and push each other out (1x1, 14x14x1024 on Zen 4: 0.74 of the peak, so 0.98)."""
    return channels + LINE if channels % SAME_SETS == 0 else channels


def odd_lines(n: int) -> int:
    """n floats or a few more, an odd number of cache lines, as in kernels/tile.h."""
    return LINE * (-(-n // LINE) | 1)


def image_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of computed values: channels last, pixels a pitch apart if there are several."""
    several = len(shape) > 2 and np.prod(shape[2:]) > 1
    return channels_last((shape[0], pixel_pitch(shape[1]), *shape[2:]) if several else shape)


def extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last one."""
    return 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


def collapse(shape: tuple[int, ...], *views: View) -> tuple[list[int], list[list[int]]]:
    """Fewest loops that walk all views together: sizes, outermost first, and each view's strides.

    Views have the same logical shape; loops are ordered by the last view's strides (the output's)."""
    order = sorted((a for a in range(len(shape)) if shape[a] != 1), key=lambda a: -abs(views[-1].strides[a]))
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in views]
    for a in order:
        if sizes and all(s[-1] == v.strides[a] * shape[a] for s, v in zip(strides, views, strict=True)):
            sizes[-1] *= shape[a]
            for s, v in zip(strides, views, strict=True):
                s[-1] = v.strides[a]
        else:
            sizes.append(shape[a])
            for s, v in zip(strides, views, strict=True):
                s.append(v.strides[a])
    return sizes, strides
