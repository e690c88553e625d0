"""The commands of the shell: edgecnn info | convert | train | evaluate | predict | export | bench | profile |
models | config.

What a user can get wrong ends in one message on standard error and exit code 1, wrong usage in 2, Ctrl-C in
130."""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

import click
import numpy as np

from ..errors import EdgeCNNError
from . import bench, config, convert, evaluate, export, info, models, predict, profile, train


class Commands(click.Group):
    """A group whose commands end with a message instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with np.errstate(all="ignore"):  # a training that diverges is told by its loss
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            _end(ctx, f"stopped{f'; {error}' if str(error) else ''}", 130)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of a pipe left: click ends quietly
            if os.environ.get("EDGECNN_DEBUG"):
                raise
            _end(ctx, f"error: {_explain(error)}", 1)


def _end(ctx: click.Context, message: str, code: int) -> NoReturn:
    click.echo(f"edgecnn: {message}", err=True)
    ctx.exit(code)


def _explain(error: Exception) -> str:
    if isinstance(error, EdgeCNNError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"this needs the package {error.name}, which is not installed: pip install {error.name}"
    if isinstance(error, MemoryError):
        return "not enough memory; use a smaller --batch or a smaller --size"
    return (f"{type(error).__name__}: {error} (this is a bug in edgecnn; set EDGECNN_DEBUG=1 for the "
            "traceback and report it)")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="edgecnn")
def main() -> None:
    """Runs and fine-tunes pretrained convolutional networks on small computers.

    \b
    Example, from a pretrained network to one for your own pictures:
      edgecnn train --model net.onnx --data pictures/train --out mine.ecnn
      edgecnn evaluate --model mine.ecnn --data pictures/test
      edgecnn predict --model mine.ecnn new.jpg
    """


for _command in (info.info, convert.convert, train.train, evaluate.evaluate, predict.predict, export.export,
                 bench.bench, profile.profile, models.models, config.config):
    main.add_command(_command)
