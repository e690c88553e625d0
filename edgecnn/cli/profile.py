"""edgecnn profile"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import click
import numpy as np

from ..errors import ModelError
from ..graph.profile import StepProfile, peak_flops
from ..graph.profile import profile as profile_plan
from ..model import Model
from ..optim import Momentum
from ..train import Trainer
from .workload import prepare, title, workload_options

HEADER = ("layer", "operator", "kernel", "algorithm", "time", "share", "GFLOP/s", "of peak", "MB", "GB/s")


@click.command()
@workload_options
@click.option("--train", is_flag=True, help="A training step (cross entropy, momentum) instead of inference.")
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1), help="Runs of which the median counts.")
@click.option("--top", type=click.IntRange(1), help="Show only the steps that take longest.")
def profile(train: bool, runs: int, top: int | None, as_json: bool, **options: Any) -> None:
    """Show where the time of MODEL goes: a file, or a network of edgecnn.models by its name.

    A line per step in the order of the program: time, share of all, GFLOP/s, share of the peak that this machine
    reaches in registers, MB read and written, GB/s. Steps that only move memory have no GFLOP/s. The file is not
    changed.

    \b
    Example:
      edgecnn profile net.onnx --threads 1
      edgecnn profile resnet18 --train --batch 8 --top 20
    """
    net, inputs = prepare(**options)
    if train:
        plan, steps = training_steps(net, inputs, runs)
    else:
        plan = net.plan({name: x.shape for name, x in inputs.items()})
        steps = profile_plan(plan, list(inputs.values()), runs)
    peak = peak_flops(plan.threads)
    if as_json:
        result = {"model": net.name, "inputs": {name: x.shape for name, x in inputs.items()}, "train": train,
                  "isa": plan.isa, "threads": plan.threads, "portions": plan.portions, "runs": runs, "peak_flops": peak,
                  "arena_bytes": plan.arena_bytes, "steps": [asdict(s) for s in steps]}
        click.echo(json.dumps(result, indent=2))
        return
    portions = f"in {plan.portions} portions, " if plan.portions > 1 else ""
    click.echo(title(net, inputs, plan.isa, plan.threads) + f"; {portions}peak {peak / 1e9:.0f} GFLOP/s, working memory "
               f"{plan.arena_bytes / 1e6:.1f} MB, median of {runs} runs")
    click.echo("\n".join(table(steps, peak, top)))


def training_steps(net: Model, inputs: dict[str, np.ndarray], runs: int) -> tuple[Any, list[StepProfile]]:
    x = next(iter(inputs.values()))
    scores = next(iter(net.outputs.values())).shape
    if len(scores) < 2 or not isinstance(scores[1], int):
        raise ModelError(f"{net.name}: --train needs a network with one score per class, its output has shape {scores}")
    labels = np.random.default_rng(1).integers(0, scores[1], len(x))
    return Trainer(net, Momentum(lr=1e-6)).profile(x, labels, runs)


def table(steps: list[StepProfile], peak: float, top: int | None) -> Iterable[str]:
    """The lines of the report: steps, total, and the same by kernel and algorithm."""
    total = sum(s.seconds for s in steps)
    shown = set(sorted(range(len(steps)), key=lambda i: -steps[i].seconds)[:top])
    rows = [(s.layer, s.op, s.kernel, s.algorithm, *_numbers([s], total, peak)) for i, s in enumerate(steps) if i in shown]
    kinds = _grouped(steps, lambda s: (s.kernel, s.algorithm))
    rows += [("total", f"{len(steps)} steps", "", "", *_numbers(steps, total, peak)), ("",) * len(HEADER)]
    rows += [("of which", f"{len(group)} steps", *kind, *_numbers(group, total, peak)) for kind, group in kinds]
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    for row in (HEADER, *rows):
        cells = [c.ljust(w) if i < 4 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()


def _grouped(steps: list[StepProfile], key: Callable[[StepProfile], tuple]) -> list[tuple[tuple, list[StepProfile]]]:
    """Steps by key, the one that takes longest first."""
    groups: dict[tuple, list[StepProfile]] = {}
    for step in steps:
        groups.setdefault(key(step), []).append(step)
    return sorted(groups.items(), key=lambda item: -sum(s.seconds for s in item[1]))


def _numbers(steps: list[StepProfile], total: float, peak: float) -> tuple[str, ...]:
    """Time, share, GFLOP/s, share of the peak, MB, GB/s of some steps together."""
    seconds = sum(s.seconds for s in steps)
    flops, moved = sum(s.flops for s in steps), sum(s.bytes for s in steps)
    rate = flops / max(seconds, 1e-9)
    speed = (f"{rate / 1e9:.1f}", f"{rate / peak:.0%}") if flops else ("", "")
    return (f"{1e6 * seconds:.1f} us", f"{seconds / max(total, 1e-9):.1%}", *speed, f"{moved / 1e6:.2f}",
            f"{moved / max(seconds, 1e-9) / 1e9:.1f}")
