"""Rounding errors of edgecnn and onnxruntime against a float64 evaluation of the same ONNX file.

    python benchmarks/quality.py                        # every network; the table of docs/performance.md
    python benchmarks/quality.py resnet18 --size 96 --pictures 4

The weights are random (He), and where a network has batch norms their statistics are first estimated on random
pictures, so that values stay in the range that they have in a trained network. Each line compares the first
output: |y - y64| as maximum and mean over all pictures, divided by the largest |y64|. edgecnn runs once with the algorithms
that it chooses and once with each one forced wherever it accepts the layer; `layers` says how many it accepted.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from networks import NETWORKS, build
from reference64 import evaluate
from tables import table

ALLOWED = 10  # Winograd's mean error may be so many times the direct algorithm's
STATISTICS_STEPS, STATISTICS_BATCH, STATISTICS_SIZE = 30, 8, 64


def settle_statistics(model: Any, shape: tuple[int, ...]) -> None:
    """Moves the running statistics of batch norms to those of random pictures (math: r <- 0.9 r + 0.1 batch)."""
    import edgecnn as ec

    if len(model.trainable()) == len(model.state_dict()):
        return  # no running statistics
    rng = np.random.default_rng(1)
    trainer = ec.Trainer(model, ec.optim.SGD(lr=1e-3))
    shape = (STATISTICS_BATCH, shape[0], min(shape[1], STATISTICS_SIZE), min(shape[2], STATISTICS_SIZE))
    for _ in range(STATISTICS_STEPS):
        trainer.gradients(rng.standard_normal(shape, np.float32), np.zeros(STATISTICS_BATCH, np.int64))


def outputs(path: Path, x: np.ndarray) -> dict[str, tuple[np.ndarray, str]]:
    """The first output by engine or algorithm, and the algorithms of the convolutions."""
    import onnxruntime as ort

    import edgecnn as ec
    from edgecnn.ops._algorithms import FORWARD

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = {"onnxruntime": (session.run(None, {session.get_inputs()[0].name: x})[0], "")}
    model = ec.load(path)
    for name in ["", *(a.name for a in FORWARD if a.name != "depthwise")]:
        plan = model.plan({next(iter(model.inputs)): x.shape}, {"convolution": name} if name else None)
        layers = Counter({step.node.name or step.node.outputs[0]: step.algorithm for step in plan.steps
                          if step.algorithm}.values())
        if name in ("", *layers):
            found[name or "chosen"] = plan.run(x)[0], ", ".join(f"{count} {a}" for a, count in layers.most_common())
    return found


def measure(name: str, size: int | None, pictures: int, folder: Path) -> list[dict[str, str]]:
    """The lines of a network; "TOO MUCH" marks where an algorithm loses more than is allowed."""
    network = NETWORKS[name]
    shape = (network.shape[0], size, size) if size and name != "lenet5" else network.shape
    model, path = build(name), folder / f"{name}.onnx"
    settle_statistics(model, shape)
    model.export_onnx(path)
    x = np.random.default_rng(0).standard_normal((pictures, *shape), np.float32)
    exact = evaluate(path, x)
    scale = np.abs(exact).max()
    lines, means = [], {}
    for engine, (y, layers) in outputs(path, x).items():
        error = np.abs(y - exact) / scale
        means[engine] = error.mean()
        lines.append({"network": network.title, "input": f"{shape[1]}x{shape[2]}", "engine": engine, "layers": layers,
                      "maximum": f"{error.max():.1e}", "mean": f"{error.mean():.1e}",
                      "mean / direct's": "", "mean / onnxruntime's": f"{error.mean() / means['onnxruntime']:.1f}"})
    for line in lines:
        ratio = means[line["engine"]] / means["direct"]
        line["mean / direct's"] = f"{ratio:.1f}"
        if ratio > ALLOWED:
            line["mean / direct's"] += " TOO MUCH"
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default: {' '.join(NETWORKS)}")
    parser.add_argument("--size", type=int, help="height and width of the input; default: the network's own")
    parser.add_argument("--pictures", type=int, default=2)
    args = parser.parse_args()
    unknown = [name for name in args.networks if name not in NETWORKS]
    if unknown:
        parser.error(f"{unknown[0]} is not one of {', '.join(NETWORKS)}")
    lines, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.networks or NETWORKS:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            try:
                lines += measure(name, args.size, args.pictures, Path(folder))
            except LookupError as error:
                print(f"error: {error}", file=sys.stderr)
                failed = 1
    if lines:
        print(*table("Error against float64, relative to the largest output", lines), sep="\n")
    return int(failed or any("TOO MUCH" in line["mean / direct's"] for line in lines))


if __name__ == "__main__":
    sys.exit(main())
