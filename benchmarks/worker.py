"""One engine in its own process: builds one workload, then times calls of it on request.

Protocol, one line each way:
    start          -> {"version", "output", "call_ms", ...}    built, warmed up, ready
    "go K"         -> {"ms": [K times], "peak_mb": ...}
    end of input   -> exit
Between requests the process sleeps in a read of standard input, so that idle engines cost no time.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from networks import NETWORKS, build

LR, MOMENTUM = 1e-3, 0.9
WARM_UP_S, WARM_UP_CALLS = 0.5, 3

Workload = tuple[Callable[[], Any], dict[str, Any]]  # one call to time, and facts for the report


def batch(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """The same pictures x (N, C, H, W) and classes y (N,) for every engine."""
    rng = np.random.default_rng(0)
    network = NETWORKS[args.network]
    x = rng.standard_normal((args.batch, *network.shape), dtype=np.float32)
    return x, rng.integers(0, network.classes, args.batch)


def build_edgecnn(args: argparse.Namespace) -> Workload:
    import edgecnn as ec

    ec.set_num_threads(args.threads)
    x, y = batch(args)
    info = {"version": ec.__version__}
    if args.task == "training":
        model = build(args.network)
        info["parameters"] = sum(model.graph.params[name].size for name in model.trainable())
        trainer = ec.Trainer(model, optimizer=ec.optim.Momentum(lr=LR, gamma=MOMENTUM), loss="cross_entropy")
        return lambda: trainer.step(x, y), info
    model = ec.load(args.model)
    if args.task == "library":
        return library_call(model, x), info
    return lambda: model(x), info


def library_call(model: Any, x: np.ndarray) -> Callable[[], np.ndarray]:
    """The compiled program alone: one call into C, without argument checks and without a new output array."""
    plan = model.plan({name: x.shape for name in model.inputs})
    buffers = [x, *plan.run(x)]

    def call() -> np.ndarray:
        plan._program.run(buffers, plan.threads, plan.portions)
        return buffers[1]

    return call


def build_onnxruntime(args: argparse.Namespace) -> Workload:
    import onnxruntime as ort

    if args.task != "inference":
        raise SystemExit("onnxruntime: only inference is measured")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    session = ort.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: batch(args)[0]}
    return lambda: session.run(None, feed)[0], {"version": ort.__version__}


def build_torch(args: argparse.Namespace) -> Workload:
    import torch
    import torch_models

    if args.task != "training":
        raise SystemExit(f"{args.engine}: only training is measured")
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    layout = torch.contiguous_format if args.engine == "torch_nchw" else torch.channels_last
    net = getattr(torch_models, args.network)(NETWORKS[args.network].classes).to(memory_format=layout).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
    x_np, y_np = batch(args)
    x, y = torch.from_numpy(x_np).to(memory_format=layout), torch.from_numpy(y_np)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, {"version": torch.__version__, "parameters": sum(p.numel() for p in net.parameters())}


BUILDERS = {
    "edgecnn": build_edgecnn,
    "onnxruntime": build_onnxruntime,
    "torch_channels_last": build_torch,
    "torch_nchw": build_torch,
}


def time_calls(call: Callable[[], Any], count: int) -> list[float]:
    """Milliseconds of each of `count` calls."""
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def warm_up(call: Callable[[], Any]) -> float:
    """Calls until caches, thread pools and clocks have settled; returns the median milliseconds per call."""
    times: list[float] = []
    while len(times) < WARM_UP_CALLS or sum(times) < 1e3 * WARM_UP_S:
        times += time_calls(call, 1)
    return statistics.median(times)


def peak_mb() -> float:
    """Highest resident memory of this process in MB (10^6 bytes).

    From VmHWM, because ru_maxrss of a child starts at its parent's value on Linux.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit("no VmHWM in /proc/self/status: memory is measured on Linux only")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=BUILDERS)
    parser.add_argument("task", choices=("inference", "library", "training"))
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--model", help="ONNX file of the network (all tasks but training)")
    args = parser.parse_args()

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever an engine prints goes to standard error, not into the protocol

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    call, info = BUILDERS[args.engine](args)
    output = np.asarray(call(), dtype=np.float64)
    answer(output=output.reshape(args.batch if output.size > 1 else 1, -1)[0].tolist(), call_ms=warm_up(call), **info)
    for line in sys.stdin:
        count = int(line.removeprefix("go "))
        time_calls(call, 1 + count // 10)  # the other engine has just used the caches
        answer(ms=time_calls(call, count), peak_mb=peak_mb())


if __name__ == "__main__":
    main()
