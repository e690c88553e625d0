"""From pictures to a model's input: the preprocessing that the model carries, or options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import click
import numpy as np

from ..config import get_num_threads
from ..data import Loader
from ..data.dataset import Dataset
from ..errors import ModelError, UnsupportedError
from ..model import Model
from ..ops import TensorSpec
from ..preprocessing import CHANNELS, Preprocessing


class Size(click.ParamType):
    name = "H[xW]"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        parts = value.lower().split("x") if isinstance(value, str) else value
        try:
            height, width = (int(v) for v in (parts * 2 if len(parts) == 1 else parts))
        except ValueError:
            self.fail(f"{value!r} is not a size; write 224, or 240x320 for height x width", param, ctx)
        return height, width


class Numbers(click.ParamType):
    name = "V[,V,V]"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return tuple(float(v) for v in value.split(",")) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is not a number or a list of numbers such as 123.7,116.3,103.5", param, ctx)


def preprocessing_options(command: Callable) -> Callable:
    """Adds --size --channels --mean --scale, the arguments of use_preprocessing."""
    options = [
        click.option("--size", type=Size(),
                     help="Height and width of the network's input. These four options are for models that "
                     "do not say how pictures are prepared; for others they replace what the model says."),
        click.option("--channels", type=click.Choice(list(CHANNELS)), help="Order of the channels."),
        click.option("--mean", type=Numbers(),
                     help="Subtracted from the pixels 0..255: one number, or one a channel."),
        click.option("--scale", type=Numbers(), help="What the pixels are divided by after that."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def picture_input(model: Model) -> TensorSpec:
    """The spec of the one input (N, C, H, W). Raises ModelError for networks that do not take pictures."""
    specs = list(model.inputs.values())
    if len(specs) != 1 or specs[0].rank != 4 or specs[0].dtype != "float32":
        found = ", ".join(f"{n} {s.dtype} {s.shape}" for n, s in model.inputs.items())
        raise ModelError(f"{model.name}: this command needs a network with one float32 input (N, C, H, W), "
                         f"this one takes {found}")
    return specs[0]


def use_preprocessing(model: Model, **given: Any) -> None:
    """Sets model.preprocessing from what the model carries and what is given (the values of
    preprocessing_options, None for what was not said). What has to be assumed, a warning tells."""
    spec, carried = picture_input(model), model.preprocessing
    given["channel_order"] = given.pop("channels")
    said = {key: value for key, value in given.items() if value is not None}
    values = {**(asdict(carried) if carried else _assumed(spec, said)), **said}
    for key in ("mean", "scale"):
        if len(values[key]) == 1:
            values[key] *= CHANNELS[values["channel_order"]]
    model.preprocessing = Preprocessing(**values)
    _check_fits(model.preprocessing, spec, model.name)
    if carried is None and len(said) < len(values):
        click.echo(f"edgecnn: warning: {model.name} does not say how pictures are to be prepared; assuming "
                   f"{describe(model.preprocessing)}. Say otherwise with --size, --channels, --mean, --scale",
                   err=True)


def _assumed(spec: TensorSpec, said: Mapping[str, Any]) -> dict[str, Any]:
    """RGB (or gray), the input's own size and x / 255; an error for what is neither said nor known."""
    channels = {3: "RGB", 1: "GRAY"}.get(spec.shape[1])
    if channels is None and "channel_order" not in said:
        raise ModelError(f"the network's input has {spec.shape[1] or 'any number of'} channels; say with "
                         f"--channels what they are: {', '.join(CHANNELS)}")
    size = spec.shape[2:] if all(isinstance(d, int) for d in spec.shape[2:]) else None
    if size is None and "size" not in said:
        raise ModelError("the model does not say how pictures are to be prepared, and its input takes any "
                         "size; give --size, and where they are not RGB, 0 and 255 also --channels, --mean "
                         "and --scale")
    return {"size": size, "channel_order": channels, "mean": (0.0,), "scale": (255.0,)}


def _check_fits(preprocessing: Preprocessing, spec: TensorSpec, name: str) -> None:
    wanted = (preprocessing.channels, *(preprocessing.size or (None, None)))
    if any(isinstance(s, int) and w not in (s, None) for w, s in zip(wanted, spec.shape[1:], strict=True)):
        raise ModelError(f"{name}: the preprocessing ({describe(preprocessing)}) does not fit the input "
                         f"{spec.shape}, which is (N, C, H, W); correct it with --size and --channels")


def describe(preprocessing: Preprocessing) -> str:
    p = preprocessing
    size = f"size {p.size[0]}x{p.size[1]}" if p.size else "any size"
    return f"{size}, {p.channel_order}, x = (pixel - {_numbers(p.mean)}) / {_numbers(p.scale)}"


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{v:g}' for v in values)})"


def batches(model: Model, data: Dataset, batch: int, **options: Any) -> Loader:
    """A loader of as many pictures at once as the network's input allows."""
    fixed = picture_input(model).shape[0]
    return Loader(data, fixed if isinstance(fixed, int) else batch, workers=get_num_threads(), **options)


def class_scores(scores: np.ndarray | tuple, name: str) -> np.ndarray:
    """(N, classes) from the network's output. Raises UnsupportedError for networks that do not classify."""
    if isinstance(scores, tuple) or scores.ndim < 2 or scores.size != scores.shape[0] * scores.shape[1]:
        shape = [s.shape for s in scores] if isinstance(scores, tuple) else scores.shape
        raise UnsupportedError(f"{name}: its output has shape {shape}; this command needs one score per "
                               "class, (N, classes)")
    return scores.reshape(scores.shape[:2])
