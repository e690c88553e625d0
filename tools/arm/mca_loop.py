#!/usr/bin/env python3
"""Cycles of the hottest loop of an ARM object, as llvm-mca models them: mca_loop.py [OBJECT [FUNCTION]]

Without an object it compiles the kernels and prints a table of the inner loops that convolutions spend their time in.
A share is the ideal number of cycles by the cycles modelled: `multiplies` if nothing but multiply-adds had to be
issued, `all` if each kind of instruction found its ports free all the time. Stack: instructions that access it.

The loop is the innermost one with most multiply-accumulates, of FUNCTION if given. Processors are named as in LLVM;
neoverse-n1 is the model for the Cortex-A76 (LLVM's own cortex-a76 is a Cortex-A57; so is neoverse-n1 in LLVM 14).
Needs aarch64-linux-gnu-objdump and llvm-mca: apt-get install binutils-aarch64-linux-gnu llvm-19, and for the table
gcc-aarch64-linux-gnu libc6-dev-arm64-cross.

Example: tools/arm/mca_loop.py arm/kernels/baseline_convolution.o tile_8_2
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MACS = ("fmla", "fmls", "fmadd", "sdot", "udot")
BRANCH = re.compile(r"(?:b\.?\w*|cbn?z|tbn?z)\s.*?\b([0-9a-f]+) <")
ITERATIONS = 200
ISSUE = {"cortex-a72": 1, "neoverse-n1": 2}  # vector multiply-adds that start in a cycle
TABLE = {
    "convolution": ["tile_8_2", "tile_8_1", "tile_8_s2", "tile_8_s1", "outer_8_TWO", "outer_8_ONE"],
    "winograd": ["tile_8_2", "tile_8_1", "outer_8_TWO", "outer_8_ONE"],
    "depthwise": [f"{way}_{kernel}_{stride}_INSIDE" for way in ("forward_7", "forward_6", "weights")
                  for kernel in (3, 5) for stride in (1, 2)]}


def instructions(obj: str) -> dict[str, list[tuple[int, str]]]:
    """(address, text) of every instruction, by function."""
    text = subprocess.run(["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", obj],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    functions: dict[str, list[tuple[int, str]]] = {}
    code: list[tuple[int, str]] = []
    for line in text.splitlines():
        if header := re.match(r"[0-9a-f]+ <([^>]+)>:", line):
            code = functions.setdefault(header[1], [])
        elif row := re.match(r"\s+([0-9a-f]+):\s+([^/;]+)", line):
            code.append((int(row[1], 16), row[2].strip()))
    return functions


def innermost(code: list[tuple[int, str]]) -> list[list[str]]:
    """Loops, from the target of a backward branch to the branch, that contain no other."""
    place = {address: i for i, (address, _) in enumerate(code)}
    loops = []
    for i, (address, text) in enumerate(code):
        branch = BRANCH.match(text)
        if branch and int(branch[1], 16) <= address and int(branch[1], 16) in place:
            loops.append((place[int(branch[1], 16)], i))
    inner = [a for a in loops if not any(b != a and b[0] >= a[0] and b[1] <= a[1] for b in loops)]
    return [[re.sub(r"[0-9a-f]+ <.*", ".Lloop", text) for _, text in code[begin:end + 1]] for begin, end in inner]


def macs(loop: list[str]) -> int:
    return sum(text.startswith(MACS) for text in loop)


def hottest(code: list[tuple[int, str]]) -> list[str]:
    return max(innermost(code), key=macs, default=[])


def cycles(mca: str, cpu: str, loop: list[str]) -> tuple[float, float]:
    """Per iteration: modelled, and if only the busiest port counted."""
    result = subprocess.run([mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-iterations={ITERATIONS}"],
                            input="\n".join([".Lloop:", *loop, ""]), capture_output=True, text=True)
    total, bound = (re.search(rf"{name}:\s+([\d.]+)", result.stdout) for name in ("Total Cycles", "Block RThroughput"))
    if not total or not bound:
        raise SystemExit(f"{mca}: {result.stderr.strip()}")
    return int(total[1]) / ITERATIONS, float(bound[1])


def table(mca: str) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    from build_kernels import build

    objects = {Path(obj).stem: obj for obj in build("aarch64-linux-gnu-gcc", "aarch64", ROOT / "arm/kernels", [])}
    print("| kernel | loop | multiply-adds | stack |", *(f"{cpu}: multiplies | all |" for cpu in ISSUE))
    print("|---" * (4 + 2 * len(ISSUE)) + "|")
    for source, names in TABLE.items():
        functions = instructions(objects[f"baseline_{source}"])
        for name in names:
            loop = hottest(functions[name])
            cells = [source, name, str(macs(loop)), str(sum("[sp" in text for text in loop))]
            for cpu, issue in ISSUE.items():
                n, bound = cycles(mca, cpu, loop)
                cells += [f"{macs(loop) / issue / n:.2f}", f"{bound / n:.2f}"]
            print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("object", nargs="?")
    parser.add_argument("function", nargs="?")
    parser.add_argument("--cpus", default="cortex-a53,cortex-a72,neoverse-n1")
    parser.add_argument("--mca", default="llvm-mca-19", help="the program (default: %(default)s)")
    parser.add_argument("--show", action="store_true", help="print the loop")
    args = parser.parse_args()
    if not shutil.which(args.mca):
        raise SystemExit(f"mca_loop: {args.mca} is missing; install it, e.g. apt-get install llvm-19")
    if args.object is None:
        table(args.mca)
        return
    functions = instructions(args.object)
    loops = [(macs(loop), name, loop) for name, code in functions.items() if args.function in (None, name)
             for loop in [hottest(code)] if loop]
    if not loops:
        raise SystemExit(f"mca_loop: no loop in {args.function or args.object}")
    count, name, loop = max(loops)
    print(f"{name}: a loop of {len(loop)} instructions, {count} multiply-accumulates")
    if args.show:
        print("\n".join("    " + text for text in loop))
    for cpu in args.cpus.split(","):
        n, _ = cycles(args.mca, cpu, loop)
        print(f"  {cpu:12} {n:7.2f} cycles per iteration, {count / n:.2f} multiply-accumulates per cycle")


if __name__ == "__main__":
    main()
