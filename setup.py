"""Builds edgecnn._core: every kernel source once per instruction set, and the Cython binding.

The target, not the machine that builds, decides what is compiled: cross builds set _PYTHON_HOST_PLATFORM.
"""

import os
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# -std=gnu11 keeps contraction to FMA on; never -ffast-math (it would flip denormal handling of the whole process); -g0
# because Python's own flags ask for debugging information, 15 of 18 MB.
FLAGS = ["-std=gnu11", "-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden",
         "-fopenmp", "-Wall", "-Wextra", "-Wno-psabi"]

# Instruction sets by architecture, best first; each has its `has_<name>` in kernels/dispatch.c.
ISAS = {
    "x86_64": {
        "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
        "avx2": ["-mavx2", "-mfma"],
        "baseline": [],
    },
    # gcc's default moves so many loads of a loop to its beginning that accumulators are moved or spilled
    "aarch64": {"baseline": ["-march=armv8-a", "--param=sched-pressure-algorithm=1"]},
}
ONCE = ["dispatch.c", "runtime.c"]
KERNELS = Path("kernels")


def target() -> str:
    return os.environ.get("_PYTHON_HOST_PLATFORM", sysconfig.get_platform()).rsplit("-", 1)[-1]


def objects(architecture: str, out: Path) -> Iterator[tuple[Path, Path, list[str]]]:
    """Source, object file and flags of everything that the kernels consist of."""
    isas = ISAS.get(architecture, {"baseline": []})
    names = " ".join(f"ISA({isa})" for isa in isas)
    for source in sorted(KERNELS.glob("*.c")):
        if source.name in ONCE:
            yield source, out / f"{source.stem}.o", [f"-DEC_ISAS={names}"]
        else:
            yield from ((source, out / f"{isa}_{source.stem}.o", [f"-DEC_ISA={isa}", *flags])
                        for isa, flags in isas.items())


def compile_kernels(cc: list[str], architecture: str, out: Path, extra: Sequence[str] = ()) -> list[str]:
    """Compiles, on all processors, what is older than its sources; removes what no source makes. Returns the objects."""
    out.mkdir(parents=True, exist_ok=True)
    newest = max(p.stat().st_mtime for p in [Path("setup.py"), *KERNELS.glob("*.h"), *KERNELS.glob("*.def")])
    todo = list(objects(architecture, out))
    for stale in set(out.glob("*.o")) - {target for _, target, _ in todo}:
        stale.unlink()

    def compile_one(item: tuple[Path, Path, list[str]]) -> str:
        source, target, flags = item
        if not target.exists() or target.stat().st_mtime < max(newest, source.stat().st_mtime):
            subprocess.run([*cc, *FLAGS, *flags, *extra, "-c", str(source), "-o", str(target)], check=True)
        return str(target)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, todo))


class BuildKernels(build_ext):
    def build_extension(self, ext):
        if self.compiler.compiler_type != "unix":
            raise SystemExit("edgecnn: the kernels need gcc or clang (compiler with vector extensions)")
        out = Path("build", "kernels", target())  # not in build_temp, which pip makes anew each time
        try:
            ext.extra_objects += compile_kernels(self.compiler.compiler_so, target(), out)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"edgecnn: the compiler failed: {' '.join(error.cmd)}") from None
        super().build_extension(ext)


if __name__ == "__main__":
    setup(
        cmdclass={"build_ext": BuildKernels},
        ext_modules=[Extension("edgecnn._core", ["edgecnn/_core.pyx"], include_dirs=["kernels"],
                               depends=["setup.py", *sorted(map(str, KERNELS.glob("*")))],
                               extra_compile_args=["-O2", "-g0", "-fopenmp"], extra_link_args=["-fopenmp"])],
    )
