"""Compiles and runs the C tests: the kernels alone, as a library without Python; with sanitizers in the full run."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FULL = bool(os.environ.get("EDGECNN_TEST_FULL"))


def build_and_run(out: Path, *flags: str) -> str:
    compiler = os.environ.get("CC", "gcc")
    script = ROOT / "tools/arm/build_kernels.py"
    subprocess.run([sys.executable, script, compiler, platform.machine(), out, *flags], check=True)
    program = out / "test_kernels"
    subprocess.run([compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/kernels", *flags,
                    ROOT / "tests/c/test_kernels.c", *out.glob("*.o"), "-fopenmp", "-lm", "-o", program], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(not shutil.which(os.environ.get("CC", "gcc")), reason="no C compiler here")
@pytest.mark.parametrize("flags", [(), *([("-fsanitize=address,undefined", "-g")] if FULL else [])])
def test_kernels_without_python(tmp_path, flags):
    assert "checks passed" in build_and_run(tmp_path, *flags)
