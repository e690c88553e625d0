#!/usr/bin/env python3
"""A pretrained network used as it is, adapted, and in part: EfficientNet-Lite0 (ImageNet) on aerial pictures of tree crowns.

    python examples/transfer.py

The crops to test with are from another photograph than those to train with.
"""

from pathlib import Path

import click
import numpy as np
from common import asset, new_figure, save

import edgecnn as ec
from edgecnn.data import ImageFolder, Loader

BATCH = 20


def features(model: ec.Model, layer: str, data: Loader) -> tuple[np.ndarray, np.ndarray]:
    """What the network computes up to a layer, averaged over the pixels, and the labels."""
    part = model.features(layer)
    found = [(part(x).mean(axis=(2, 3)), y) for x, y in data]
    return np.concatenate([f for f, _ in found]), np.concatenate([y for _, y in found])


def head_accuracy(train, test, classes: int, epochs: int, seed: int) -> float:
    """Test accuracy of a linear classifier on features, regularised, full batches."""
    (x, y), (x_test, y_test) = train, test
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-6
    ec.nn.manual_seed(seed)
    head = ec.nn.Sequential(ec.nn.Linear(x.shape[1], classes))
    trainer = ec.Trainer(head, ec.optim.Momentum(lr=0.01, weight_decay=0.25))
    for _ in range(epochs):
        trainer.step((x - mean) / std, y)
    return float((head((x_test - mean) / std).argmax(axis=1) == y_test).mean())


def adapted_accuracy(model: ec.Model, train: ImageFolder, test: Loader, until: str | None, epochs: int, rate: float,
                     seed: int) -> float:
    """Test accuracy after training what lies behind `until` (None: the last layer alone)."""
    model.freeze(until)
    optimizer = ec.optim.Momentum(lr=rate, weight_decay=0.25 if until is None else 0.05)
    trainer = ec.Trainer(model, optimizer, running_statistics=True)
    trainer.fit(Loader(train, BATCH, shuffle=True, seed=seed), epochs=epochs, progress=False)
    return trainer.evaluate(test).accuracy


@click.command()
@click.option("--model", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Pretrained network.  [default: assets/efficientnet_lite0.onnx]")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder with train/CLASS and test/CLASS.  [default: assets/trees]")
@click.option("--cuts", default="_blocks.0,_blocks.2,_blocks.5,_blocks.8,_blocks.11,_blocks.15", show_default=True,
              help="Layers behind which the network is cut.")
@click.option("--finetune-from", default="_blocks.11", show_default=True, help="What lies behind is fine-tuned.")
@click.option("--epochs", default=15, show_default=True, help="Of the new head; a fifth of it for the fine-tuning.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("out/transfer.png"), show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(path, data, cuts, finetune_from, epochs, out, seed):
    figure = new_figure(11, 4.4)
    path, data = path or asset("efficientnet_lite0.onnx", "efficientnet"), data or asset("trees", "trees")
    model = ec.load(path)
    train, test = (ImageFolder(data / name, model.preprocessing) for name in ("train", "test"))
    evaluation = Loader(test, BATCH)
    chance = max(np.bincount([y for _, labels in evaluation for y in labels])) / len(test)

    print(f"As it is: which classes it sees in the {len(test)} test crops")
    top = np.concatenate([model(x).argmax(axis=1) for x, _ in evaluation])
    labels = np.concatenate([y for _, y in evaluation])
    for i, name in enumerate(train.classes):
        seen, counts = np.unique(top[labels == i], return_counts=True)
        most = np.argsort(-counts)[:4]
        print(f"  {name}: " + ", ".join(f"class {seen[k]} in {counts[k] / counts.sum():.0%}" for k in most))

    print("In part: cut off behind a layer, averaged over the pixels, with a linear classifier on top")
    results = {}
    for layer in cuts.split(","):
        found = features(model, layer, Loader(train, BATCH)), features(model, layer, evaluation)
        results[f"in part:\n{layer}\n{found[0][0].shape[1]} features"] = value = head_accuracy(
            *found, len(train.classes), 20 * epochs, seed)
        print(f"  {layer}: {found[0][0].shape[1]} features, test accuracy {value:.1%}")

    model.replace_head(len(train.classes), list(train.classes), seed=seed)
    results["adapted:\nnew head"] = adapted_accuracy(model, train, evaluation, None, epochs, 0.01, seed)
    results["adapted:\nlast blocks too"] = adapted_accuracy(model, train, evaluation, finetune_from, max(1, epochs // 5),
                                                            3e-4, seed)
    print("Adapted: " + ", ".join(f"{k.split(':')[1].strip()} {v:.1%}" for k, v in list(results.items())[-2:]))

    ax = figure.subplots()
    bars = ax.bar(results.keys(), [100 * v for v in results.values()],
                  color=["C0" if k.startswith("in part") else "C1" for k in results])
    ax.bar_label(bars, fmt="%.1f")
    ax.axhline(100 * chance, color="k", linestyle=":", label="always the more frequent class")
    ax.set(title=f"{' or '.join(train.classes)}: what the network is worth, whole and in part", ylabel="test accuracy, %",
           ylim=(0, 100))
    ax.tick_params(axis="x", labelsize=8)
    ax.legend()
    save(figure, out)
    best = max((k for k in results if k.startswith("in part")), key=results.__getitem__).split("\n")[1]
    print(f"Its own 1,000 classes know no tree crowns from above, its features do: the best cut is {best}. Early layers see "
          "edges and colours, which any picture has; the last ones see what ImageNet is about.")


if __name__ == "__main__":
    main()
