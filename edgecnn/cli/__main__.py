"""python -m edgecnn.cli, where the script edgecnn is not installed."""

from . import main

main(prog_name="edgecnn")
