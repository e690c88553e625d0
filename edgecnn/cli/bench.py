"""edgecnn bench"""

from __future__ import annotations

import json
import time
from typing import Any

import click
import numpy as np

from ..config import chosen_isa, get_num_threads
from .workload import prepare, title, workload_options

PERCENTILES = (50, 90, 99)


@click.command()
@workload_options
@click.option("--warm-up", default=10, show_default=True, type=click.IntRange(0), help="Calls before the clock starts.")
@click.option("--runs", default=100, show_default=True, type=click.IntRange(1), help="Calls that are timed.")
def bench(warm_up: int, runs: int, as_json: bool, **options: Any) -> None:
    """Time the inference of MODEL: a file, or a network of edgecnn.models by its name.

    A call goes from array to array; the input is random.

    \b
    Example:
      edgecnn bench net.onnx --batch 16 --threads 2
      edgecnn bench mobilenet.onnx --size 96 --runs 500
    """
    net, inputs = prepare(**options)
    isa, threads = chosen_isa()[0], get_num_threads()
    times = 1e3 * time_calls(lambda: net.run(inputs), warm_up, runs)
    images = len(next(iter(inputs.values())))
    result = {"model": net.name, "inputs": {name: x.shape for name, x in inputs.items()}, "isa": isa, "threads": threads,
              "warm_up": warm_up, "runs": runs, "mean_ms": times.mean(),
              **{f"p{p}_ms": np.percentile(times, p) for p in PERCENTILES}, "images_per_s": 1e3 * images / times.mean()}
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(f"{title(net, inputs, isa, threads)}; {warm_up} + {runs} runs")
    columns = [("mean", result["mean_ms"]), *((f"P{p}", result[f"p{p}_ms"]) for p in PERCENTILES)]
    click.echo("  ".join(f"{name} {value:.4g} ms" for name, value in columns) + f"  {result['images_per_s']:.4g} images/s")


def time_calls(call: Any, warm_up: int, runs: int) -> np.ndarray:
    """Seconds of each of `runs` calls."""
    for _ in range(warm_up):
        call()
    marks = [time.perf_counter()]
    for _ in range(runs):
        call()
        marks.append(time.perf_counter())
    return np.diff(marks)
