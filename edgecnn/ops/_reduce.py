"""Reductions over some axes of a view: how they become kernel steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .view import Arg, View, collapse, row_major

LOOPS = 3
SHORT = 64  # terms of a line that is not worth being one
# Not made from the thread count: the bits must not depend on it.
ENOUGH_ITEMS, MOST_SLABS, TERMS_PER_SLAB = 64, 16, 256


JOINED_ALIKE = ("product", "maximum", "minimum")  # kernels that join the results of slabs too; of all others they are summed


def reduce_axes(ctx: Any, kernel: str, x: View, y: View, axes: set[int], scale: float = 1.0, z: View | None = None) -> None:
    """y = scale * reduction of x, or of a function of x and z, over `axes`; y has the other axes of x in their order. z has
    the shape of x or is broadcast to it; it is x if None."""
    kept = [a for a in range(len(x.shape)) if a not in axes]
    operands = [x, x if z is None else z.expand(x.shape)]
    inner, outer = ([v.transpose(order) for v in operands] for order in (sorted(axes), kept))
    k_sizes, (ys, zk, xk) = collapse(outer[0].shape, y, outer[1], outer[0])
    r_sizes, (zr, xr) = collapse(inner[0].shape, inner[1], inner[0])
    if max(len(k_sizes), len(r_sizes)) > LOOPS:
        order = (*kept, *sorted(axes))
        flat = [flat_copy(ctx, v.transpose(order)) for v in ([x] if z is None else operands)]
        reduce_axes(ctx, kernel, flat[0], y, set(range(len(kept), len(order))), scale, None if z is None else flat[1])
        return
    unit = next((a for a in axes if x.strides[a] == 1 and 1 < x.shape[a] < SHORT), None)
    if unit is not None and len(r_sizes) > 1:
        reduce_in_turn(ctx, kernel, x, y, axes, unit, scale, z)
        return
    size = outer[0].size
    items = size // (k_sizes[-1] if k_sizes and xk[-1] == 1 else 1)
    slabs = max(1, min(MOST_SLABS, ENOUGH_ITEMS // items, inner[0].size // TERMS_PER_SLAB))
    dims = (*_pad(k_sizes, 1), *_pad(r_sizes, 1))
    args = {"x": Arg(operands[0], (*_pad(xk, 0), *_pad(xr, 0))),
            "z": None if z is None else Arg(operands[1], (*_pad(zk, 0), *_pad(zr, 0)))}
    if slabs == 1:
        ctx.emit(kernel, 2 * x.size, **args, y=Arg(y, (0, *_pad(ys, 0))), dims=dims, slabs=1, scale=scale)
        return
    partial = ctx.temp((slabs, size))
    packed = _pad(list(row_major(tuple(k_sizes))), 0)
    ctx.emit(kernel, 2 * x.size, **args, y=Arg(partial, (size, *packed)), dims=dims, slabs=slabs, scale=1.0)
    ctx.emit(kernel if kernel in JOINED_ALIKE else "sum", 2 * partial.size, x=Arg(partial, (*packed, 0, 0, size)), z=None,
             y=Arg(y, (0, *_pad(ys, 0))), dims=(*_pad(k_sizes, 1), 1, 1, slabs), slabs=1, scale=scale)


def reduce_in_turn(ctx: Any, kernel: str, x: View, y: View, axes: set[int], unit: int, scale: float,
                   z: View | None) -> None:
    """As reduce_axes, the axis along which x is contiguous last: one short line after the other would be slow, and the
    others have its elements side by side (groups of channels)."""
    first = axes - {unit}
    kept = [a for a in range(len(x.shape)) if a not in first]
    partial = ctx.temp(tuple(x.shape[a] for a in kept), strides=packed_like(x, kept))
    if z is not None and z.expand(x.shape).strides[unit] == 0:
        wide = tuple(n if a in kept else m for a, (n, m) in enumerate(zip(x.shape, z.shape, strict=True)))
        z = ctx.copy(z.expand(wide), ctx.temp(wide, strides=packed_like(replace(x, shape=wide), range(len(wide)))))
    reduce_axes(ctx, kernel, x, partial, first, 1.0, z)
    reduce_axes(ctx, kernel if kernel in JOINED_ALIKE else "sum", partial, y, {kept.index(unit)}, scale)


def packed_like(x: View, axes: Sequence[int]) -> tuple[int, ...]:
    """Strides without gaps for these axes of x, in x's order of them."""
    step, strides = 1, {}
    for a in sorted(axes, key=lambda a: x.strides[a]):
        strides[a] = step
        step *= x.shape[a]
    return tuple(strides[a] for a in axes)


def sum_axes(ctx: Any, x: View, y: View, axes: set[int], scale: float = 1.0) -> None:
    """y = scale * sum of x over `axes`; y has the other axes of x in their order."""
    reduce_axes(ctx, "sum", x, y, axes, scale)


def flat_copy(ctx: Any, view: View) -> View:
    return ctx.copy(view, ctx.temp(view.shape, strides=row_major(view.shape)))


def _pad(values: list[int], fill: int) -> tuple[int, ...]:
    return (fill,) * (LOOPS - len(values)) + tuple(values)
