"""How convolutions become kernel steps: the three passes over views, shared by every operator that convolves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ._reduce import sum_axes
from .view import View, odd_lines, pixel_pitch, row_major

INF = float("inf")


@dataclass(frozen=True)
class Geometry:
    """Of a convolution (kernels take two axes); pad is (top, left), what is needed at bottom and right follows from the
    output's size."""

    stride: tuple[int, ...] = (1, 1)
    pad: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)


@dataclass(frozen=True)
class Forward:
    """One forward pass y = clamp(conv(x, w) + b + r, lo, hi); all are views. x (N, C, H, W),
    w (groups, OC/groups, C/groups, KH, KW), b (OC,) or None, r like y or None, y (N, OC, OH, OW)."""

    x: View
    w: View
    b: View | None
    r: View | None
    y: View
    geometry: Geometry
    lo: float = -INF
    hi: float = INF

    @property
    def flops(self) -> int:  # of the sums as they are defined
        return 2 * self.y.size * self.w.size // self.y.shape[1]


def input_image(ctx: Any, value: str) -> View:
    """The input of a convolution. A picture of a few channels is taken as it lies: the kernel turns it while it copies
    the padded rows anyway."""
    view = ctx.input(value)
    return view if view.shape[1] <= 4 else ctx.image(value)


def needs_padding(x: View, w: View, y: View, geo: Geometry) -> bool:
    """Whether some tap of some output pixel falls outside the picture."""
    for axis in (0, 1):
        size, out, k = x.shape[2 + axis], y.shape[2 + axis], w.shape[axis - 2]
        first = -geo.pad[axis]
        last = first + (out - 1) * geo.stride[axis] + (k - 1) * geo.dilation[axis]
        if first < 0 or last >= size:
            return True
    return False


def flat_pixels(view: View | None) -> bool:
    """Whether all pixels of all images are one constant stride apart."""
    if view is None:
        return True
    n, _, h, w = view.shape
    sn, _, sh, sw = view.strides
    step = pixel_step(view)
    return (w == 1 or sw == step) and (h == 1 or sh == w * step) and (n == 1 or sn == h * w * step)


def pixel_step(view: View) -> int:
    """From one pixel to the next, be it in the row, in the next row or in the next image."""
    _, _, h, w = view.shape
    return view.strides[3] if w > 1 else view.strides[2] if h > 1 else view.strides[0]


def as_row(view: View) -> View:
    """All pixels of a view with flat_pixels as one row of one image."""
    n, c, h, w = view.shape
    return replace(view, shape=(1, c, 1, n * h * w), strides=(0, view.stride(1), 0, pixel_step(view)))


def split_groups(w: View, groups: int) -> View:
    """(OC, C/groups, KH, KW) -> (groups, OC/groups, C/groups, KH, KW)"""
    s0 = w.strides[0]
    per = w.shape[0] // groups
    return replace(w, shape=(groups, per, *w.shape[1:]), strides=(per * s0, *w.strides))


def pack_weights(ctx: Any, w: View) -> View:
    """Weights (groups, OC/groups, C/groups, KH, KW) as the direct kernel reads them; once if they are constant."""
    groups, ocg, cg, kh, kw = w.shape
    size = groups * -(-ocg // ctx.isa["nr"]) * ctx.isa["nr"] * cg * kh * kw

    def write(packed: View, once: bool) -> None:
        ctx.emit("conv_pack_weights", 2 * size, once=once, w=w.arg(0, 1, 2, 3, 4), packed=packed,
                 OC=groups * ocg, C=groups * cg, KH=kh, KW=kw, groups=groups)

    return ctx.prepare(w, "packed", size, write)


def pack_bias(ctx: Any, b: View | None, groups: int) -> View | None:
    """A bias padded to whole panels."""
    if b is None or (b.shape[0] // groups % ctx.isa["nr"] == 0 and b.strides[0] == 1):
        return b
    return pack_weights(ctx, split_groups(replace(b, shape=(*b.shape, 1, 1, 1), strides=(*b.strides, 1, 1, 1)), groups))


def memory_flops(ctx: Any, nbytes: float) -> float:
    """FLOPs of a matrix product that a core does while so much arrives from memory."""
    return ctx.isa["byte_flops"] * nbytes


def streamed(ctx: Any, flops: float, nbytes: float) -> float:
    """How long products take whose weights come from memory, in FLOPs: the longer of the two and half of what could at
    best be hidden behind it."""
    memory = memory_flops(ctx, nbytes)
    return max(flops, memory) + min(flops, memory) / 2


def columns_to_fold(ctx: Any, w: View, geo: Geometry, *outputs: View | None) -> int:
    """How many neighbouring output pixels to compute as one with as many times the channels: few channels would leave most
    of a vector empty, and in memory they are the same. 1 if that saves nothing. `outputs` are the values that have these
    pixels, one at least."""
    groups, oc = w.shape[:2]
    images = [v for v in outputs if v is not None]
    dense = all(v.strides[3] == oc and v.stride(1) == 1 for v in images)
    if groups > 1 or geo.dilation[1] > 1 or not dense:
        return 1
    counts = (n for n in range(1, max(1, ctx.isa["nr"] // oc) + 1) if images[0].shape[3] % n == 0)
    return min(counts, key=lambda n: fold_work(ctx, w, geo, n))


def fold_work(ctx: Any, w: View, geo: Geometry, columns: int) -> float:
    """Vectors of products per output pixel, tap row and input channel, if so many pixels are computed as one."""
    return -(-columns * w.shape[1] // ctx.isa["lanes"]) * (w.shape[4] + (columns - 1) * geo.stride[1]) / columns


def folded(v: View, columns: int) -> View:
    """A value with so many neighbouring pixels as one, whose channels lie side by side."""
    n, c, h, w = v.shape
    return replace(v, shape=(n, columns * c, h, w // columns), strides=(v.strides[0], 1, v.strides[2], columns * c))


def fold_columns(ctx: Any, f: Forward, columns: int) -> Forward:
    """The same convolution with `columns` output pixels as one: its weights are those of f once per column, each set
    shifted by the stride, with zeros around."""
    _, oc, c, kh, kw = f.w.shape
    stride = f.geometry.stride[1]
    shape = (1, columns * oc, c, kh, kw + (columns - 1) * stride)

    def shifted(flat: View) -> View:
        return replace(flat, shape=shape, strides=row_major(shape))

    def write_weights(flat: View, once: bool) -> None:
        if not once:
            ctx.fill(flat, 0.0)
        for i in range(columns):
            ctx.copy(f.w, shifted(flat).slice(1, i * oc, (i + 1) * oc).slice(4, i * stride, i * stride + kw), once)

    def write_bias(repeated: View, once: bool) -> None:
        for i in range(columns):
            ctx.copy(f.b, repeated.slice(0, i * oc, (i + 1) * oc), once)

    w = shifted(ctx.prepare(f.w, ("folded", columns, stride), math.prod(shape), write_weights))
    b = f.b and ctx.prepare(f.b, ("folded", columns), columns * oc, write_bias)

    r = folded(f.r, columns) if f.r is not None else None
    return replace(f, w=w, b=b, r=r, y=folded(f.y, columns), geometry=wider_stride(f.geometry, columns))


def wider_stride(geo: Geometry, columns: int) -> Geometry:
    return replace(geo, stride=(geo.stride[0], columns * geo.stride[1]))


def direct_forward(ctx: Any, f: Forward) -> None:
    """Implicit matrix product (kernels/convolution.c)."""
    columns = columns_to_fold(ctx, f.w, f.geometry, f.y, f.r)
    if columns > 1:
        f = fold_columns(ctx, f, columns)
    for part in channel_blocks(ctx, f):
        emit_direct(ctx, part)


def channel_blocks(ctx: Any, f: Forward) -> Iterator[Forward]:
    """The same convolution as sums over blocks of input channels, each on top of the one before. Where the weights do not
    stay in the L2 they are read once so, and the pixels of a block stay; blocks of pixels with all their channels would each
    read all weights."""
    room, c = ctx.isa["x_block_bytes"], f.x.shape[1]
    pixels = f.y.size // f.y.shape[1]
    read = min(f.x.size, pixels * math.prod(f.w.shape[3:]) * c)  # a stride leaves pixels out
    blocks = -(-4 * read // room)
    fits, sums = 4 * f.w.size <= 4 * room, 8 * f.y.size  # the weights in the L2; bytes of sums read and written per block
    if f.w.shape[0] > 1 or fits or blocks * sums > 4 * f.w.size:
        yield f
        return
    step = -(-c // blocks // 16) * 16
    for first in range(0, c, step):
        last = min(c, first + step)
        part = replace(f, x=f.x.slice(1, first, last), w=f.w.slice(2, first, last))
        if first:
            part = replace(part, b=None, r=f.y)
        if last < c:
            part = replace(part, lo=-INF, hi=INF)
        yield part


def emit_direct(ctx: Any, f: Forward) -> None:
    groups, ocg, cg, kh, kw = f.w.shape
    x, y, r, geo = f.x, f.y, f.r, f.geometry
    pack = needs_padding(x, f.w, y, geo) or not x.is_image
    if is_pointwise(x, f.w, y, geo) and not pack and flat_pixels(x) and flat_pixels(y) and flat_pixels(r):
        x, y, r = as_row(x), as_row(y), as_row(r) if r is not None else None
    elif is_product_of_images(x, f.w, y) and not pack:
        x, geo = images_in_a_row(x, geo)
        y, r = as_row(y), as_row(r) if r is not None else None
    blocks = forward_blocks(ctx, x, f.w, y, geo, pack)
    ctx.emit(
        "conv_direct", f.flops, x=x.arg(0, 2, 3, 1), w=pack_weights(ctx, f.w), b=pack_bias(ctx, f.b, groups),
        r=r.nhw if r is not None else None, y=y.nhw, ws=ctx.temp((blocks["ws_thread"] * ctx.threads,)) if pack else None,
        N=x.shape[0], C=groups * cg, H=x.shape[2], W=x.shape[3], OC=groups * ocg, OH=y.shape[2], OW=y.shape[3],
        KH=kh, KW=kw, stride=geo.stride, pad=geo.pad, dilation=geo.dilation, groups=groups, lo=f.lo, hi=f.hi, pack=pack,
        cold=is_cold(ctx, y), **blocks)


def is_cold(ctx: Any, *views: View) -> bool:
    """Whether some value is so large that a kernel should fetch its lines ahead, since no cache near the core holds them."""
    return any(4 * v.size > ctx.isa["x_block_bytes"] for v in views)


def is_pointwise(x: View, w: View, y: View, geo: Geometry) -> bool:
    """Whether output pixel i is a product of input pixel i and a matrix."""
    return w.shape[0] == 1 and w.shape[3:] == (1, 1) and geo.pad == (0, 0) and x.shape[2:] == y.shape[2:] and (
        geo.stride == (1, 1))


def is_product_of_images(x: View, w: View, y: View) -> bool:
    """Whether each of several images gives one output pixel: a fully connected layer on pictures, whose weights are to be
    read once for all. Images must be whole columns apart."""
    n, _, _, width = x.shape
    return n > 1 and w.shape[0] == 1 and y.shape[2:] == (1, 1) and width > 1 and x.strides[0] % x.strides[3] == 0


def images_in_a_row(x: View, geo: Geometry) -> tuple[View, Geometry]:
    """The images as one, whose row h goes on with row h of the next image; windows are as far apart as these."""
    n, c, h, w = x.shape
    step = x.strides[0] // x.strides[3]
    row = replace(x, shape=(1, c, h, (n - 1) * step + w), strides=(0, *x.strides[1:]))
    return row, replace(geo, stride=(geo.stride[0], step))


FEW_TILES = 3  # that share each panel of weights read from L2


def forward_blocks(ctx: Any, x: View, w: View, y: View, geo: Geometry, pack: bool) -> dict[str, int]:
    """How much of the output a work item takes: an input block that stays in L2, and enough items for the threads.

    Where the weights are the larger traffic, threads share the panels instead, so that each weight is read once."""
    n = x.shape[0]
    groups, ocg, cg, kh, kw = w.shape
    oh, ow = y.shape[2:]
    mr, threads = ctx.isa["mr"], ctx.threads
    panels = -(-ocg // ctx.isa["nr"])
    by_panel = threads > 1 and w.size > x.size and panels >= threads
    room = ctx.isa["x_block_bytes"]  # a quarter of the L2
    limit = room // (4 * cg)  # pixels
    if (kh, kw) == (1, 1) and 4 * w.size <= 2 * room:  # all channels of few pixels: memory writes lines that lie in a row
        limit = max(FEW_TILES * mr, room // 8 // (4 * (cg + groups * ocg)))
    elif 4 * w.size * 2 <= room:  # weights that stay in L2 too can be read often: keep the output there
        limit = room // (4 * (cg + groups * ocg))
    if limit < x.shape[2] * x.shape[3] <= 2 * limit:
        limit *= 2  # a whole picture, if it nearly fits: then the weights are read once
    rows = max(1, limit // (span(ow, kw, 1, geo) * geo.stride[0]))
    cols = ow
    if oh == 1:
        cols = max(mr, limit // geo.stride[1] // mr * mr)
    if not by_panel:
        wanted = -(-threads * 2 // (n * groups)) if threads > 1 else 1
        rows = min(rows, -(-oh // wanted))
        if oh == 1:
            cols = min(cols, -(-ow // wanted // mr) * mr)
    rows, cols = min(rows, oh), min(max(cols, 1), ow)
    shared = -(-panels // threads) if by_panel else panels
    if by_panel and n == 1 and panels % threads and oh * ow > mr:  # halves of panels: one thread would have one more
        shared = 1
        rows, cols = (1, min(cols, -(-ow // 2 // mr) * mr)) if oh == 1 else (min(rows, -(-oh // 2)), cols)
    if ow <= mr // 2 and 1 < rows < oh:
        rows -= rows % 2  # the kernel takes pairs of short rows
    return {"rows": rows, "cols": cols, "panels": shared,
            "ws_pixel": pixel_pitch(cg),
            "ws_thread": span(rows, kh, 0, geo) * span(cols, kw, 1, geo) * pixel_pitch(cg) if pack else 0}


def span(out: int, k: int, axis: int, geo: Geometry) -> int:
    """Input rows (axis 0) or columns (1) that `out` output ones read."""
    return (out - 1) * geo.stride[axis] + (k - 1) * geo.dilation[axis] + 1


def flip(dy: View, w: View, dx: View, geo: Geometry) -> Forward:
    """backward_data of stride 1 as a forward pass: of dy, with flipped taps and exchanged channels."""
    kh, kw = w.shape[3:]
    flipped = w.transpose((0, 2, 1, 3, 4)).slice(3, kh - 1, -1, -1).slice(4, kw - 1, -1, -1)
    pad = (kh - 1) * geo.dilation[0] - geo.pad[0], (kw - 1) * geo.dilation[1] - geo.pad[1]
    return Forward(dy, flipped, None, None, dx, Geometry((1, 1), pad, geo.dilation))


def direct_backward_data(ctx: Any, dy: View, w: View, dx: View, geo: Geometry) -> None:
    """dx as forward convolutions of dy with flipped taps and exchanged channels, one for each phase of the stride.

    Where dy has a single row or column its stride does not matter; that of the kernel's size gives each row of dx its own
    phase with a single tap, not a whole kernel of which all but one tap fall outside dy."""
    flat = flat_weights(w) if covers_picture(dy, w, dx, geo) else None
    if flat is not None:
        picture_backward_data(ctx, dy, flat, dx)
        return
    span_h, span_w = ((k - 1) * d + 1 for k, d in zip(w.shape[3:], geo.dilation, strict=True))
    geo = replace(geo, stride=(span_h if dy.shape[2] == 1 else geo.stride[0], span_w if dy.shape[3] == 1 else geo.stride[1]))
    weights = w.transpose((0, 2, 1, 3, 4))
    for pixels, rows, cols, sub in phases(ctx, w, dx, geo):
        part = weights.slice(3, *rows.taps).slice(4, *cols.taps)
        direct_forward(ctx, Forward(dy, part, None, None, pixels, sub))


def covers_picture(dy: View, w: View, dx: View, geo: Geometry) -> bool:
    """Whether the kernel lies on a picture of several pixels once, tap on pixel: a fully connected layer."""
    plain = w.shape[0] == 1 and geo.pad == (0, 0) and geo.dilation == (1, 1)
    return plain and dy.shape[2:] == (1, 1) and w.shape[3:] == dx.shape[2:] != (1, 1)


def flat_weights(w: View) -> View | None:
    """Weights of one group on their way back: all inputs, as they lie, as output channels of a pointwise convolution."""
    flat = w.reshape((1, w.shape[1], math.prod(w.shape[2:]), 1, 1))
    return flat and flat.transpose((0, 2, 1, 3, 4))


def picture_backward_data(ctx: Any, dy: View, w: View, dx: View) -> None:
    """One matrix product in the order of the weights, whose result is then turned; in blocks whose packed weights stay
    in the L2. w as flat_weights gives them."""
    _, size, oc, _, _ = w.shape
    flat = ctx.temp((dx.shape[0], size, 1, 1))
    step = max(ctx.isa["nr"], 2 * ctx.isa["x_block_bytes"] // (4 * oc) // ctx.isa["nr"] * ctx.isa["nr"])
    for first in range(0, size, step):
        last = min(size, first + step)
        direct_forward(ctx, Forward(dy, w.slice(1, first, last), None, None, flat.slice(1, first, last), Geometry()))
    ctx.copy(replace(flat, shape=dx.shape, strides=row_major(dx.shape)), dx)


def backward_data_cost(ctx: Any, dy: View, w: View, dx: View, geo: Geometry) -> float:
    return streamed(ctx, 2 * dy.size * w.size // dy.shape[1], 4 * w.size)


def phases(ctx: Any, w: View, dx: View, geo: Geometry) -> Iterator[tuple[View, Phase, Phase, Geometry]]:
    """The parts of dx that are forward convolutions of dy with stride 1: each with its own pixels, the taps that reach
    them and their geometry, so that no zero is inserted and nothing is added twice. Pixels that no tap reaches are
    filled with zeros."""
    for a in range(min(geo.stride[0], dx.shape[2])):
        for b in range(min(geo.stride[1], dx.shape[3])):
            pixels = dx.slice(2, a, dx.shape[2], geo.stride[0]).slice(3, b, dx.shape[3], geo.stride[1])
            rows, cols = phase(w.shape[3], a, 0, geo), phase(w.shape[4], b, 1, geo)
            if rows is None or cols is None:
                ctx.fill(pixels, 0.0)
            else:
                yield pixels, rows, cols, Geometry((1, 1), (rows.pad, cols.pad), (rows.dilation, cols.dilation))


@dataclass(frozen=True)
class Phase:
    """Of the input positions a, a + stride, ... along one axis: the kernel taps that reach them (first, stop, step;
    last tap first) and the geometry of the convolution of dy with those."""

    taps: tuple[int, int, int]
    pad: int
    dilation: int


def phase(k: int, a: int, axis: int, geo: Geometry) -> Phase | None:
    """None if no tap t has (a + pad - t * dilation) % stride == 0."""
    stride, pad, dilation = geo.stride[axis], geo.pad[axis], geo.dilation[axis]
    taps = [t for t in range(k) if (a + pad - t * dilation) % stride == 0]
    if not taps:
        return None
    step = taps[1] - taps[0] if len(taps) > 1 else stride
    return Phase((taps[-1], taps[0] - 1, -step), -((a + pad - taps[-1] * dilation) // stride),
                 step * dilation // stride)


PARTS = 4  # of a batch, with sums of their own where these are small: few tiles cannot be shared evenly by threads
FEW_CHANNELS = 128  # on one side of a 1x1 kernel: packing pixels for its gradient would take longer than what it saves
PIXELS_PER_BLOCK = 384  # of dy that one pass over the tiles of dw reads: amortises loading and storing the tiles


def strips(ctx: Any, pixels: int, channels: int, panels: int) -> int:
    """Floats of the packed strips of x and dy in conv_backward_weights. A strip of x is as wide as the tile is high, in
    whole vectors; each is an odd number of cache lines long."""
    mr, lanes = ctx.isa["mr"], ctx.isa["lanes"]
    return -(-channels // mr) * odd_lines(pixels * -(-mr // lanes) * lanes) + panels * odd_lines(pixels * ctx.isa["nr"])


def weights_block(ctx: Any, c: int, oc: int, nbytes: float, groups: int = 1, threads: int = 1) -> tuple[int, int]:
    """Input channels and panels of output channels of a nearly square block of dw of at most nbytes, if a tile is not
    larger; small enough to give each thread one."""
    nr, mr = ctx.isa["nr"], ctx.isa["mr"]
    side, panels = int((nbytes / 4) ** 0.5), -(-oc // nr)
    blocks = -(-panels // min(panels, max(1, side // nr)))
    channels = max(mr, min(c, side))
    channels = -(-c // -(-c // channels))
    while groups * blocks * -(-c // channels) < threads and channels > mr:
        channels = -(-channels // 2)
    return channels, -(-panels // blocks)


def direct_backward_weights(ctx: Any, x: View, dy: View, dw: View, geo: Geometry) -> None:
    """Outer products of input and output gradient pixels, accumulated in registers, then unpacked into dw, which looks
    like the weights of Forward."""
    columns = columns_to_fold(ctx, dw, geo, dy)
    if columns > 1:
        folded_backward_weights(ctx, x, dy, dw, geo, columns)
    else:
        emit_backward_weights(ctx, x, dy, dw, geo)


def folded_backward_weights(ctx: Any, x: View, dy: View, dw: View, geo: Geometry, columns: int) -> None:
    """The gradient of the weights of fold_columns; that of dw is the sum of what it says of each column, one set shifted
    against the next by the stride."""
    _, oc, c, kh, kw = dw.shape
    width = kw + (columns - 1) * geo.stride[1]
    wide = ctx.temp((1, columns * oc, c, kh, width), strides=row_major((1, columns * oc, c, kh, width)))
    emit_backward_weights(ctx, x, folded(dy, columns), wide, wider_stride(geo, columns))
    sets = replace(wide, shape=(columns, *dw.shape[1:]), strides=(oc * wide.strides[1] + geo.stride[1], *wide.strides[1:]))
    sum_axes(ctx, sets, replace(dw, shape=dw.shape[1:], strides=dw.strides[1:]), {0})


def emit_backward_weights(ctx: Any, x: View, dy: View, dw: View, geo: Geometry) -> None:
    groups, ocg, cg, kh, kw = dw.shape
    pack = needs_padding(x, dw, dy, geo) or not x.is_image
    if is_pointwise(x, dw, dy, geo) and not pack and flat_pixels(x) and flat_pixels(dy):
        x, dy = as_row(x), as_row(dy)
    n, c, h, width = x.shape
    oh, ow = dy.shape[2:]
    cols = min(ow, PIXELS_PER_BLOCK) if oh == 1 else ow
    rows = max(1, min(oh, PIXELS_PER_BLOCK // cols))
    images = max(1, min(n, PIXELS_PER_BLOCK // (oh * ow))) if rows == oh and cols == ow else 1
    ws_thread = images * span(rows, kh, 0, geo) * span(cols, kw, 1, geo) * cg if pack else 0
    nr, channels, panels = ctx.isa["nr"], 0, 0
    if (kh, kw) == (1, 1) and not pack:
        channels, panels = weights_block(ctx, cg, ocg, ctx.isa["x_block_bytes"] // 2, groups, ctx.threads)
        pack = n * oh > 1 or min(cg, ocg) > FEW_CHANNELS
        images, rows, cols = 1, 1, min(PIXELS_PER_BLOCK // (2 if pack else 4), n * oh * ow)  # that the L1 holds
        ws_thread = strips(ctx, cols, channels, panels) if pack else 0
    size = groups * -(-ocg // nr) * nr * cg * kh * kw
    parts = 1 if channels or 8 * PARTS * size > ctx.isa["x_block_bytes"] else min(n, PARTS)
    packed = ctx.temp((parts, size))
    ctx.emit(
        "conv_backward_weights", 2 * dy.size * cg * kh * kw, x=x.arg(0, 2, 3, 1), dy=dy.nhw, dw=packed,
        ws=ctx.temp((ws_thread * ctx.threads,)) if ws_thread else None, N=n, C=c, H=h, W=width, OC=groups * ocg, OH=oh,
        OW=ow, KH=kh, KW=kw, stride=geo.stride, pad=geo.pad, dilation=geo.dilation, groups=groups, pack=pack, images=images,
        rows=rows, cols=cols, channels=channels, panels=panels, parts=parts, ws_thread=ws_thread)
    if parts > 1:
        total = ctx.temp((size,))
        sum_axes(ctx, packed, total, {0})
        packed = total
    ctx.emit("conv_unpack_weights", 2 * dw.size, packed=packed, w=dw.arg(0, 1, 2, 3, 4), OC=groups * ocg, C=c, KH=kh,
             KW=kw, groups=groups)
