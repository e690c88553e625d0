"""Speed and memory of edgecnn beside onnxruntime and PyTorch: `python -m benchmarks.run`.

Each engine runs in its own process (worker.py) and the engines of a row take turns, A B A B: a round is one
turn of each, its value the median call, its ratio peer / edgecnn. The table shows medians over the rounds.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.worker import CLASSES, INPUTS

HERE = Path(__file__).parent
SETTLE_S = 0.05  # thread pools spin for some milliseconds after their last call
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Row:
    """One line of work. Bars, at 1 thread: `most` in the row's unit, `ratio` against the first peer."""

    group: str
    task: str
    network: str
    batch: int
    peers: tuple[str, ...]
    most: float | None = None
    ratio: float | None = None

    @property
    def unit(self) -> str:
        return {"memory": "MB", "latency": "us"}.get(self.group, "ms")

    def __str__(self) -> str:
        kind = "memory" if self.group == "memory" else "time"
        return f"{self.network} {self.task} {kind}, batch {self.batch}"


ROWS = (
    Row("inference", "inference", "resnet50", 1, ("onnxruntime",), ratio=1.0),
    Row("inference", "inference", "resnet18", 1, ("onnxruntime",)),
    Row("training", "training", "resnet18", 8, ("torch", "torch_nchw"), ratio=1.0),
    Row("training", "training", "lenet5", 32, ("torch", "torch_nchw")),
    Row("latency", "inference", "lenet5", 1, ("onnxruntime",), most=25),
    Row("latency", "library", "lenet5", 1, (), most=15),
    Row("memory", "training", "resnet18", 8, ("torch", "torch_nchw"), most=400),
)


class WorkerError(Exception):
    """A worker process ended or answered nonsense; its own message is on standard error."""


class Worker:
    """An engine's process, warmed up, asleep unless asked. Use as a context manager."""

    def __init__(self, engine: str, row: Row, threads: int, model: Path):
        self.engine = engine
        command = [sys.executable, "-m", "benchmarks.worker", engine, row.task, row.network]
        command += [f"--threads={threads}", f"--batch={row.batch}", f"--model={model}"]
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, cwd=HERE.parent, env=environment, text=True, stdin=pipe, stdout=pipe
        )
        self.info = self.read()

    def read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the {self.engine} worker stopped with exit code {self.process.wait()}")
        return json.loads(line)

    def time_calls(self, count: int) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # read() reports a worker that has died
            self.process.stdin.write(f"go {count}\n")
            self.process.stdin.flush()
        return self.read()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def check_same_work(row: Row, workers: list[Worker]) -> None:
    """Engines of a row must compute the same thing: the same output, or train a state of the same size."""
    first = workers[0].info
    for other in (w.info for w in workers[1:]):
        if row.task == "training":
            same = first["state_size"] == other["state_size"]
        else:
            pairs = list(zip(first["output"], other["output"], strict=True))
            largest = max(abs(b) for _, b in pairs)
            same = all(abs(a - b) <= 1e-3 * largest for a, b in pairs)
        if not same:
            raise WorkerError(f"{row}: the engines do not compute the same thing: {first} and {other}")


def measure(row: Row, threads: int, rounds: int, round_s: float, model: Path) -> dict[str, Any]:
    """Runs one row; per engine its version, one value per round in the row's unit, and its peak memory."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(e, row, threads, model)) for e in ("edgecnn", *row.peers)]
        check_same_work(row, workers)
        engines = {w.engine: {**w.info, "rounds": []} for w in workers}
        for _ in range(1 if row.group == "memory" else rounds):
            for worker in workers:
                count = min(5000, max(3, round(1e3 * round_s / worker.info["call_ms"])))
                time.sleep(SETTLE_S)
                answer = worker.time_calls(count)
                ms, peak_mb = statistics.median(answer["ms"]), answer["peak_mb"]
                value = {"ms": ms, "us": 1e3 * ms, "MB": peak_mb}[row.unit]
                engines[worker.engine]["rounds"].append(value)
                engines[worker.engine]["peak_mb"] = peak_mb
    return {**asdict(row), "unit": row.unit, "threads": threads, "engines": engines}


def bars(row: Row, result: dict[str, Any]) -> str:
    """What the row must reach at 1 thread, and whether it does."""
    checks = []
    if row.most is not None:
        value = statistics.median(result["engines"]["edgecnn"]["rounds"])
        checks.append((f"<= {row.most:g} {row.unit}", value <= row.most))
    if row.ratio is not None:
        ratio = statistics.median(ratios(result, row.peers[0]))
        checks.append((f"ratio >= {row.ratio:g}", ratio >= row.ratio))
    return ", ".join(f"{text} {'met' if met else 'MISSED'}" for text, met in checks)


def ratios(result: dict[str, Any], peer: str) -> list[float]:
    """peer / edgecnn for each round."""
    engines = result["engines"]
    return [b / a for a, b in zip(engines["edgecnn"]["rounds"], engines[peer]["rounds"], strict=True)]


def table_lines(row: Row, result: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line per peer; the bar stands on the first."""
    median = {name: statistics.median(engine["rounds"]) for name, engine in result["engines"].items()}
    bar = bars(row, result) if result["threads"] == 1 else ""
    lines = []
    for peer in row.peers:
        r = ratios(result, peer)
        cells = (f"{median[peer]:.1f}", f"{statistics.median(r):.2f}", f"{min(r):.2f}..{max(r):.2f}")
        lines.append((peer, *cells, bar if peer == row.peers[0] else ""))
    start = (str(row), str(result["threads"]), row.unit, f"{median['edgecnn']:.1f}")
    return [(*start, *line) for line in lines or [("", "", "", "", bar)]]


HEADER = ("what", "threads", "unit", "edgecnn", "peer", "value", "ratio", "min..max", "bar at 1 thread")


def print_table(lines: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(HEADER, *lines, strict=True)]
    for line in (HEADER, *lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def machine() -> dict[str, Any]:
    """The CPU, its cores, and what edgecnn chose to run on it."""
    import edgecnn as ec

    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith(("model name", "Model"))]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "edgecnn": ec.show_config(),
    }


def export(network: str, folder: Path) -> Path:
    """The network as edgecnn writes it to ONNX: every engine of an inference row runs this file."""
    import edgecnn as ec

    path = folder / f"{network}.onnx"
    if not path.exists():
        getattr(ec.models, network)(num_classes=CLASSES[network]).export_onnx(path)
    return path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 7")
    parser.add_argument("--only", choices=sorted({row.group for row in ROWS}))
    parser.add_argument("--network", choices=INPUTS)
    parser.add_argument("--task", choices=sorted({row.task for row in ROWS}))
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1, and 2 on two or more cores")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    return parser.parse_args()


def selected(args: argparse.Namespace) -> list[Row]:
    wanted = {"group": args.only, "network": args.network, "task": args.task}
    return [row for row in ROWS if all(v in (None, getattr(row, k)) for k, v in wanted.items())]


def main() -> int:
    args = parse_arguments()
    rounds, round_s = (3, 0.3) if args.quick else (7, 1.0)
    report: dict[str, Any] = {"machine": machine(), "rounds": rounds, "round_s": round_s, "results": []}
    table, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        for row in selected(args):
            for threads in args.threads or range(1, min(2, os.cpu_count() or 1) + 1):
                print(f"measuring {row}, threads {threads}", file=sys.stderr, flush=True)
                try:
                    result = measure(row, threads, rounds, round_s, export(row.network, Path(folder)))
                except WorkerError as error:
                    print(f"error: {error}", file=sys.stderr)
                    failed = True
                    continue
                report["results"].append(result)
                table += table_lines(row, result)
    versions = {name: engine["version"] for r in report["results"] for name, engine in r["engines"].items()}
    for name, value in (report["machine"] | {"versions": versions}).items():
        print(f"{name}: {value}")
    print_table(table)
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {args.out}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
