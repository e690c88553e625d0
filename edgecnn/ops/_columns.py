"""The data gradient of a convolution whose input has few channels: a matrix product computes what each output pixel gives to
all its taps, side by side, so that vectors are full; then they are summed where they fall (kernels/columns.c). Nothing is
computed for taps outside the picture, which direct_backward_data multiplies with zeros."""

from __future__ import annotations

from math import inf
from typing import Any

from ._convolution import Forward, Geometry, backward_data_cost, columns_to_fold, direct_forward, flip, fold_work
from .view import View, row_major

STEP = 2  # products that a core does in the time of one load and addition, or of one vector written and read
ADVANTAGE = 0.8  # of the direct way's work, from which on more steps pay


def accepts(dy: View, w: View, dx: View, geo: Geometry) -> bool:
    return w.shape[0] == 1 and geo.stride == geo.dilation == (1, 1) and dx.is_image


def cost(ctx: Any, dy: View, w: View, dx: View, geo: Geometry) -> float:
    """The direct way's, by the ratio of their vectors of products."""
    _, oc, c, kh, kw = w.shape
    lanes = ctx.isa["lanes"]
    if c >= lanes:
        return inf
    f = flip(dy, w, dx, geo)
    direct = dx.size // c * kh * oc * fold_work(ctx, f.w, f.geometry, columns_to_fold(ctx, f.w, f.geometry, f.y))
    vectors = -(-kh * kw * c // lanes)
    mine = dy.size * vectors + STEP * (dx.size // c * kh * kw + dy.size // oc * vectors)
    return backward_data_cost(ctx, dy, w, dx, geo) * mine / direct / ADVANTAGE


def backward_data(ctx: Any, dy: View, w: View, dx: View, geo: Geometry) -> None:
    """For so many images at a time that their columns stay in the cache."""
    _, oc, c, kh, kw = w.shape
    n, _, oh, ow = dy.shape
    taps = kh * kw * c

    def write(flat: View, once: bool) -> None:
        shape = (1, kh, kw, c, oc)
        ctx.copy(w.transpose((0, 3, 4, 2, 1)), View(flat.buffer, shape, row_major(shape), flat.offset), once)

    flat = ctx.prepare(w, "taps", taps * oc, write)
    shape = (1, taps, oc, 1, 1)
    weights = View(flat.buffer, shape, row_major(shape), flat.offset)
    step = max(1, ctx.threads * ctx.isa["x_block_bytes"] // (4 * oh * ow * taps))
    for first in range(0, n, step):
        images = dy.slice(0, first, min(n, first + step))
        columns = ctx.temp((images.shape[0], taps, oh, ow))
        direct_forward(ctx, Forward(images, weights, None, None, columns, Geometry()))
        part = dx.slice(0, first, first + images.shape[0])
        ctx.emit("sum_columns", 2 * columns.size, columns=columns, dx=part.nhw, N=images.shape[0], C=c, H=dx.shape[2],
                 W=dx.shape[3], OH=oh, OW=ow, KH=kh, KW=kw, pad=geo.pad)
