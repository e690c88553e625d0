"""The kernels as a C library without Python: tests/c/*.c on every instruction set of this machine, on plain C, and in the
full run under AddressSanitizer and UndefinedBehaviorSanitizer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CC", "gcc")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover", "-g", "-O1"]

pytestmark = [pytest.mark.native,
              pytest.mark.skipif(not shutil.which(COMPILER), reason=f"no C compiler ({COMPILER}) here")]


def build_and_run(variant: str, architecture: str, *flags: str) -> str:
    """What the test program prints; objects and program stay in build/c for the next run."""
    out = ROOT / "build" / "c" / variant
    subprocess.run([sys.executable, ROOT / "tools/build_kernels.py", COMPILER, architecture, out, *flags], check=True)
    subprocess.run([COMPILER, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/kernels", *flags,
                    *ROOT.glob("tests/c/*.c"), *out.glob("*.o"), "-fopenmp", "-lm", "-o", out / "test"], check=True)
    result = subprocess.run([out / "test"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_instruction_set():
    assert "baseline: " in build_and_run("native", "native")


def test_plain_c():
    """A processor that simd.h does not know: vector extensions alone."""
    assert "kernels, baseline: " in build_and_run("plain", "unknown", "-U__SSE__", "-U__aarch64__")


@pytest.mark.skipif(not os.environ.get("EDGECNN_TEST_FULL"), reason="compiles for a minute: make test-full")
def test_sanitizers():
    assert "baseline: " in build_and_run("sanitized", "native", *SANITIZE)
