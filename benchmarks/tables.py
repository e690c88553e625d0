"""Tables of what run.py has measured."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from networks import LATENCY_US, LEAST, MEAN, NETWORKS

Result = dict[str, Any]  # what run.measure returns
Line = dict[str, str]  # cells of a table by column


def all_tables(results: list[Result]) -> Iterator[str]:
    """The lines of every table for which there is a result."""
    inference = [r for r in results if r["task"] == "inference"]
    for batch in sorted({r["batch"] for r in inference}):
        mine = [r for r in inference if r["batch"] == batch]
        yield from _ratios(f"Inference against onnxruntime, batch {batch}, milliseconds", mine, "inference", batch)
    training = [r for r in results if r["task"] == "training"]
    if training:
        yield from _ratios("Training step (momentum SGD) against the better of PyTorch's layouts, milliseconds", training,
                           "training", 0)
        yield from _memory(training)
    latency = [r for r in results if r["network"] == "lenet5" and r["batch"] == 1 and r["task"] in LATENCY_US]
    if any(r["task"] == "library" for r in latency):
        yield from _latency(latency)


def speed_ratios(result: Result) -> list[float]:
    """Of each round: the time of the peer whose median is smallest / edgecnn's."""
    own, *peers = result["engines"].values()
    best = min(peers, key=lambda engine: statistics.median(engine["ms"]))
    return [b / a for a, b in zip(own["ms"], best["ms"], strict=True)]


def memory_ratio(result: Result) -> float:
    """Peak memory of the smallest peer's process / that of edgecnn's."""
    own, *peers = (engine["peak_mb"] for engine in result["engines"].values())
    return min(peers) / own


def geometric_means(results: list[Result]) -> list[dict[str, Any]]:
    """One entry for each kind, batch and number of threads that was measured; batch 0 where networks have their own."""
    groups: dict[tuple, list[float]] = {}
    for r in results:
        if r["task"] == "inference":
            groups.setdefault(("inference", r["batch"], r["threads"]), []).append(statistics.median(speed_ratios(r)))
        elif r["task"] == "training":
            groups.setdefault(("training", 0, r["threads"]), []).append(statistics.median(speed_ratios(r)))
            groups.setdefault(("memory", 0, r["threads"]), []).append(memory_ratio(r))
    return [{"kind": kind, "batch": batch, "threads": threads, "networks": len(values),
             "ratio": statistics.geometric_mean(values), "target": MEAN.get((kind, batch))}
            for (kind, batch, threads), values in groups.items()]


def _ratios(title: str, results: list[Result], kind: str, batch: int) -> Iterator[str]:
    lines = []
    for r in results:
        ratios, network = speed_ratios(r), NETWORKS[r["network"]]
        target = getattr(network, kind) if batch < 2 else None
        lines.append(_start(r, lambda engine: _milliseconds(engine["ms"])) | {
            "ratio": f"{statistics.median(ratios):.2f}", "min..max": f"{min(ratios):.2f}..{max(ratios):.2f}",
            **_bars(statistics.median(ratios), LEAST[kind], target)})
    yield from table(title, lines + _means(results, kind, batch))


def _memory(results: list[Result]) -> Iterator[str]:
    lines = [_start(r, lambda engine: f"{engine['peak_mb']:.0f}") | {"ratio": f"{memory_ratio(r):.2f}"}
             | _bars(memory_ratio(r), LEAST["memory"], MEAN["memory", 0]) for r in results]
    yield from table("Highest memory of the training process against the smaller of PyTorch's, MB of 10^6 bytes",
                      lines + _means(results, "memory", 0))


def _latency(results: list[Result]) -> Iterator[str]:
    lines = []
    for r in results:
        us, most = 1e3 * statistics.median(r["engines"]["edgecnn"]["ms"]), LATENCY_US[r["task"]]
        lines.append({"LeNet-5, batch 1": {"inference": "Python call", "library": "plan alone"}[r["task"]],
                      "threads": str(r["threads"]), "edgecnn": f"{us:.1f}",
                      "at most": f"{most} {'met' if us <= most else 'MISSED'}"})
    yield from table("Latency, microseconds; the bars are meant for AVX-512", lines)


def _start(result: Result, show: Callable[[dict[str, Any]], str]) -> Line:
    return {"network": NETWORKS[result["network"]].title, "batch": str(result["batch"]), "threads": str(result["threads"]),
            **{name: show(engine) for name, engine in result["engines"].items()}}


def _means(results: list[Result], kind: str, batch: int) -> list[Line]:
    return [{"network": "geometric mean", "threads": str(mean["threads"]), "ratio": f"{mean['ratio']:.2f}",
             **_bars(mean["ratio"], None, mean["target"])}
            for mean in geometric_means(results) if (mean["kind"], mean["batch"]) == (kind, batch) and mean["networks"] > 1]


def _bars(ratio: float, least: float | None, target: float | None) -> Line:
    return {name: "" if bar is None else f"{bar:g} {'met' if ratio >= bar else 'MISSED'}"
            for name, bar in (("at least", least), ("target", target))}


def _milliseconds(values: list[float]) -> str:
    """The median and half the spread in percent."""
    median = statistics.median(values)
    return f"{median:.4g} ±{50 * (max(values) - min(values)) / median:.0f}%"


def table(title: str, lines: list[Line]) -> Iterator[str]:
    """As Markdown, so that it can be copied into a page."""
    header = list(lines[0])
    rows = [header, *([line.get(name, "") for name in header] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    yield f"\n{title}\n"
    for row in rows:
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
