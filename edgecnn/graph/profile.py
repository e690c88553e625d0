"""Where the time of a plan goes: each step's time, operations and memory traffic, and the machine's peak beside them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..ops import Lane
from ..ops.view import Arg, View
from .ir import Graph
from .lowering import ITEM, KERNELS, Lowering, Step
from .plan import Plan

PEAK_STEPS, PEAK_ITEMS, PEAK_RUNS = 1 << 16, 16, 8  # some 10 ms a run, so that clocks and other programs settle


@dataclass(frozen=True)
class StepProfile:
    """One step of a plan, over all portions of the batch and all bands of rows (graph/bands.py).

    Attributes:
        layer: the node it was made for, by its name or its first output; "" for a copy of a result to the user's memory.
        op, kernel, algorithm: the node's operator, the kernel, and the algorithm where the operator has a choice.
        seconds: median over the runs.
        flops: floating-point operations of this algorithm (Winograd needs fewer than the direct convolution); 0 for a step
            that does little else than move memory.
        bytes: what it reads and writes outside its own workspace, every element once.
    """

    layer: str
    op: str
    kernel: str
    algorithm: str
    seconds: float
    flops: float
    bytes: int


def profile(plan: Plan, inputs: list[np.ndarray], runs: int = 20, warm_up: int = 3) -> list[StepProfile]:
    """The steps of a plan in program order, timed over some runs. A training plan makes a real step at each run."""
    times = np.zeros((runs, plan.copies, len(plan.steps)), np.int64)
    for _ in range(warm_up):
        plan.run(*inputs)
    for ns in times:
        plan.run(*inputs, ns=ns)
    medians = np.median(times.mean(axis=1), axis=0)  # copies run at the same time
    described = [_describe(step, float(t) / 1e9, plan.portions) for step, t in zip(plan.steps, medians, strict=True)]
    return list(_joined(plan.steps, described))


def _describe(step: Step, seconds: float, portions: int) -> StepProfile:
    node, traffic = step.node, traffic_bytes(step)
    flops = step.cost if step.cost > traffic / 2 else 0  # the cost is the larger of FLOPs and half the bytes
    return StepProfile(node.name or node.outputs[0] if node else "", node.op if node else "", step.kernel, step.algorithm,
                       seconds, portions * flops, portions * traffic)


def _joined(steps: list[Step], described: list[StepProfile]) -> Iterator[StepProfile]:
    """The bands of a node as one step, in the time that the threads need for them together."""
    lanes: dict[int, set[Lane]] = {}
    groups: dict[tuple, list[StepProfile]] = {}
    for i, (step, one) in enumerate(zip(steps, described, strict=True)):
        if step.lane and step.lane.section:
            lanes.setdefault(step.lane.section, set()).add(step.lane)
            key: tuple = (step.lane.section, one.layer, one.op, one.kernel, one.algorithm)
        else:
            key = (i,)
        groups.setdefault(key, []).append(one)
    for key, group in groups.items():
        threads = len(lanes[key[0]]) if len(key) > 1 else 1
        yield replace(group[0], seconds=sum(s.seconds for s in group) / threads, flops=sum(s.flops for s in group),
                      bytes=sum(s.bytes for s in group))


def traffic_bytes(step: Step) -> int:
    """Bytes of all buffer arguments; one that is read and written counts twice, one that only this step uses not at all."""
    total = 0
    for field in KERNELS[step.kernel][1]:
        value = step.args[field.name] if field.kind in "<>=" else None
        view = value.view if isinstance(value, Arg) else value
        if view is not None and not _is_workspace(view):
            elements = np.prod([n for n, s in zip(view.shape, view.strides, strict=True) if s], dtype=np.int64)
            total += int(elements) * ITEM[view.dtype] * (2 if field.kind == "=" else 1)
    return total


def _is_workspace(view: View) -> bool:
    buffer = view.buffer
    return buffer.data is None and buffer.external is None and buffer.first == buffer.last


def peak_flops(threads: int) -> float:
    """Floating-point operations per second of multiply-adds in registers, on this many threads: the best of some runs."""
    lowering = Lowering(Graph(), threads)
    items = PEAK_ITEMS * threads
    flops = 2 * lowering.isa["mr"] * lowering.isa["nr"] * PEAK_STEPS * items
    y = lowering.constant(np.zeros((items, lowering.isa["nr"]), np.float32))
    lowering.emit("fma_peak", flops, y=y, items=items, steps=PEAK_STEPS, rate=1e-9)
    program = lowering.program(lowering.steps, 0)
    seconds = []
    for _ in range(PEAK_RUNS):
        start = time.perf_counter()
        program.run([], threads)
        seconds.append(time.perf_counter() - start)
    return flops / min(seconds)
