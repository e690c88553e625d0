"""Sums over some axes of a view: how reductions become kernel steps."""

from __future__ import annotations

from typing import Any

from .view import Arg, View, collapse, row_major

LOOPS = 3
# Not made from the thread count: the bits must not depend on it.
ENOUGH_ITEMS, MOST_SLABS, TERMS_PER_SLAB = 64, 16, 256


def sum_axes(ctx: Any, x: View, y: View, axes: set[int], scale: float = 1.0) -> None:
    """y = scale * sum of x over `axes`; y has the other axes of x in their order."""
    kept = [a for a in range(len(x.shape)) if a not in axes]
    inner, outer = x.transpose(sorted(axes)), x.transpose(kept)
    k_sizes, (ys, ks) = collapse(outer.shape, y, outer)
    r_sizes, (rs,) = collapse(inner.shape, inner)
    if max(len(k_sizes), len(r_sizes)) > LOOPS:
        order = (*kept, *sorted(axes))
        flat = ctx.temp(tuple(x.shape[a] for a in order), strides=row_major(tuple(x.shape[a] for a in order)))
        ctx.copy(x.transpose(order), flat)
        sum_axes(ctx, flat, y, set(range(len(kept), len(order))), scale)
        return
    items = outer.size // (k_sizes[-1] if k_sizes and ks[-1] == 1 else 1)
    slabs = max(1, min(MOST_SLABS, ENOUGH_ITEMS // items, inner.size // TERMS_PER_SLAB))
    dims = (*_pad(k_sizes, 1), *_pad(r_sizes, 1))
    strides = (*_pad(ks, 0), *_pad(rs, 0))
    if slabs == 1:
        ctx.emit("sum", 2 * x.size, x=Arg(x, strides), y=Arg(y, (0, *_pad(ys, 0))), dims=dims, slabs=1,
                 scale=scale)
        return
    size = outer.size
    partial = ctx.temp((slabs, size))
    packed = _pad(list(row_major(tuple(k_sizes))), 0)
    ctx.emit("sum", 2 * x.size, x=Arg(x, strides), y=Arg(partial, (size, *packed)), dims=dims, slabs=slabs,
             scale=1.0)
    ctx.emit("sum", 2 * partial.size, x=Arg(partial, (*packed, 0, 0, size)), y=Arg(y, (0, *_pad(ys, 0))),
             dims=(*_pad(k_sizes, 1), 1, 1, slabs), slabs=1, scale=scale)


def _pad(values: list[int], fill: int) -> tuple[int, ...]:
    return (fill,) * (LOOPS - len(values)) + tuple(values)
