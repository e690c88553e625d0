"""The three passes of a 3x3 convolution of stride 1 by Winograd's minimal filtering (kernels/winograd.c), with what each is
expected to cost next to the direct way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ._convolution import Forward, Geometry, flip, memory_flops, pack_bias, pack_weights, streamed, weights_block
from .view import View, odd_lines

GATHER_FLOPS = {4: 420, 2: 150}  # per tile and channel: one input transform, in products that would take as long
TRANSFORMED_BYTES = 16 << 20  # of weights at a time, if they are transformed at each run
SCATTER_FLOPS = {4: 340, 2: 110}  # the same of an output transform


def accepts_forward(f: Forward) -> bool:
    return suits(f.w.shape[0], f.w.shape[3:], f.geometry) and f.x.is_image and f.y.is_image


def suits(groups: int, kernel: tuple[int, ...], geo: Geometry) -> bool:
    """Whether convolutions of this kind can be computed so."""
    return groups == 1 and kernel == (3, 3) and geo.stride == geo.dilation == (1, 1)


def accepts_backward_data(dy: View, w: View, dx: View, geo: Geometry) -> bool:
    return geo.stride == (1, 1) and accepts_forward(flip(dy, w, dx, geo))


def accepts_backward_weights(x: View, dy: View, dw: View, geo: Geometry) -> bool:
    return accepts_forward(Forward(x, dw, None, None, dy, geo))


def frequencies(m: int) -> int:
    return (m + 2) ** 2


def count_tiles(m: int, y: View) -> int:
    n, _, oh, ow = y.shape
    return n * -(-oh // m) * -(-ow // m)


def forward_cost(ctx: Any, f: Forward, m: int) -> float:
    """In FLOPs that a matrix product would do in the same time. The transformed weights, (m+2)^2 / 9 times as many, come
    from memory, and again from a nearer cache for each further block of tiles if the L2 cannot hold them."""
    _, oc, c, _, _ = f.w.shape
    tiles, weights = count_tiles(m, f.y), frequencies(m) * oc * c
    blocks = -(-tiles // tiles_per_block(ctx, m, c, oc, tiles))
    reads = 4 * weights * ((1 + blocks) / 2 if 4 * weights > 2 * ctx.isa["x_block_bytes"] else 1)
    made = 0 if ctx.is_constant(f.w) else memory_flops(ctx, 4 * weights)
    return (tiles * (c * GATHER_FLOPS[m] + oc * SCATTER_FLOPS[m]) + made + streamed(ctx, 2 * tiles * weights, reads))


def backward_data_cost(ctx: Any, dy: View, w: View, dx: View, geo: Geometry, m: int) -> float:
    return forward_cost(ctx, flip(dy, w, dx, geo), m)


def backward_weights_cost(ctx: Any, x: View, dy: View, dw: View, geo: Geometry, m: int) -> float:
    _, oc, c, _, _ = dw.shape
    tiles = count_tiles(m, dy)
    channels, panels = weights_block(ctx, c, oc, 1.5 * ctx.isa["x_block_bytes"] / frequencies(m))
    of_x, of_dy = -(-oc // (panels * ctx.isa["nr"])), -(-c // channels)  # how often each is transformed
    transforms = tiles * (c * GATHER_FLOPS[m] * of_x + oc * SCATTER_FLOPS[m] * of_dy)
    return transforms + 2 * tiles * frequencies(m) * oc * c


def padded(ctx: Any, c: int) -> int:
    """Floats from one tile's channels to the next one's."""
    return -(-c // ctx.isa["lanes"]) * ctx.isa["lanes"] + 16


def tiles_per_block(ctx: Any, m: int, c: int, oc: int, total: int) -> int:
    """So many tiles that their transforms fill half of a core's L2, or three quarters if it cannot hold the weights anyway;
    in blocks of nearly equal size."""
    per_tile = 4 * frequencies(m) * (padded(ctx, c) + ctx.isa["nr"])
    quarters = 2 if 4 * frequencies(m) * c * oc <= 2 * ctx.isa["x_block_bytes"] else 3
    limit = max(ctx.isa["mr"], quarters * ctx.isa["x_block_bytes"] // per_tile)
    return -(-total // -(-total // limit))


def transform_weights(ctx: Any, m: int, w: View) -> View:
    """Once if the weights are constant; then what they were packed into is not kept."""
    _, oc, c, _, _ = w.shape
    size = frequencies(m) * -(-oc // ctx.isa["nr"]) * ctx.isa["nr"] * (c + 1)

    def write(u: View, once: bool) -> None:
        ctx.emit("winograd_weights", 4 * size, once=once, packed=pack_weights(ctx, w), u=u, m=m, OC=oc, C=c)

    return ctx.prepare(w, ("winograd", m), size, write)


def winograd_forward(ctx: Any, f: Forward, m: int) -> None:
    for part in output_blocks(ctx, f, m):
        emit_forward(ctx, part, m)


def output_blocks(ctx: Any, f: Forward, m: int) -> Iterator[Forward]:
    """The same convolution for blocks of output channels, where weights that are transformed at each run would take much
    memory at once: a training step of ResNet-50 needs most at its last such layer."""
    _, oc, c, _, _ = f.w.shape
    nr = ctx.isa["nr"]
    blocks = 1 if ctx.is_constant(f.w) else -(-4 * frequencies(m) * oc * c // TRANSFORMED_BYTES)
    step = -(-oc // blocks // nr) * nr
    for first in range(0, oc, step):
        last = min(oc, first + step)
        yield replace(f, w=f.w.slice(1, first, last), y=f.y.slice(1, first, last), b=f.b and f.b.slice(0, first, last),
                      r=f.r and f.r.slice(1, first, last))


def emit_forward(ctx: Any, f: Forward, m: int) -> None:
    x, y, r = f.x, f.y, f.r
    _, oc, c, _, _ = f.w.shape
    total, panels = count_tiles(m, y), -(-oc // ctx.isa["nr"])
    tiles = tiles_per_block(ctx, m, c, oc, total)
    shares = ctx.threads if -(-total // tiles) % ctx.threads and panels >= ctx.threads else 1
    ws_thread = padded(ctx, c) + frequencies(m) * (odd_lines(tiles * padded(ctx, c)) + odd_lines(tiles * ctx.isa["nr"]))
    ctx.emit(
        "winograd_forward", 2 * total * frequencies(m) * oc * c, x=x.nhw, u=transform_weights(ctx, m, f.w),
        b=pack_bias(ctx, f.b, 1), r=r.nhw if r is not None else None, y=y.nhw, ws=ctx.temp((ws_thread * ctx.threads,)), m=m,
        N=x.shape[0], C=c, H=x.shape[2], W=x.shape[3], OC=oc, OH=y.shape[2], OW=y.shape[3], pad=f.geometry.pad, lo=f.lo,
        hi=f.hi, tiles=tiles, panels=-(-panels // shares), ws_thread=ws_thread)


def winograd_backward_data(ctx: Any, dy: View, w: View, dx: View, geo: Geometry, m: int) -> None:
    winograd_forward(ctx, flip(dy, w, dx, geo), m)


def winograd_backward_weights(ctx: Any, x: View, dy: View, dw: View, geo: Geometry, m: int) -> None:
    n, c, h, w = x.shape
    _, oc, oh, ow = dy.shape
    nr = ctx.isa["nr"]
    total = count_tiles(m, dy)
    channels, panels = weights_block(ctx, c, oc, 1.5 * ctx.isa["x_block_bytes"] / frequencies(m), threads=ctx.threads)
    tiles = tiles_per_block(ctx, m, channels + panels * nr, 0, total)
    v, g = padded(ctx, channels), padded(ctx, panels * nr)
    ws_thread = max(v, g) + frequencies(m) * (odd_lines(tiles * v) + odd_lines(tiles * g) + channels * panels * nr)
    packed = ctx.temp((-(-oc // nr) * nr * c * 9,))
    ctx.emit(
        "winograd_backward_weights", 2 * total * frequencies(m) * oc * c, x=x.nhw, dy=dy.nhw, dw=packed,
        ws=ctx.temp((ws_thread * ctx.threads,)), m=m, N=n, C=c, H=h, W=w, OC=oc, OH=oh, OW=ow, pad=geo.pad, tiles=tiles,
        channels=channels, panels=panels, ws_thread=ws_thread)
    ctx.emit("conv_unpack_weights", 2 * dw.size, packed=packed, w=dw.arg(0, 1, 2, 3, 4), OC=oc, C=c, KH=3, KW=3, groups=1)
