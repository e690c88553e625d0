"""What is measured: a network from a file or by its name, on random input of a given shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import models
from ..config import set_num_threads
from ..errors import ModelError, ShapeError
from ..graph.ir import format_shape
from ..model import Model, load
from .pictures import Size


class Shape(click.ParamType):
    """[NAME=]D,D,... as (name or "", dimensions)."""

    name = "[NAME=]N,C,H,W"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, _, dimensions = value.rpartition("=")
        try:
            shape = tuple(int(d) for d in dimensions.split(","))
        except ValueError:
            shape = ()
        if not shape or min(shape) < 1:
            self.fail(f"{value!r} is not a shape; write 1,3,96,96 or, for a network with several inputs, x=1,3,96,96",
                      param, ctx)
        return name, shape


def workload_options(command: Callable) -> Callable:
    """Adds the argument MODEL and --batch --size --shape --threads --json."""
    options = [
        click.argument("model"),
        click.option("--batch", type=click.IntRange(1), help="Pictures at once.  [default: 1, or what the network says]"),
        click.option("--size", type=Size(), help="Height and width where the network leaves them free.  "
                     "[default: what its preprocessing says, else 224]"),
        click.option("--shape", "shapes", type=Shape(), multiple=True,
                     help="The whole shape of an input; NAME where there are several."),
        click.option("--threads", type=click.IntRange(1), help="[default: OMP_NUM_THREADS, or all processors]"),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def open_network(model: str) -> Model:
    """The network in a file, else the one of edgecnn.models that is called so."""
    if model in models.__all__ and not Path(model).exists():
        return getattr(models, model)()
    if not Path(model).suffix and not Path(model).exists():
        raise ModelError(f"{model}: no such file, and no such network; give an .onnx or .ecnn file or one of "
                         f"{', '.join(models.__all__)}")
    return load(model)


def prepare(model: str, batch: int | None, size: tuple[int, int] | None, shapes: tuple[tuple[str, tuple[int, ...]], ...],
            threads: int | None) -> tuple[Model, dict[str, np.ndarray]]:
    """The network and its inputs as the options say."""
    if threads:
        set_num_threads(threads)
    net = open_network(model)
    return net, random_inputs(net, input_shapes(net, batch, size, dict(shapes)))


def input_shapes(net: Model, batch: int | None = None, size: tuple[int, int] | None = None,
                 given: dict[str, tuple[int, ...]] | None = None) -> dict[str, tuple[int, ...]]:
    """Concrete shapes of all inputs.

    Args: batch, size: of free dimensions; given: whole shapes by input name, "" for the only input.
    Raises ShapeError where one does not fit the network."""
    given = dict(given or {})
    if "" in given:
        if len(net.inputs) > 1:
            raise ShapeError(f"{net.name} has several inputs, {', '.join(net.inputs)}: say which with --shape NAME=...")
        given[next(iter(net.inputs))] = given.pop("")
    unknown = [name for name in given if name not in net.inputs]
    if unknown:
        raise ShapeError(f"{net.name} has no input {unknown[0]!r}; its inputs are {', '.join(net.inputs)}")
    shapes = {}
    for name, guess in net.input_shapes(batch or 1).items():
        wanted = [batch, None, *(size or ())] if len(guess) == 4 else [batch]
        shape = given.get(name) or (*(w or g for w, g in zip(wanted, guess, strict=False)), *guess[len(wanted):])
        spec = net.inputs[name].shape
        if len(shape) != len(spec) or any(isinstance(s, int) and s != d for s, d in zip(spec, shape, strict=True)):
            raise ShapeError(f"input {name!r} takes {format_shape(spec)}, got {format_shape(shape)}; only dimensions that "
                             "are 'any' can be chosen with --batch, --size or --shape")
        shapes[name] = shape
    return shapes


def random_inputs(net: Model, shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Normally distributed numbers, zeros and ones for integers."""
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(shape) if net.inputs[name].dtype == "float32" else rng.integers(0, 2, shape))
            .astype(net.inputs[name].dtype) for name, shape in shapes.items()}


def title(net: Model, inputs: dict[str, np.ndarray], isa: str, threads: int) -> str:
    shapes = ", ".join(f"{name} {format_shape(x.shape)}" for name, x in inputs.items())
    return f"{net.name}: {shapes}; {isa}, {threads} thread{'s' if threads > 1 else ''}"
