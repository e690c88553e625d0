"""The three passes as im2col and a matrix product (kernels/im2col.c): slow, simple, takes everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from ._convolution import Forward, Geometry, as_row, flat_pixels
from .view import Arg, View, row_major

WORKSPACE = 1 << 22  # floats of a column matrix; a picture that needs more is done in blocks of rows


@dataclass(frozen=True)
class Block:
    """Rows [row, row + rows) of output image n."""

    n: int
    row: int
    rows: int

    def of(self, out: View) -> View:
        """That part of a value that looks like the output."""
        return out.slice(0, self.n, self.n + 1).slice(2, self.row, self.row + self.rows)


def blocks(out: View, w: View) -> Iterator[Block]:
    n, _, oh, ow = out.shape
    rows = min(oh, max(1, WORKSPACE // (ow * columns(w))))
    for i in range(n):
        for row in range(0, oh, rows):
            yield Block(i, row, min(rows, oh - row))


def columns(w: View) -> int:
    """Width of the column matrix, all groups side by side."""
    groups, _, cg, kh, kw = w.shape
    return groups * cg * kh * kw


def picture(x: View, w: View, out: View, geo: Geometry, block: Block) -> dict[str, Any]:
    """Arguments that im2col and col2im share."""
    _, c, h, width = x.shape
    pad = geo.pad[0] - block.row * geo.stride[0], geo.pad[1]
    return {"C": c, "H": h, "W": width, "OH": block.rows, "OW": out.shape[3], "KH": w.shape[3],
            "KW": w.shape[4], "stride": geo.stride, "pad": pad, "dilation": geo.dilation}


def image(x: View, n: int) -> Arg:
    """One image with the strides of channels, rows, pixels."""
    return x.slice(0, n, n + 1).arg(1, 2, 3)


def im2col(ctx: Any, x: View, w: View, out: View, geo: Geometry, block: Block) -> View:
    """(pixels of the block, groups * C/groups * KH * KW)"""
    col = ctx.temp((block.rows * out.shape[3], columns(w)))
    ctx.emit("im2col", 2 * col.size, x=image(x, block.n), col=col, **picture(x, w, out, geo, block))
    return col


def split_columns(col: View, groups: int) -> View:
    """(pixels, groups * k) -> (groups, pixels, k)"""
    pixels, width = col.shape
    return replace(col, shape=(groups, pixels, width // groups), strides=(width // groups, width, 1))


def pixel_matrix(out: View, groups: int) -> View:
    """Part of an output as (groups, pixels, OC/groups); its pixels are one stride apart."""
    row = as_row(out)
    assert row is not None
    per = row.shape[1] // groups
    step = row.stride(1)
    return replace(row, shape=(groups, row.shape[3], per), strides=(per * step, row.strides[3], step))


def flat(ctx: Any, view: View) -> View:
    return view if flat_pixels(view) else ctx.copy(view, ctx.temp(view.shape))


def gemm(ctx: Any, a: View, b: View, c: View, bias: View | None = None, r: View | None = None,
         lo: float = -inf, hi: float = inf) -> None:
    """c = clamp(a b + bias + r), batched: a (G, M, K), b (G, K, N), c and r (G, M, N), bias (G, N)."""
    g, m, k = a.shape
    n = b.shape[2]
    ctx.emit("gemm", 2 * g * m * n * k, a=Arg(a, a.strides), b=Arg(b, b.strides),
             bias=bias and Arg(bias, bias.strides), r=r and Arg(r, r.strides), c=Arg(c, c.strides),
             batch=g, M=m, N=n, K=k, lo=lo, hi=hi)


def matrix(ctx: Any, w: View, order: tuple[int, ...]) -> View:
    """Weights with their axes in another order, without gaps."""
    w = w.transpose(order)
    return ctx.copy(w, ctx.temp(w.shape, strides=row_major(w.shape)))


def im2col_forward(ctx: Any, f: Forward) -> None:
    groups, ocg, cg, kh, kw = f.w.shape
    k = cg * kh * kw
    w = replace(matrix(ctx, f.w, (0, 2, 3, 4, 1)), shape=(groups, k, ocg), strides=(k * ocg, ocg, 1))
    b = f.b and replace(f.b, shape=(groups, ocg), strides=(ocg * f.b.strides[0], f.b.strides[0]))
    for block in blocks(f.y, f.w):
        col = split_columns(im2col(ctx, f.x, f.w, f.y, f.geometry, block), groups)
        part = block.of(f.y)
        y = part if flat_pixels(part) else ctx.temp(part.shape)
        r = f.r and pixel_matrix(flat(ctx, block.of(f.r)), groups)
        gemm(ctx, col, w, pixel_matrix(y, groups), b, r, f.lo, f.hi)
        if y is not part:
            ctx.copy(y, part)


def im2col_backward_data(ctx: Any, dy: View, w: View, dx: View, geo: Geometry) -> None:
    groups, ocg, cg, kh, kw = w.shape
    k = cg * kh * kw
    wide = replace(matrix(ctx, w, (0, 1, 2, 3, 4)), shape=(groups, ocg, k), strides=(ocg * k, k, 1))
    for block in blocks(dy, w):
        part = flat(ctx, block.of(dy))
        dcol = ctx.temp((part.size // part.shape[1], columns(w)))
        gemm(ctx, pixel_matrix(part, groups), wide, split_columns(dcol, groups))
        ctx.emit("col2im", 2 * dcol.size, col=dcol, dx=image(dx, block.n), accumulate=block.row > 0,
                 **picture(dx, w, dy, geo, block))


def im2col_backward_weights(ctx: Any, x: View, dy: View, dw: View, geo: Geometry) -> None:
    groups, ocg, cg, kh, kw = dw.shape
    k = cg * kh * kw
    total = ctx.temp(dw.shape, strides=row_major(dw.shape))
    sums = replace(total, shape=(groups, ocg, k), strides=(ocg * k, k, 1))
    for i, block in enumerate(blocks(dy, dw)):
        col = split_columns(im2col(ctx, x, dw, dy, geo, block), groups)
        pixels = pixel_matrix(flat(ctx, block.of(dy)), groups)
        gemm(ctx, pixels.transpose((0, 2, 1)), col, sums, r=sums if i else None)
    ctx.copy(total, dw)
