"""Speed and memory of edgecnn beside onnxruntime and PyTorch.

    python benchmarks/run.py                                        # every table; writes results.json
    python benchmarks/run.py --inference resnet18 --threads 1 --rounds 3
    python benchmarks/run.py --training --quick

Each engine runs in its own process (worker.py) and the engines of a row take turns, A B A B: a round is one turn of
each, its value the median call, its ratio peer / edgecnn. The tables show medians over the rounds.
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

import tables
from networks import NETWORKS, TRAINED, build

HERE = Path(__file__).parent
SETTLE_S = 0.05  # thread pools spin for some milliseconds after their last call
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PEERS = {"inference": ("onnxruntime",), "training": ("torch_channels_last", "torch_nchw"), "library": ()}


@dataclass(frozen=True)
class Row:
    """One line of work; task is inference, training or library (the compiled plan alone)."""

    task: str
    network: str
    batch: int
    threads: int

    def __str__(self) -> str:
        return f"{self.network} {self.task}, batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class WorkerError(Exception):
    """A worker process ended or answered nonsense; its own message is on standard error."""


class Worker:
    """An engine's process, warmed up, asleep unless asked. Use as a context manager."""

    def __init__(self, engine: str, row: Row, model: Path | None):
        self.engine = engine
        command = [sys.executable, str(HERE / "worker.py"), engine, row.task, row.network]
        command += [f"--threads={row.threads}", f"--batch={row.batch}", *([f"--model={model}"] if model else [])]
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        environment |= dict.fromkeys(THREAD_VARIABLES, str(row.threads))
        self.process = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
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
    """Engines of a row must compute the same thing: the same output, or train as many parameters."""
    first = workers[0].info
    for other in workers[1:]:
        if row.task == "training":
            same = first["parameters"] == other.info["parameters"]
            what = f"{first['parameters']} and {other.info['parameters']} parameters"
        else:
            largest = max(map(abs, other.info["output"]))
            worst = max(abs(a - b) for a, b in zip(first["output"], other.info["output"], strict=True))
            same, what = worst <= 1e-3 * largest, f"outputs differ by {worst:g}, the largest is {largest:g}"
        if not same:
            raise WorkerError(f"{row}: edgecnn and {other.engine} do not compute the same thing: {what}")


def measure(row: Row, rounds: int, round_s: float, model: Path | None) -> dict[str, Any]:
    """Runs one row; per engine its version, the median milliseconds of each round, and its peak memory."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(e, row, model)) for e in ("edgecnn", *PEERS[row.task])]
        check_same_work(row, workers)
        engines = {w.engine: {"version": w.info["version"], "ms": [], "peak_mb": 0.0} for w in workers}
        for _ in range(rounds):
            for worker in workers:
                count = min(5000, max(2, round(1e3 * round_s / worker.info["call_ms"])))
                time.sleep(SETTLE_S)
                answer = worker.time_calls(count)
                engines[worker.engine]["ms"].append(statistics.median(answer["ms"]))
                engines[worker.engine]["peak_mb"] = answer["peak_mb"]
    return {**asdict(row), "engines": engines}


def machine() -> dict[str, Any]:
    """The CPU, its cores, how busy they are, and what edgecnn runs on them."""
    from edgecnn.config import chosen_isa
    from edgecnn.graph.profile import peak_flops

    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith(("model name", "Model"))]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "isa": chosen_isa()[0],
        "peak_gflops_1_thread": round(peak_flops(1) / 1e9, 1),
        "load": os.getloadavg()[0],
    }


def export(network: str, folder: Path) -> Path:
    """The network as edgecnn writes it to ONNX: every engine of an inference row runs this file."""
    path = folder / f"{network}.onnx"
    if not path.exists():
        build(network).export_onnx(path)
    return path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inference", nargs="*", choices=NETWORKS, help="these networks, or all; against onnxruntime")
    parser.add_argument("--training", nargs="*", choices=TRAINED, help="these networks, or all; against PyTorch")
    parser.add_argument("--latency", action="store_true", help="LeNet-5 at batch 1, the Python call and the plan alone")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="of inference; default: 1 16")
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1, and 2 on two or more cores")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of an engine's turn; default: 1")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.3 seconds")
    parser.add_argument("--out", type=Path, help="where to write JSON; default: results.json here if every table is run")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 3, 0.3
    if min([args.rounds, *args.batch, *(args.threads or [1])]) < 1:
        parser.error("rounds, batches and threads must be at least 1")
    if args.inference is None and args.training is None and not args.latency:
        args.inference, args.training, args.latency = [], [], True
        args.out = args.out or HERE / "results.json"
    return args


def rows(args: argparse.Namespace) -> list[Row]:
    threads = args.threads or range(1, min(2, os.cpu_count() or 1) + 1)
    found = []
    if args.inference is not None:
        found += [Row("inference", n, b, t) for b in args.batch for n in args.inference or NETWORKS for t in threads]
    if args.training is not None:
        found += [Row("training", n, NETWORKS[n].training_batch, t) for n in args.training or TRAINED for t in threads]
    if args.latency:
        found += [Row(task, "lenet5", 1, t) for task in ("inference", "library") for t in threads]
    return list(dict.fromkeys(found))


def main() -> int:
    args = parse_arguments()
    about, failed = machine(), 0
    report: dict[str, Any] = {"machine": about, "rounds": args.rounds, "seconds": args.seconds, "results": []}
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(args):
            print(f"measuring {row}", file=sys.stderr, flush=True)
            try:
                model = None if row.task == "training" else export(row.network, Path(folder))
                report["results"].append(measure(row, args.rounds, args.seconds, model))
            except (WorkerError, LookupError) as error:
                print(f"error: {error}", file=sys.stderr)
                failed = 1
                continue
            if args.out:
                args.out.write_text(json.dumps(report, indent=1) + "\n")
    versions = {name: engine["version"] for r in report["results"] for name, engine in r["engines"].items()}
    for name, value in (about | {"versions": versions}).items():
        print(f"{name}: {value}")
    print(*tables.all_tables(report["results"]), sep="\n")
    if args.out:
        report |= {"versions": versions, "geometric_means": tables.geometric_means(report["results"])}
        args.out.write_text(json.dumps(report, indent=1) + "\n")
        print(f"\nwritten to {args.out}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
