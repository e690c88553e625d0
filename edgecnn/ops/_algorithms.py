"""The ways to compute each pass of a convolution, and the choice between them when a plan is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._convolution import direct_backward_data, direct_backward_weights, direct_forward
from ._depthwise import (
    accepts_backward_data,
    accepts_backward_weights,
    accepts_forward,
    depthwise_backward_data,
    depthwise_backward_weights,
    depthwise_forward,
)
from ._im2col import im2col_backward_data, im2col_backward_weights, im2col_forward


@dataclass(frozen=True)
class Algorithm:
    """One way to compute a pass: `accepts` looks at the views, `lower` emits the steps."""

    name: str
    accepts: Callable[..., bool]
    lower: Callable[..., None]


def always(*_: Any) -> bool:
    return True


# Per pass, best first; the first that accepts is taken, and the last accepts everything.
FORWARD = [Algorithm("depthwise", accepts_forward, depthwise_forward),
           Algorithm("direct", always, direct_forward),
           Algorithm("im2col", always, im2col_forward)]
BACKWARD_DATA = [Algorithm("depthwise", accepts_backward_data, depthwise_backward_data),
                 Algorithm("direct", always, direct_backward_data),
                 Algorithm("im2col", always, im2col_backward_data)]
BACKWARD_WEIGHTS = [Algorithm("depthwise", accepts_backward_weights, depthwise_backward_weights),
                    Algorithm("direct", always, direct_backward_weights),
                    Algorithm("im2col", always, im2col_backward_weights)]


def choose(ctx: Any, algorithms: list[Algorithm], *views: Any) -> Algorithm:
    """The first algorithm that accepts, or the one that the plan's option `convolution` names, if it accepts."""
    forced = ctx.options.get("convolution")
    accepted = [a for a in algorithms if a.accepts(*views)]
    return next((a for a in accepted if a.name == forced), accepted[0])
