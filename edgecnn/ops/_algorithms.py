"""The ways to compute each pass of a convolution, and the choice between them when a plan is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import _columns as columns
from . import _depthwise as depthwise
from . import _im2col as im2col
from . import _winograd as winograd
from ._convolution import (
    Forward,
    Geometry,
    backward_data_cost,
    direct_backward_data,
    direct_backward_weights,
    direct_forward,
    streamed,
)
from .view import View


@dataclass(frozen=True)
class Algorithm:
    """One way to compute a pass. Of the pass's views, `accepts` says whether it can, `cost` (with the context) how long it
    would take in FLOPs of a matrix product, `lower` (with the context) emits the steps."""

    name: str
    accepts: Callable[..., bool]
    cost: Callable[..., float]
    lower: Callable[..., None]


def always(*_: Any) -> bool:
    return True


def none(*_: Any) -> float:
    """The cost of what is best wherever it can be used."""
    return 0.0


def forward_cost(ctx: Any, f: Forward) -> float:
    return streamed(ctx, f.flops, 4 * f.w.size)


def backward_weights_cost(ctx: Any, x: View, dy: View, dw: View, geo: Geometry) -> float:
    return 2 * dy.size * dw.size // dy.shape[1]


def oracle(*_: Any) -> float:
    """The cost of what is never best and checks the others."""
    return float("inf")


def both(accepts: Callable[..., bool], cost: Callable[..., float], lower: Callable[..., None]) -> list[Algorithm]:
    """Winograd's way with tiles of 4 x 4 and of 2 x 2 outputs."""
    return [Algorithm(f"winograd{m}", accepts, partial(cost, m=m), partial(lower, m=m)) for m in (4, 2)]


# Per pass; the cheapest that accepts is taken, the first of equals. The last accepts everything and is the oracle.
FORWARD = [
    Algorithm("depthwise", depthwise.accepts_forward, none, depthwise.depthwise_forward),
    *both(winograd.accepts_forward, winograd.forward_cost, winograd.winograd_forward),
    Algorithm("direct", always, forward_cost, direct_forward),
    Algorithm("im2col", always, oracle, im2col.im2col_forward)]
BACKWARD_DATA = [
    Algorithm("depthwise", depthwise.accepts_backward_data, none, depthwise.depthwise_backward_data),
    *both(winograd.accepts_backward_data, winograd.backward_data_cost, winograd.winograd_backward_data),
    Algorithm("direct", always, backward_data_cost, direct_backward_data),
    Algorithm("columns", columns.accepts, columns.cost, columns.backward_data),
    Algorithm("im2col", always, oracle, im2col.im2col_backward_data)]
BACKWARD_WEIGHTS = [
    Algorithm("depthwise", depthwise.accepts_backward_weights, none, depthwise.depthwise_backward_weights),
    *both(winograd.accepts_backward_weights, winograd.backward_weights_cost, winograd.winograd_backward_weights),
    Algorithm("direct", always, backward_weights_cost, direct_backward_weights),
    Algorithm("im2col", always, oracle, im2col.im2col_backward_weights)]


def choose(ctx: Any, algorithms: list[Algorithm], *views: Any) -> Algorithm:
    """The cheapest algorithm that accepts, or the one that the plan's option `convolution` names, if it accepts. Does not
    depend on the number of threads, for that would change bits."""
    forced = ctx.options.get("convolution")
    accepted = [a for a in algorithms if a.accepts(*views)]
    chosen = next((a for a in accepted if a.name == forced), None) or min(accepted, key=lambda a: a.cost(ctx, *views))
    ctx.algorithm = chosen.name
    return chosen
