#!/usr/bin/env python3
"""Compiles the kernels alone, as a C library: build_kernels.py CC ARCHITECTURE OUTDIR [FLAG ...]

Flags and instruction sets are those of setup.py. ARCHITECTURE is a key of its ISAS or `native`; of any other only
`baseline` is compiled."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def build(cc: str, architecture: str, out: Path, extra: list[str]) -> list[str]:
    """The object files. Raises subprocess.CalledProcessError if the compiler fails."""
    from setup import compile_kernels, target

    out = out.resolve()
    os.chdir(ROOT)
    return compile_kernels([cc], target() if architecture == "native" else architecture, out, ["-Werror", *extra])


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    try:
        build(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"build_kernels: failed: {' '.join(error.cmd)}") from None
