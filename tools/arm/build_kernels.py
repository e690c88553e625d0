#!/usr/bin/env python3
"""Compiles the kernels alone, as a C library: build_kernels.py CC ARCHITECTURE OUTDIR [FLAGS ...]

Flags and instruction sets are those of setup.py."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from setup import FLAGS, ISAS, ONCE  # noqa: E402


def commands(cc: str, architecture: str, out: Path, extra: list[str]) -> list[list[str]]:
    """One compiler call for each object file."""
    isas = ISAS.get(architecture, {"baseline": []})
    names = " ".join(f"ISA({isa})" for isa in isas)
    result = []
    for source in sorted((ROOT / "kernels").glob("*.c")):
        sets = {"once": [f"-DEC_ISAS={names}"]} if source.name in ONCE else {
            isa: [f"-DEC_ISA={isa}", *flags] for isa, flags in isas.items()}
        result += [[cc, *FLAGS, "-Werror", *flags, *extra, "-c", str(source), "-o", str(out / f"{name}_{source.stem}.o")]
                   for name, flags in sets.items()]
    return result


def main() -> None:
    cc, architecture, out, *extra = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda c: subprocess.run(c, check=True), commands(cc, architecture, Path(out), extra)):
            pass


if __name__ == "__main__":
    main()
