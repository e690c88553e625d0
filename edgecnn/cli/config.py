"""edgecnn config"""

from __future__ import annotations

import click

from ..config import show_config


@click.command()
def config() -> None:
    """Show instruction sets, threads and machine.

    \b
    Example:
      EDGECNN_ISA=baseline OMP_NUM_THREADS=1 edgecnn config
    """
    click.echo(show_config())
