"""Builds edgecnn._core: every kernel source once per instruction set, and the Cython binding.

The target, not the machine that builds, decides what is compiled: cross builds set _PYTHON_HOST_PLATFORM.
"""

import os
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# -std=gnu11 keeps contraction to FMA on; never -ffast-math (it would flip denormal handling of the whole process).
FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden",
         "-fopenmp", "-Wall", "-Wextra", "-Wno-psabi"]

# Instruction sets by architecture, best first; each has its `has_<name>` in kernels/dispatch.c.
ISAS = {
    "x86_64": {
        "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
        "avx2": ["-mavx2", "-mfma"],
        "baseline": [],
    },
    "aarch64": {"baseline": ["-march=armv8-a"]},
}
ONCE = ["dispatch.c", "runtime.c"]


def target_isas() -> dict[str, list[str]]:
    platform = os.environ.get("_PYTHON_HOST_PLATFORM", sysconfig.get_platform())
    return ISAS.get(platform.rsplit("-", 1)[-1], {"baseline": []})


class BuildKernels(build_ext):
    def build_extension(self, ext):
        if self.compiler.compiler_type != "unix":
            raise SystemExit("edgecnn: the kernels need gcc or clang (compiler with vector extensions)")
        isas = target_isas()
        extra = ["-Werror"] if os.environ.get("EDGECNN_WERROR") else []
        sources = sorted(str(p) for p in Path("kernels").glob("*.c") if p.name not in ONCE)
        for isa, flags in isas.items():
            ext.extra_objects += self.compiler.compile(
                sources, output_dir=str(Path(self.build_temp, isa)), macros=[("EC_ISA", isa)],
                include_dirs=["kernels"], extra_postargs=FLAGS + flags + extra, depends=ext.depends)
        names = " ".join(f"ISA({isa})" for isa in isas)
        ext.extra_objects += self.compiler.compile(
            [f"kernels/{name}" for name in ONCE], output_dir=self.build_temp, macros=[("EC_ISAS", names)],
            include_dirs=["kernels"], extra_postargs=FLAGS + extra, depends=ext.depends)
        super().build_extension(ext)


if __name__ == "__main__":
    setup(
        cmdclass={"build_ext": BuildKernels},
        ext_modules=[Extension("edgecnn._core", ["edgecnn/_core.pyx"], include_dirs=["kernels"],
                               depends=sorted(str(p) for p in Path("kernels").iterdir()),
                               extra_compile_args=["-O2", "-fopenmp"], extra_link_args=["-fopenmp"])],
    )
