#!/usr/bin/env bash
# Cross-builds edgecnn for aarch64 and tests it under qemu: the kernels in C on three cores, a slice of the Python tests on
# one. Everything is kept in ./arm. Needs Debian or Ubuntu and either root or the packages listed below.
set -euo pipefail
cd "$(dirname "$0")/../.."
ARM=$PWD/arm
PY=$PWD/.venv/bin/python
CROSS=aarch64-linux-gnu
PYTHON_TESTS="tests/test_smoke.py tests/ops/test_conv.py tests/ops/test_batchnorm.py tests/ops/test_softmax.py tests/ops/test_losses.py"
mkdir -p "$ARM"

packages="qemu-user gcc-$CROSS libc6-dev-arm64-cross"
if ! command -v qemu-aarch64 >/dev/null || ! command -v $CROSS-gcc >/dev/null; then
    [ "$(id -u)" = 0 ] || { echo "test-arm: missing packages; run: sudo apt-get install $packages" >&2; exit 1; }
    apt-get -qq update && apt-get -qq -y install --no-install-recommends $packages >/dev/null
fi

echo "== kernels in C under qemu"
$PY tools/arm/build_kernels.py $CROSS-gcc aarch64 "$ARM/kernels"
$CROSS-gcc -std=gnu11 -O1 -Wall -Wextra -Ikernels tests/c/test_kernels.c "$ARM"/kernels/*.o -fopenmp -lm -o "$ARM/test_kernels"
for cpu in cortex-a53 cortex-a72 cortex-a76; do
    printf '%s: ' $cpu
    qemu-aarch64 -cpu $cpu -L /usr/$CROSS "$ARM/test_kernels"
done

echo "== Python under qemu"
[ -x "$ARM/sysroot/usr/bin/python3.11" ] || tools/arm/sysroot.sh "$ARM/sysroot"
tools/arm/python.sh "$ARM" $PYTHON_TESTS
