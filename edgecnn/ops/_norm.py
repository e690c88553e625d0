"""Sums of squares: how norms and squared errors become kernel steps."""

from __future__ import annotations

from typing import Any

from ._reduce import sum_axes
from .view import View

# Not made from the thread count: the bits must not depend on it.
MOST_SLABS, TERMS_PER_SLAB = 16, 16384


def squared_distance(ctx: Any, x: View, y: View | None, out: View, scale: float = 1.0) -> None:
    """out (1,) = scale * sum of (x - y)^2, y = 0 if None; x and y lie alike and without gaps."""
    slabs = max(1, min(MOST_SLABS, x.size // TERMS_PER_SLAB))
    partial = ctx.temp((slabs,))
    ctx.emit("squared_distance", (4 if y else 2) * x.size, x=x, y=y, out=partial, n=x.size, slabs=slabs)
    sum_axes(ctx, partial, out, {0}, scale)
