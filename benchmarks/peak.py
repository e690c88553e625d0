"""Which part of the machine's peak a network's convolutions reach, all computed directly, batch 1, one thread.

    EDGECNN_ISA=avx2 python benchmarks/peak.py resnet50

The clock of many machines moves with what they do, so the peak (multiply-adds in registers) is measured before and after
every run, and the time of a layer counts in operations that the peak of its own run would have done meanwhile. Printed are
medians over the runs, and for all layers together the sum of operations by that of these possible ones. Linear layers are
left out: with one picture they read their weights once and do little else.
"""

import argparse
import statistics
import sys
from collections import defaultdict

import numpy as np
from networks import NETWORKS, build

import edgecnn
from edgecnn.config import chosen_isa
from edgecnn.graph.lowering import Step
from edgecnn.graph.plan import Plan
from edgecnn.graph.profile import peak_flops


def pixels(plan: Plan, step: Step) -> int:
    x = plan.graph.spec(step.node.inputs[0])
    return x.size // x.shape[1]


def shares(plan: Plan, x: np.ndarray, runs: int) -> tuple[dict[str, list[float]], dict[str, float], list[float]]:
    """Of each layer the share of the peak in every run, and its operations; the peaks of the runs."""
    found, flops, peaks = defaultdict(list), defaultdict(float), []
    steps = {i: step for i, step in enumerate(plan.steps) if step.kernel == "conv_direct" and pixels(plan, step) > 1}
    for step in steps.values():
        flops[step.node.name] += step.cost
    before = peak_flops(1)
    for _ in range(runs):
        ns = np.zeros((plan.copies, len(plan.steps)), np.int64)
        plan.run(x, ns=ns)
        after = peak_flops(1)
        peaks.append((before + after) / 2)
        before, seconds = after, defaultdict(float)
        for i, step in steps.items():
            seconds[step.node.name] += ns[0, i] / 1e9
        for layer, time in seconds.items():
            found[layer].append(flops[layer] / (time * peaks[-1]))
    return found, flops, peaks


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=list(NETWORKS))
    parser.add_argument("--runs", type=int, default=25)
    args = parser.parse_args(arguments)
    edgecnn.set_num_threads(1)
    net = build(args.network)
    x = np.random.default_rng(0).standard_normal((1, *NETWORKS[args.network].shape), dtype=np.float32)
    plan = net.plan({name: x.shape for name in net.inputs}, {"convolution": "direct"})
    plan.run(x)
    found, flops, peaks = shares(plan, x, args.runs)
    medians = {layer: statistics.median(values) for layer, values in found.items()}
    for layer, share in medians.items():
        print(f"{layer:24s} {share:.2f}")
    total = sum(flops.values()) / sum(flops[layer] / share for layer, share in medians.items())
    print(f"{args.network}, {chosen_isa()[0]}: {total:.3f} of the peak of {statistics.median(peaks) / 1e9:.0f} GFLOP/s "
          f"({min(peaks) / 1e9:.0f}..{max(peaks) / 1e9:.0f} over the runs)")


if __name__ == "__main__":
    main(sys.argv[1:])
