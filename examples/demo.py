#!/usr/bin/env python3
"""The main job of edgecnn from end to end, on real data: a pretrained network from ONNX is checked, used as it is,
fine-tuned on photographs of tree crowns, evaluated, saved, and exported to ONNX again. `make demo` runs it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnxruntime

import edgecnn as ec
from edgecnn.data import ImageFolder, Loader

ROOT = Path(__file__).resolve().parent.parent
BATCH = 20
EPOCHS = 3


@dataclass
class Run:
    """What one seed of the fine-tuning gave."""

    before: float
    head: float
    after: float
    step_ms: float
    pictures_per_second: float


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def peak_memory_mb() -> float:
    """Largest resident size of this process so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def compare(model: ec.Model, onnx_file: Path, pictures: np.ndarray) -> tuple[float, bool]:
    """Largest difference from onnxruntime over the pictures, relative to the largest score, and whether top-1 agrees."""
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    want = session.run(None, {session.get_inputs()[0].name: pictures})[0]
    got = model(pictures)
    return float(np.abs(got - want).max() / np.abs(want).max()), bool((got.argmax(1) == want.argmax(1)).all())


def fine_tune(source: Path, train: ImageFolder, test: ImageFolder, seed: int) -> tuple[ec.Model, Run]:
    """A new head on the frozen network first, then the last blocks with it, gently.

    Train and test crops come from different photographs, so what helps is whatever keeps the network from learning the one
    it sees: a strong weight decay on the head, soft labels, small steps, and the pretrained statistics in batch norm."""
    model = ec.load(source)
    model.replace_head(len(train.classes), list(train.classes), seed=seed)
    pictures, evaluation = Loader(train, BATCH, shuffle=True, seed=seed), Loader(test, BATCH)
    model.freeze()
    head = ec.Trainer(model, ec.optim.Momentum(lr=0.01, weight_decay=0.25))
    before = head.evaluate(evaluation).accuracy
    head.fit(pictures, epochs=15, progress=False)
    after_head = head.evaluate(evaluation).accuracy
    model.freeze(until="_blocks.11")
    rate = ec.optim.Cosine(3e-4, EPOCHS * len(pictures))
    trainer = ec.Trainer(model, ec.optim.Momentum(lr=rate, weight_decay=0.05), loss_options={"label_smoothing": 0.1},
                         running_statistics=True)
    history = trainer.fit(pictures, epochs=EPOCHS)
    after = trainer.evaluate(evaluation).accuracy
    steps, seconds = sum(e.steps for e in history.epochs), sum(e.step_seconds for e in history.epochs)
    return model, Run(before, after_head, after, 1e3 * seconds / steps, steps * BATCH / seconds)


@click.command()
@click.option("--assets", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "assets", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=ROOT / "out", show_default=True)
@click.option("--seeds", default=3, show_default=True, help="fine-tunings whose mean is reported")
def main(assets: Path, out: Path, seeds: int) -> None:
    start = time.perf_counter()
    out.mkdir(exist_ok=True)
    source, native = assets / "efficientnet_lite0.onnx", out / "efficientnet_lite0.ecnn"
    print(ec.show_config())

    title("convert: ONNX to the native file, checked against onnxruntime")
    subprocess.run([sys.executable, ROOT / "tools/convert_onnx.py", source, native, "--check"], check=True)
    model = ec.load(native)
    train, test = (ImageFolder(assets / "trees" / part, model.preprocessing) for part in ("train", "test"))
    pictures = np.stack([test[i][0] for i in range(0, len(test), len(test) // 20)])
    difference, same = compare(model, source, pictures)
    print(f"{len(pictures)} photographs: largest difference {difference:.1e} of the largest score, "
          f"{'the same' if same else 'NOT the same'} top-1")

    title("use it as it is: ImageNet classes of some photographs")
    scores = model(pictures[:5])
    for path, row in zip([test.path(i) for i in range(0, len(test), len(test) // 20)], scores, strict=False):
        top = row.argsort()[::-1][:3]
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        print(f"{path.name}: " + ", ".join(f"class {c} {p[c]:.0%}" for c in top))

    title(f"fine-tune: {' or '.join(train.classes)}, {len(train)} crops to train, {len(test)} of another photograph to test")
    runs = []
    for seed in range(seeds):
        model, run = fine_tune(native, train, test, seed)
        runs.append(run)
        print(f"seed {seed}: accuracy {run.before:.1%} before, {run.head:.1%} with a new head, {run.after:.1%} fine-tuned",
              flush=True)

    title("save, export to ONNX, check the exported file in onnxruntime")
    model.save(out / "trees.ecnn")
    model.export_onnx(out / "trees.onnx")
    exported, exported_same = compare(ec.load(out / "trees.ecnn"), out / "trees.onnx", pictures)
    print(f"{out / 'trees.ecnn'}, {out / 'trees.onnx'}")

    def mean(name: str) -> float:
        return float(np.mean([getattr(r, name) for r in runs]))

    title("summary")
    for label, value in {
        f"accuracy before (mean of {seeds} seeds)": f"{mean('before'):.1%}",
        "accuracy with a new head": f"{mean('head'):.1%}",
        "accuracy fine-tuned": f"{mean('after'):.1%}",
        f"time per training step, batch {BATCH}": f"{mean('step_ms'):.0f} ms",
        "pictures per second in training": f"{mean('pictures_per_second'):.0f}",
        "peak memory of this process": f"{peak_memory_mb():.0f} MB (with onnxruntime)",
        "largest difference from onnxruntime, imported": f"{difference:.1e} of the largest score",
        "largest difference from onnxruntime, exported": f"{exported:.1e} of the largest score",
        "whole demo": f"{time.perf_counter() - start:.0f} s",
    }.items():
        print(f"{label:50} {value}")
    if not (same and exported_same and max(difference, exported) <= 1e-4):
        raise SystemExit("edgecnn and onnxruntime disagree: see the differences above")


if __name__ == "__main__":
    main()
