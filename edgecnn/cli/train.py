"""edgecnn train"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

from .. import optim
from ..data import ColorJitter, ImageFolder, RandomCrop, RandomHorizontalFlip
from ..data.dataset import Dataset
from ..errors import CheckpointError, DataError
from ..model import Model, load
from .evaluate import measure, report
from .files import check_model_name, check_output, megabytes
from .pictures import batches, picture_input, preprocessing_options, use_preprocessing
from .plot import draw_history, require_matplotlib
from .session import Phase, Session

OPTIMIZERS = {"sgd": optim.SGD, "momentum": optim.Momentum, "nesterov": optim.Nesterov,
              "adagrad": optim.AdaGrad, "rmsprop": optim.RMSprop, "adadelta": optim.AdaDelta,
              "adam": optim.Adam, "adamw": optim.AdamW}
GENTLER = 0.1
FILE = click.Path(path_type=Path)


@click.command()
@click.option("--model", required=True, type=FILE, help="The network to start from, an .ecnn or .onnx file.")
@click.option("--data", required=True, type=FILE, help="Holds one folder of pictures per class.")
@click.option("--out", required=True, type=FILE, help="The trained network, .ecnn or .onnx.")
@click.option("--epochs", default=10, show_default=True, type=click.IntRange(1),
              help="How often to see each picture.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1), help="Pictures per update.")
@click.option("--optimizer", default="adam", show_default=True, type=click.Choice(list(OPTIMIZERS)))
@click.option("--lr", type=click.FloatRange(0, min_open=True),
              help="Learning rate.  [default: the optimizer's own]")
@click.option("--head-only", is_flag=True,
              help="Train the last layer only: quick, and best for few pictures.  [default]")
@click.option("--freeze", metavar="LAYER",
              help="Train what comes after LAYER (a layer, node or tensor of edgecnn info). A new last layer "
              f"is trained alone first, then together with the others at {GENTLER:g} of the learning rate.")
@click.option("--all", "everything", is_flag=True, help="Train all layers, likewise.")
@click.option("--head-epochs", type=click.IntRange(0),
              help="How many of the epochs a new last layer is trained alone with --freeze or --all.  "
              "[default: a third]")
@click.option("--val", type=FILE, help="Pictures to validate on, in folders of the same names.")
@click.option("--split", default=0.2, show_default=True, type=click.FloatRange(0, 1, max_open=True),
              help="Share of --data to validate on where --val is not given; 0 for none.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of all that is random.")
@click.option("--augment", is_flag=True,
              help="Vary the pictures at random: mirrored, shifted by up to 1/16, brightness and contrast "
              "by 20 %.")
@click.option("--checkpoint", type=FILE,
              help="State of the training, written after every epoch, removed at the end.  "
              "[default: OUT.ckpt]")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint, if there is one.")
@click.option("--plot", type=FILE, help="Draw loss and accuracy into this file (needs matplotlib).")
@preprocessing_options
def train(model: Path, data: Path, out: Path, epochs: int, batch: int, optimizer: str, lr: float | None,
          head_only: bool, freeze: str | None, everything: bool, head_epochs: int | None, val: Path | None,
          split: float, seed: int, augment: bool, checkpoint: Path | None, resume: bool, plot: Path | None,
          **given: Any) -> None:
    """Fine-tune a network with your own pictures.

    A last layer that does not tell apart the classes of --data is replaced. OUT always holds the network
    that did best in validation so far. After a power cut or Ctrl-C the same command with --resume goes on and
    ends with the same weights.

    \b
    Examples:
      edgecnn train --model net.onnx --data pictures/train --out mine.ecnn
      edgecnn train --model net.onnx --data pictures/train --out mine.ecnn --freeze layer3 --epochs 30
    """
    if sum([head_only, bool(freeze), everything]) > 1:
        raise click.UsageError("--head-only, --freeze and --all exclude each other")
    checkpoint = checkpoint or out.with_name(out.name + ".ckpt")
    _check_files(model, out, checkpoint, resume, plot)
    net = _without_softmax(load(model))
    use_preprocessing(net, **given)
    train_set, val_set = _pictures(net, data, val, split, seed, augment)
    new_head = _fit_head(net, train_set.classes, seed)
    cls = OPTIMIZERS[optimizer]
    lr = lr or inspect.signature(cls).parameters["lr"].default
    phases = _phases(epochs, head_epochs, new_head, "" if everything else freeze, lr)
    settings = {"pictures": len(train_set), "classes": list(train_set.classes), "epochs": epochs,
                "batch": batch, "optimizer": optimizer, "lr": lr, "phases": repr(phases), "seed": seed,
                "augment": augment, "preprocessing": repr(net.preprocessing)}
    train_batches = batches(net, train_set, batch, shuffle=True, seed=seed)
    val_batches = batches(net, val_set, batch) if val_set else None
    session = Session(net, cls, phases, train_batches, val_batches, out, checkpoint, settings)
    if resume:
        session.restore()
    session.prepare()
    session.run()
    if plot:
        draw_history(session.history, plot)
    best = load(out)
    if val_set:
        click.echo(report(measure(best, batches(best, val_set, batch)), val_set.classes))
    click.echo(f"{out}: {megabytes(out)}")


def _check_files(model: Path, out: Path, checkpoint: Path, resume: bool, plot: Path | None) -> None:
    """What would otherwise be found out only after hours."""
    check_model_name(out, "--out")
    check_output(out, model)
    check_output(checkpoint, model, out)
    if plot:
        check_output(plot, model, out, checkpoint)
        require_matplotlib()
    if checkpoint.exists() and not resume:
        raise CheckpointError(f"{checkpoint} is left from a training that was broken off; add --resume to go "
                              "on with it, or remove the file to begin anew")


def _without_softmax(model: Model) -> Model:
    """The scores before a last Softmax: the loss has its own."""
    last = model.graph.producers().get(model.graph.outputs[0])
    if last is None or last.op != "Softmax":
        return model
    click.echo(f"{model.name} ends in a Softmax; it is trained and saved without: its results are scores "
               "then, not probabilities")
    part = model.features(last.inputs[0])
    part.class_names, part.name = model.class_names, model.name
    return part


def _pictures(model: Model, data: Path, val: Path | None, split: float, seed: int,
              augment: bool) -> tuple[Dataset, Dataset | None]:
    """The pictures to train on and those to validate on, each read once."""
    assert model.preprocessing is not None
    folder = ImageFolder(data, model.preprocessing, transforms=_transforms(model) if augment else ())
    if set(folder.classes) == set(model.class_names or ()):
        folder = ImageFolder(data, model.preprocessing, model.class_names, folder.transforms)
    if len(folder.classes) < 2:
        raise DataError(f"{data} holds only the class {folder.classes[0]!r}; training needs two or more "
                        "folders, such as one of pictures without what is looked for")
    folder.verify()
    if val is None:
        return folder.split(1 - split, seed) if split else (folder, None)
    other = ImageFolder(val, model.preprocessing, folder.classes)
    other.verify()
    return folder, other


def _transforms(model: Model) -> tuple:
    sides = (model.preprocessing and model.preprocessing.size) or picture_input(model).shape[2:]
    padding = max(1, min(d if isinstance(d, int) else 1 for d in sides) // 16)
    return RandomHorizontalFlip(), RandomCrop(padding), ColorJitter()


def _fit_head(model: Model, classes: tuple[str, ...], seed: int) -> bool:
    """Replaces the last layer unless it is for these classes; whether it did."""
    if model.class_names == list(classes):
        return False
    model.replace_head(len(classes), list(classes), seed)
    click.echo(f"new last layer for {len(classes)} classes: {', '.join(classes)}")
    return True


def _phases(epochs: int, head_epochs: int | None, new_head: bool, layers: str | None,
            lr: float) -> list[Phase]:
    """layers: where the frozen part ends, see Phase.frozen_until."""
    first = (epochs // 3 if head_epochs is None else min(head_epochs, epochs)) if new_head else 0
    if layers is None or not first:
        return [Phase(layers, 0, epochs, lr)]
    return [Phase(None, 0, first, lr), Phase(layers, first, epochs, lr * GENTLER)][:1 + (first < epochs)]
