#!/usr/bin/env bash
# Cross-builds edgecnn for aarch64 and tests it under qemu: the kernels in C on three processors, a slice of the Python tests
# on one. Everything is kept in ./arm. Needs Debian or Ubuntu and either root or the packages listed below.
set -euo pipefail
cd "$(dirname "$0")/../.."
arm=$PWD/arm
py=$PWD/.venv/bin/python
cross=aarch64-linux-gnu

packages="qemu-user gcc-$cross libc6-dev-arm64-cross"
if ! command -v qemu-aarch64 >/dev/null || ! command -v $cross-gcc >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "test-arm: qemu and a compiler for ARM are missing; install them, e.g. apt-get install $packages" >&2
        exit 1
    fi
    apt-get -qq update && apt-get -qq -y install --no-install-recommends $packages >/dev/null
fi
mkdir -p "$arm"

echo "== kernels in C under qemu"
"$py" tools/build_kernels.py $cross-gcc aarch64 "$arm/kernels"
$cross-gcc -std=gnu11 -O1 -Wall -Wextra -Werror -Ikernels tests/c/*.c "$arm"/kernels/*.o -fopenmp -lm -o "$arm/test_kernels"
for cpu in cortex-a53 cortex-a72 cortex-a76; do # Raspberry Pi 3 and Zero 2, 4, 5
    printf '%s: ' $cpu
    qemu-aarch64 -cpu $cpu -L /usr/$cross "$arm/test_kernels"
done

echo "== Python under qemu"
tools/arm/python.sh "$arm" || {
    [ $? = 3 ] && echo "test-arm: the Python tests are left out; PYTHON=python3.x with another version may help" && exit 0
    exit 1
}
tools/arm/qemu.sh "$arm" -m pytest -q -p no:cacheprovider -m "not native" tests/test_smoke.py tests/ops
