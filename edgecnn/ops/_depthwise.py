"""The three passes of a depthwise convolution, one filter per channel (kernels/depthwise.c)."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from ._convolution import Forward, Geometry, is_cold, phases
from .base import ROWS_OF_THREAD
from .view import View, row_major

CHANNELS = 576  # of a work item: the columns that two strips of a 3x3 kernel share stay in L1
SLABS = 8  # partial sums of a weight gradient: how many threads can share a layer of few channels


def is_depthwise(w: View) -> bool:
    """Weights (groups, OC/groups, C/groups, KH, KW)."""
    return w.shape[1:3] == (1, 1)


def accepts_forward(f: Forward) -> bool:
    return is_depthwise(f.w)


def accepts_backward_data(dy: View, w: View, dx: View, geo: Geometry) -> bool:
    return is_depthwise(w)


def accepts_backward_weights(x: View, dy: View, dw: View, geo: Geometry) -> bool:
    return is_depthwise(dw)


def depthwise_forward(ctx: Any, f: Forward) -> None:
    b = f.b if f.b is None or f.b.strides[0] == 1 else ctx.copy(f.b, ctx.temp(f.b.shape))
    emit_forward(ctx, as_image(ctx, f.x), pack_taps(ctx, f.w), b, f.r, f.y, f.geometry, f.lo, f.hi)


def depthwise_backward_data(ctx: Any, dy: View, w: View, dx: View, geo: Geometry) -> None:
    """A forward pass of dy with flipped taps for each phase of the stride; see direct_backward_data."""
    dy, taps = as_image(ctx, dy), pack_taps(ctx, w)
    for pixels, rows, cols, sub in phases(ctx, w, dx, geo):
        emit_forward(ctx, dy, taps.slice(0, *rows.taps).slice(1, *cols.taps), None, None, pixels, sub)


def depthwise_backward_weights(ctx: Any, x: View, dy: View, dw: View, geo: Geometry) -> None:
    n, c, h, width = x.shape
    kh, kw = dw.shape[3:]
    channels = channel_block(ctx, c)
    count = min(n * dy.shape[2], -(-SLABS // -(-c // channels)))
    slabs = ctx.temp((count * kh * kw * c,))
    ctx.emit("depthwise_backward_weights", 2 * dy.size * kh * kw, x=as_image(ctx, x).nhw, dy=dy.nhw, dw=slabs,
             N=n, C=c, H=h, W=width, OH=dy.shape[2], OW=dy.shape[3], KH=kh, KW=kw, stride=geo.stride,
             pad=geo.pad, dilation=geo.dilation, cold=is_cold(ctx, x, dy), slabs=count, channels=channels)
    ctx.emit("depthwise_sum_slabs", 2 * slabs.size, slabs=slabs, dw=dw.arg(0, 3, 4), C=c, KH=kh, KW=kw,
             count=count)


def emit_forward(ctx: Any, x: View, taps: View, b: View | None, r: View | None, y: View, geo: Geometry,
                 lo: float = -inf, hi: float = inf) -> None:
    n, c, h, width = x.shape
    oh, ow = y.shape[2:]
    channels = channel_block(ctx, c)
    rows = oh
    if ctx.threads > 1 and n == 1 and oh < ROWS_OF_THREAD * ctx.threads:  # the panels of the convolution before
        channels = -(-c // ctx.isa["nr"] // ctx.threads) * ctx.isa["nr"]
    elif ctx.threads > 1:  # a few items for each thread
        rows = min(oh, max(1, n * -(-c // channels) * oh // (4 * ctx.threads)))
        rows = -(-oh // -(-oh // rows))  # blocks of about equal height
    ctx.emit("depthwise_forward", 2 * y.size * taps.shape[0] * taps.shape[1], x=x.nhw, w=taps.arg(0, 1), b=b,
             r=r and r.nhw, y=y.nhw, N=n, C=c, H=h, W=width, OH=oh, OW=ow, KH=taps.shape[0], KW=taps.shape[1],
             stride=geo.stride, pad=geo.pad, dilation=geo.dilation, lo=lo, hi=hi,
             cold=is_cold(ctx, x, y), rows=rows, channels=channels)


def channel_block(ctx: Any, c: int) -> int:
    """Channels of a work item: whole vectors, all blocks about equal."""
    lanes = ctx.isa["lanes"]
    return -(-c // -(-c // CHANNELS) // lanes) * lanes


def as_image(ctx: Any, x: View) -> View:
    return x if x.is_image else ctx.copy(x, ctx.temp(x.shape))


def pack_taps(ctx: Any, w: View) -> View:
    """Weights (C, 1, 1, KH, KW) as (KH, KW, C, 1, 1) without gaps; made once if they are constant."""
    w = w.transpose((3, 4, 0, 1, 2))

    def shaped(flat: View) -> View:
        return replace(flat, shape=w.shape, strides=row_major(w.shape))

    return shaped(ctx.prepare(w, "taps", w.size, lambda flat, once: ctx.copy(w, shaped(flat), once)))
